"""The mesh's own answers to a function, as exceptions."""

from __future__ import annotations

import sys
from functools import cache
from typing import Final

from meshlib._engine.commands import LocalReply
from meshlib._engine.exchange import Exchange
from meshlib.errors import BreakerOpenError, CallTimeoutError, RefusedError

__all__ = ["breaker_open", "refusal", "refusal_of"]

_BREAKER_OPEN: Final = "client_policy_breaker_open"


def refusal(exchange: Exchange, reply: LocalReply) -> RefusedError:
    """The error for a reply of the mesh."""
    return refusal_of(reply, exchange.flags, exchange.request.authority)


def refusal_of(reply: LocalReply, flags: tuple[str, ...], host: str) -> RefusedError:
    """The same of an exchange that did not begin."""
    kind = RefusedError
    if reply.details == _BREAKER_OPEN:
        kind = _open_error()
    elif "UT" in flags:
        kind = CallTimeoutError
    return kind(
        status=reply.status,
        body=reply.body.decode("utf-8", "replace"),
        flags=flags,
        details=reply.details,
        host=host,
    )


def breaker_open(host: str, name: str | None) -> RefusedError:
    """The error for a call that a breaker of pybreaker refuses."""
    body = f"circuit breaker {name} open" if name else "circuit breaker open"
    return _open_error()(status=503, body=body, flags=("UO",), details=_BREAKER_OPEN, host=host)


def _open_error() -> type[BreakerOpenError]:
    """Also pybreaker's error where somebody could catch that; importing it just for this would cost 300 modules."""
    return _pybreaker_error() if "pybreaker" in sys.modules else BreakerOpenError


@cache
def _pybreaker_error() -> type[BreakerOpenError]:
    from pybreaker import CircuitBreakerError

    return type(
        "BreakerOpenError", (BreakerOpenError, CircuitBreakerError), {"__module__": BreakerOpenError.__module__}
    )
