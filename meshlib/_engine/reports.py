"""The events that sum up an exchange and its attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib._http import Outcome, Response
from meshlib.events import AttemptFinished, ExchangeFinished

if TYPE_CHECKING:
    from meshlib._engine.attempts import Attempts
    from meshlib._engine.exchange import Exchange

__all__ = ["attempt_finished", "exchange_finished"]


def attempt_finished(exchange: Attempts, outcome: Outcome) -> AttemptFinished:
    """The attempt that has just come back."""
    return AttemptFinished(
        cluster=exchange.live.cluster.name if exchange.live is not None else "",
        endpoint=exchange.endpoint.key if exchange.endpoint is not None else "",
        attempt=exchange.attempts,
        status=outcome.status if isinstance(outcome, Response) else 0,
        failure="" if isinstance(outcome, Response) else outcome.kind.value,
        duration=exchange.published.clock.monotonic() - exchange.attempt_started,
    )


def exchange_finished(exchange: Exchange, status: int) -> ExchangeFinished:
    """The whole exchange; ``status`` 0 if the application saw no response."""
    return ExchangeFinished(
        host=exchange.request.authority,
        method=exchange.request.method,
        status=status,
        duration=exchange.published.clock.monotonic() - exchange.started,
        attempts=exchange.attempts,
        flags=exchange.flags,
        details=exchange.details,
        route=exchange.route.name if exchange.route is not None else "",
        cluster=exchange.live.cluster.name if exchange.live is not None else "",
        endpoint=exchange.endpoint.key if exchange.endpoint is not None else "",
    )
