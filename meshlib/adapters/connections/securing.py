"""TLS of a connection: what the application brings, and what the mesh wants."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from meshlib._engine.connections import Connection
from meshlib._outbound.tls import originator
from meshlib._runtime import Runtime

__all__ = ["Securing", "securings"]


class Securing(NamedTuple):
    """The handshake of a connection; ``server_name`` empty sends none."""

    context: ssl.SSLContext
    server_name: str


def securings(
    runtime: Runtime, connection: Connection, own: ssl.SSLContext | None
) -> tuple[Securing | None, Securing | None]:
    """The handshake with the endpoint, and the one through the tunnel that it leads on; None for plaintext.

    Raises :class:`CredentialError` as :func:`_securing`.
    """
    if own is None or connection.cluster.policy.tunnel is None:
        return _securing(runtime, connection, own), None
    # What the application starts is with the tunnel's end: the proxy only passes it on, as it would a sidecar's bytes.
    return _securing(runtime, connection, None), Securing(own, connection.server_name)


def _securing(runtime: Runtime, connection: Connection, own: ssl.SSLContext | None) -> Securing | None:
    """The one handshake of a connection; None for plaintext.

    Where the application starts TLS itself (``own``), a DestinationRule's block decides
    about that handshake; without one, the application's context does. Raises
    :class:`CredentialError` where TLS must be used and cannot be.
    """
    tls = connection.cluster.policy.tls
    if own is None or tls.mode not in ("AUTO", "DISABLE"):
        upstream = connection.upstream
        name = connection.server_name or connection.host
        endpoint = upstream.endpoint if upstream else None
        # HTTP is not offered, as by Envoy: a database that knows its own one alone would hang up at HTTP's.
        shake = originator(runtime).handshake(connection.cluster, endpoint, name, is_http=False)
        if shake is not None:
            return Securing(shake.context, shake.server_name or "")
    return None if own is None else Securing(own, connection.server_name)
