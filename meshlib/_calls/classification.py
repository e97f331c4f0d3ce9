"""What the end of a function means to the policies, which speak of statuses and resets.

By default a function that returns has succeeded (200). An exception means:

* ``connect-failure``: the connection was refused, the host is unknown or cannot be
  reached, or a client library says so of a new connection;
* ``reset``: the connection broke off, or ended too early;
* a status: the exception carries one (``status``, ``status_code``, ``code``, or that of
  its ``response``), as those of HTTP clients do;
* 504: the function gave up waiting (:class:`TimeoutError`, or a client library's);
* 500: any other :class:`Exception`.

Others, a cancellation above all, are no answer: they pass through and count for nothing.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from meshlib._http import NO_HEADERS, Failure, FailureKind, Outcome, Response
from meshlib.errors import RefusedError

__all__ = ["Classify", "Meaning", "Reset", "outcome_of_error", "outcome_of_result"]

Reset: TypeAlias = Literal["connect-failure", "reset", "refused-stream"]
"""How a call can end without an answer."""

Meaning: TypeAlias = int | Reset
"""What the end of a function counts as: an HTTP status, or how the connection ended."""

Classify: TypeAlias = Callable[[Any], Meaning | None]
"""Takes what a function returned or raised; None: as meshlib would judge it."""

_KINDS: Final = {
    "connect-failure": (FailureKind.CONNECT_FAILURE, False),
    "reset": (FailureKind.TERMINATION, True),
    "refused-stream": (FailureKind.REFUSED_STREAM, False),
}
_UNREACHABLE: Final = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN))

# Exceptions of client libraries that carry no status, by module and name: none of them is imported for this.
_KNOWN: Final[dict[str, Meaning]] = {
    "aiohttp.client_exceptions.ClientConnectorError": "connect-failure",
    "aiohttp.client_exceptions.ConnectionTimeoutError": "connect-failure",
    "aiohttp.client_exceptions.ClientConnectionError": "reset",
    "aiohttp.client_exceptions.ClientPayloadError": "reset",
    "httpx.ConnectError": "connect-failure",
    "httpx.ConnectTimeout": "connect-failure",
    "httpx.TimeoutException": 504,
    "httpx.TransportError": "reset",
    "httpx2.ConnectError": "connect-failure",
    "httpx2.ConnectTimeout": "connect-failure",
    "httpx2.TimeoutException": 504,
    "httpx2.TransportError": "reset",
    "requests.exceptions.ConnectTimeout": "connect-failure",
    "requests.exceptions.Timeout": 504,
    "requests.exceptions.ConnectionError": "reset",
    "urllib3.exceptions.NewConnectionError": "connect-failure",
    "urllib3.exceptions.ConnectTimeoutError": "connect-failure",
    "urllib3.exceptions.TimeoutError": 504,
    "urllib3.exceptions.ProtocolError": "reset",
    "redis.exceptions.TimeoutError": 504,
    "redis.exceptions.ConnectionError": "reset",
}


def outcome_of_result(result: object, classify: Classify | None) -> Response | Failure:
    """What a function's result means; the result is the ``handle`` of a response."""
    meaning = classify(result) if classify is not None else None
    if meaning is None:
        return Response(200, NO_HEADERS, result)
    return _outcome(meaning, result, None)


def outcome_of_error(error: Exception, classify: Classify | None) -> Outcome:
    """What an exception means; it is the ``error`` of a failure."""
    meaning = classify(error) if classify is not None else None
    return _outcome(_meaning(error) if meaning is None else meaning, None, error)


def _outcome(meaning: Meaning, result: object, error: Exception | None) -> Response | Failure:
    if isinstance(meaning, int):
        if not 100 <= meaning <= 599:
            raise ValueError(
                f"classify answered {meaning!r}: it is to be a status from 100 to 599, or one of {_words()}"
            )
        return Response(meaning, NO_HEADERS, result)
    known = _KINDS.get(meaning)
    if known is None:
        raise ValueError(f"classify answered {meaning!r}: it is to be a status, None, or one of {_words()}")
    kind, sent = known
    return Failure(kind, sent=sent, error=error)


def _words() -> str:
    return ", ".join(repr(word) for word in _KINDS)


def _meaning(error: Exception) -> Meaning:
    """The first that fits: what the mesh said, a status, a known class, what the system said."""
    if isinstance(error, RefusedError):
        return error.status
    status = _status(error)
    if status is not None:
        return status
    for kind in type(error).__mro__:
        known = _KNOWN.get(f"{kind.__module__}.{kind.__name__}")
        if known is not None:
            return known
    return _meaning_of_system(error)


def _meaning_of_system(error: Exception) -> Meaning:
    match error:
        case TimeoutError():
            return 504
        case ConnectionRefusedError() | socket.gaierror():
            return "connect-failure"
        case OSError() if error.errno in _UNREACHABLE:
            return "connect-failure"
        case ConnectionError() | EOFError():
            return "reset"
        case _:
            return 500


def _status(error: Exception) -> int | None:
    """The HTTP status that an exception of a client library carries."""
    response = getattr(error, "response", None)
    for owner in (error, response):
        for name in ("status", "status_code", "code"):
            value = getattr(owner, name, None)
            if isinstance(value, int) and 100 <= value <= 599:
                return int(value)
    return None
