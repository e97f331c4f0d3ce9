"""Refusals as exceptions of the standard library's families."""

from __future__ import annotations

from meshlib._engine.connections import Connection, Refused
from meshlib._http import Failure, FailureKind
from meshlib._outbound.tls import handshake_reason
from meshlib.errors import RefusedError

__all__ = ["MeshConnectionError", "MeshTimeoutError", "failed", "refused"]

_TIMEOUT = "connection timeout"


class MeshConnectionError(RefusedError, ConnectionError):
    """The mesh makes no connection, or the endpoint that it picked does not take it."""


class MeshTimeoutError(MeshConnectionError, TimeoutError):
    """The endpoint did not answer within ``connectTimeout``."""


def refused(connection: Connection, why: Refused) -> MeshConnectionError:
    """The error for a connection that is not even tried."""
    return _error(MeshConnectionError, connection, why.details, why.reason)


def failed(connection: Connection, error: BaseException) -> MeshConnectionError:
    """The error for a connection that did not come, after the mesh has been told."""
    is_late = isinstance(error, TimeoutError)
    kind = FailureKind.CONNECT_TIMEOUT if is_late else FailureKind.CONNECT_FAILURE
    reason = handshake_reason(error) or (_TIMEOUT if is_late else str(error))
    connection.fail(Failure(kind, sent=False, error=error, detail=reason))
    return _error(MeshTimeoutError if is_late else MeshConnectionError, connection, "upstream_connect_failure", reason)


def _error(kind: type[MeshConnectionError], connection: Connection, details: str, reason: str) -> MeshConnectionError:
    host = f"{connection.host}:{connection.port}"
    return kind(status=503, body=reason, flags=(connection.flag,), details=details, host=host)
