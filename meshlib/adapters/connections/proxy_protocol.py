"""The PROXY header before the first byte of a connection, which tells the endpoint whose it is.

A sidecar tells the two ends of the connection that it took over. Here the connection is
the application's own, so the header has its own two ends.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Final

from meshlib._snapshot.clusters import TrafficPolicy

__all__ = ["header_for"]

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_PROXIED_STREAM: Final = {4: b"\x21\x11", 6: b"\x21\x21"}


def header_for(policy: TrafficPolicy, sock: socket.socket) -> bytes:
    """The header that a policy wants for a connected socket; empty without one."""
    if policy.proxy_protocol is None:
        return b""
    here, there = sock.getsockname(), sock.getpeername()
    source, target = ipaddress.ip_address(here[0]), ipaddress.ip_address(there[0])
    if policy.proxy_protocol == "V1":
        return f"PROXY TCP{source.version} {source} {target} {here[1]} {there[1]}\r\n".encode()
    ports = struct.pack("!HH", here[1], there[1])
    body = source.packed + target.packed + ports
    return _SIGNATURE + _PROXIED_STREAM[source.version] + struct.pack("!H", len(body)) + body
