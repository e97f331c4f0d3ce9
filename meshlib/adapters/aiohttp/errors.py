"""Refusals as exceptions: each is a :class:`meshlib.errors.RefusedError` and of aiohttp's own family."""

from __future__ import annotations

import asyncio

import aiohttp
from multidict import CIMultiDict

from meshlib._engine.commands import LocalReply
from meshlib._engine.exchange import Exchange
from meshlib._http import Failure, FailureKind
from meshlib._outbound.tls import handshake_reason
from meshlib.adapters.aiohttp.connections import PendingOverflowError
from meshlib.errors import MeshError, RefusedError

__all__ = [
    "BodyTimeoutError",
    "ConsumedBodyError",
    "MeshConnectionError",
    "MeshResponseError",
    "MeshTimeoutError",
    "failure",
    "refusal_error",
]

_CONNECTION_FLAGS = frozenset(("UF", "UC", "UR", "LR", "UPE"))


class MeshResponseError(RefusedError, aiohttp.ClientResponseError):
    """The mesh answered with an error status: no route, no endpoint, overflow, injected abort."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class MeshConnectionError(RefusedError, aiohttp.ClientConnectionError):
    """No attempt got a response from the upstream."""


class MeshTimeoutError(RefusedError, aiohttp.ServerTimeoutError):
    """A timeout of the route or of its attempts was over; also a :class:`TimeoutError`."""


class ConsumedBodyError(MeshError, aiohttp.ClientError):
    """The body of a request was read to its end before, so that an empty one would be sent."""


class BodyTimeoutError(aiohttp.ClientPayloadError, TimeoutError):
    """The timeout of the route ended while the body of a response was on its way (Envoy resets the stream)."""


def refusal_error(exchange: Exchange, reply: LocalReply, request: aiohttp.ClientRequest) -> RefusedError:
    """The error for a reply of the mesh; chained to the client library's own by the caller."""
    flags = exchange.flags
    kind: type[RefusedError]
    if "UT" in flags:
        kind = MeshTimeoutError
    elif _CONNECTION_FLAGS.intersection(flags):
        kind = MeshConnectionError
    else:
        kind = MeshResponseError
    error = kind(
        status=reply.status,
        body=reply.body.decode("utf-8", "replace"),
        flags=flags,
        details=reply.details,
        host=exchange.request.authority,
    )
    if isinstance(error, MeshResponseError):
        error.request_info = request.request_info
        error.history = ()
        error.message = reply.details
        error.headers = CIMultiDict(reply.headers)
    return error


def failure(error: aiohttp.ClientError | OSError) -> Failure:
    """What aiohttp raised, in Envoy's words; the application's own timeouts and mistakes are raised again."""
    match error:
        case PendingOverflowError():
            return Failure(FailureKind.OVERFLOW, sent=False, error=error)
        case aiohttp.ConnectionTimeoutError():
            return Failure(FailureKind.CONNECT_TIMEOUT, sent=False, error=error)
        case asyncio.TimeoutError():
            raise error
        case aiohttp.ClientConnectorError():
            return Failure(FailureKind.CONNECT_FAILURE, sent=False, error=error, detail=handshake_reason(error))
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return Failure(FailureKind.TERMINATION, sent=True, error=error)
        case aiohttp.ClientResponseError() if error.status == 400 or not error.status:
            # aiohttp's parser gave up on what the upstream sent.
            return Failure(FailureKind.PROTOCOL_ERROR, sent=True, error=error)
        case OSError() if not isinstance(error, aiohttp.ClientError):
            return Failure(FailureKind.TERMINATION, sent=True, error=error)
        case _:
            raise error
