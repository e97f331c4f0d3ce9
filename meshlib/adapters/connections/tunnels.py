"""Tunnels: the endpoint is a proxy, which is asked to connect on to the target that a DestinationRule names.

As Envoy's TCP proxy asks over HTTP/1.1: a CONNECT for ``host:port``, and everything
after a 2xx belongs to the connection.
"""

from __future__ import annotations

from typing import Final

from meshlib._engine.connections import Connection
from meshlib._snapshot.clusters import Tunnel
from meshlib.errors import MeshError

__all__ = ["END", "LONGEST", "TunnelError", "check_quiet", "check_reply", "request_of"]

END: Final = b"\r\n\r\n"
LONGEST: Final = 16_384
"""Bytes of the proxy's answer at most."""


class TunnelError(ConnectionError):
    """The proxy does not connect on."""


def request_of(connection: Connection) -> bytes | None:
    """What the proxy is asked; None without a tunnel. Raises MeshError for a method that is not spoken here."""
    tunnel = connection.cluster.policy.tunnel
    if tunnel is None:
        return None
    if tunnel.method != "CONNECT":
        where = connection.cluster.origin or connection.cluster.name
        raise MeshError(f"{where}: tunnel.protocol {tunnel.method} is not spoken here; use CONNECT")
    target = _target(tunnel)
    return f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n".encode()


def _target(tunnel: Tunnel) -> str:
    return f"[{tunnel.host}]:{tunnel.port}" if ":" in tunnel.host else f"{tunnel.host}:{tunnel.port}"


def check_reply(head: bytes) -> None:
    """Raises :class:`TunnelError` unless the proxy has answered with a 2xx, and to the end of its head."""
    version, _, rest = head.partition(b" ")
    status = rest[:3]
    is_good = version.startswith(b"HTTP/1.") and status.isdigit() and status.startswith(b"2")
    if not is_good or not head.endswith(END):
        line = head.partition(b"\r\n")[0][:200].decode("latin-1")
        raise TunnelError(f"the proxy answers {line!r} to CONNECT")


def check_quiet(received: int) -> None:
    """Raises :class:`TunnelError` if bytes came before TLS has begun: they would pass for bytes from inside of it."""
    if received:
        raise TunnelError("the proxy sends bytes of its own before TLS has begun")
