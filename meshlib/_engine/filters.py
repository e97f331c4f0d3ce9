"""What Envoy does between route and router: the fault, then CORS (semantics 0.1)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Literal, TypeAlias

from meshlib._engine.commands import Backoff, Command, LocalReply
from meshlib._engine.faults import abort_reply, draw_delay
from meshlib._engine.mutations import cors_allows, cors_headers, is_preflight, preflight_headers
from meshlib._http import Outcome
from meshlib._snapshot.routes import Cors, Fault, Forward
from meshlib.events import FaultInjected

if TYPE_CHECKING:
    from meshlib._engine.exchange import Exchange

__all__ = ["Waits", "report_fault", "run_filters"]

Waits: TypeAlias = Generator[Command, Outcome | None, LocalReply | None]


def run_filters(exchange: Exchange, action: Forward) -> Waits:
    """Delay, abort, preflight; a reply if the request ends here."""
    if action.fault is not None:
        aborted = yield from _inject(exchange, action.fault)
        if aborted is not None:
            return aborted
    return _share(exchange, action.cors) if action.cors is not None else None


def _inject(exchange: Exchange, fault: Fault) -> Waits:
    chance = exchange.published.chance
    seconds = draw_delay(fault, chance)
    if seconds:
        exchange.flag("DI")
        report_fault(exchange, "delay", seconds=seconds)
        yield Backoff(seconds)
    reply = abort_reply(fault, exchange.request, chance)
    if reply is not None:
        exchange.flag("FI")
        report_fault(exchange, "abort", status=reply.status)
    return reply


def report_fault(exchange: Exchange, kind: Literal["delay", "abort"], *, seconds: float = 0.0, status: int = 0) -> None:
    """Tell who listens about a fault."""
    published, route = exchange.published, exchange.route
    if FaultInjected in published.observers and route is not None:
        host = exchange.request.authority
        published.notify(FaultInjected(host=host, route=route.name, kind=kind, seconds=seconds, status=status))


def _share(exchange: Exchange, cors: Cors) -> LocalReply | None:
    """Answer a CORS preflight; remember what the response to an allowed request gets."""
    request = exchange.request
    if is_preflight(request):
        headers = preflight_headers(cors, request)
        if headers is None:
            return None
        exchange.response_levels = ()  # Envoy 1.39: the filter's answer passes by the header operations of the route
        return LocalReply(200, b"", tuple(headers.items()), "cors_response", refusal=False)
    if cors_allows(cors, request):
        exchange.cors_fields = cors_headers(cors, request)
    return None
