"""Ports and their protocols (pkg/config/protocol)."""

from __future__ import annotations

from typing import Final

from meshlib._config.rules.names import is_label

__all__ = ["HTTP", "TCP", "TLS", "is_protocol", "port_name_problem", "port_problem", "protocol_problem"]

HTTP: Final = frozenset({"http", "http2", "http_proxy", "grpc", "grpc-web"})
TLS: Final = frozenset({"https", "tls"})
TCP: Final = TLS | {"tcp", "mongo", "redis", "mysql"}
_KNOWN: Final = HTTP | TCP | {"udp"}


def is_protocol(name: str | None) -> bool:
    """Whether the protocol is known, in whatever case."""
    return (name or "").lower() in _KNOWN


def protocol_problem(name: str | None) -> str:
    """What is wrong with a protocol; absent, it is sniffed."""
    return "" if not name or is_protocol(name) else f"unsupported protocol: {name}"


def port_name_problem(name: str) -> str:
    """What is wrong with the name of a port: it is a DNS label."""
    return "" if is_label(name) else f"invalid port name: {name}"


def port_problem(number: int) -> str:
    """What is wrong with the number of a port."""
    return "" if 1 <= number <= 65535 else f"port number {number} must be in the range 1..65535"
