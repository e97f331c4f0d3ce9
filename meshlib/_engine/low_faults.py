"""Faults below the retries (ClientPolicy ``faultsUnderRetries``): each attempt may be delayed or aborted.

Istio puts faults above them, where no retry and no timeout sees them. Here an abort is
an answer like the upstream's, and a delay counts as the attempt's own time.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from meshlib._engine.commands import Backoff, Command, LocalReply, Reply, Steps
from meshlib._engine.faults import abort_reply, draw_delay
from meshlib._engine.filters import report_fault
from meshlib._engine.local_replies import reset_reply
from meshlib._engine.retries import retry_reason
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib._snapshot.routes import Fault

if TYPE_CHECKING:
    from meshlib._engine.exchange import Exchange

__all__ = ["forward_through"]

Injected = Generator[Command, Outcome | None, tuple[LocalReply, Outcome] | None]


def forward_through(exchange: Exchange, fault: Fault) -> Steps:
    """Attempt after attempt, each through the fault."""
    reply: Reply | None = None
    exchange.start_deadline()
    while reply is None:
        injected = yield from _inject(exchange, fault)
        if injected is None:
            reply = yield from exchange.attempt()
            continue
        answer, outcome = injected
        exchange.count_injected()
        retry = exchange.action.retry
        reason = retry_reason(retry, outcome) if retry is not None and exchange.time_left != 0.0 else None
        # No byte was sent and no response is held: that is what the retry has to know.
        nothing = Failure(FailureKind.LOCAL_RESET, sent=False)
        if reason is None or retry is None or not exchange.may_retry(retry, nothing, reason):
            return answer
        reply = yield from exchange.back_off(nothing)
    return reply


def _inject(exchange: Exchange, fault: Fault) -> Injected:
    """The answer that a fault gives to an attempt, and the outcome that it stands for; None if it is let through."""
    chance, retry = exchange.published.chance, exchange.action.retry
    seconds = draw_delay(fault, chance)
    if seconds:
        exchange.flag("DI")
        report_fault(exchange, "delay", seconds=seconds)
        bounds = [
            bound for bound in (retry.per_try_timeout if retry else None, exchange.time_left) if bound is not None
        ]
        most = min(bounds, default=float("inf"))
        yield Backoff(min(seconds, most))
        if seconds >= most:
            is_over = exchange.time_left == 0.0
            failure = Failure(
                FailureKind.TIMEOUT, sent=False, detail="response_timeout" if is_over else "upstream_per_try_timeout"
            )
            reply, flag = reset_reply(exchange.request, failure, retried=exchange.attempts > 0)
            exchange.flag(flag)
            return reply, failure
    aborted = abort_reply(fault, exchange.request, chance)
    if aborted is None:
        return None
    exchange.flag("FI")
    report_fault(exchange, "abort", status=aborted.status)
    return aborted, Response(aborted.status, Headers(aborted.headers))
