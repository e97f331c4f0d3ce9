"""What is told of a served request: to observers as an event, to telemetry in full."""

from __future__ import annotations

from meshlib._engine.decisions import Decision
from meshlib._engine.recording import Served
from meshlib._http import RequestHead
from meshlib.events import RequestServed

__all__ = ["complete", "request_served"]


def request_served(
    head: RequestHead, decision: Decision, *, status: int, duration: float, peer: str, protocol: str
) -> RequestServed:
    """The event for observers."""
    return RequestServed(
        method=head.method,
        host=head.authority,
        path=head.path_only,
        status=status,
        duration=duration,
        decision="allow" if decision.allowed else "deny",
        policy=decision.policy,
        rule="" if decision.rule is None else str(decision.rule),
        reason=decision.reason,
        details=decision.details,
        principal=peer.removeprefix("spiffe://"),
        request_principal=decision.request_principal,
        protocol=protocol,
        is_mtls=bool(peer),
    )


def complete(served: Served, decision: Decision | None, *, status: int, peer: str) -> None:
    """Fill in what became of the request."""
    served.status = status
    served.peer = peer
    if decision is not None:
        served.verdict = decision
        served.decision = "allow" if decision.allowed else "deny"
        served.details = decision.details
        served.request_principal = decision.request_principal
        served.dry_runs = decision.dry_runs
