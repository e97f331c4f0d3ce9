"""A request that arrives, as policies look at it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, TypeAlias

from meshlib._http import NO_HEADERS, RequestHead

__all__ = ["NOTHING_SAID", "Address", "InboundRequest", "address_text", "parse_address"]

Address: TypeAlias = tuple[int, int]
"""IP version and the address as a number."""

NOTHING_SAID: Final = RequestHead("", "", "", "", NO_HEADERS, port=0)
"""The head of what is no HTTP request."""


class InboundRequest:
    """What is known of a request before the application sees it.

    ``peer`` is the verified SPIFFE id of the other end of the connection
    (``spiffe://…``, empty without mutual TLS); ``source`` its address, ``remote`` that
    of the original client, ``destination`` our own. ``port`` is the port of the
    workload, ``sni`` the server name of the TLS handshake (empty: there was none; None:
    the server cannot tell). Addresses are None where they are not known. ``claims`` are those of a
    verified token, None without one. ``is_http`` is false for a TCP connection, which
    has no ``head``.
    """

    __slots__ = ("claims", "destination", "head", "is_http", "peer", "port", "remote", "sni", "source")

    def __init__(
        self,
        head: RequestHead | None,
        *,
        port: int,
        peer: str = "",
        source: Address | None = None,
        remote: Address | None = None,
        destination: Address | None = None,
        sni: str | None = "",
    ) -> None:
        self.is_http = head is not None
        self.head = head or NOTHING_SAID
        self.port = port
        self.peer = peer
        self.source = source
        self.remote = remote
        self.destination = destination
        self.sni = sni
        self.claims: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        what = f"{self.head.method} {self.head.path_only}" if self.is_http else "tcp"
        return f"<InboundRequest {what} port={self.port} peer={self.peer or '-'}>"


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """An IP address as policies compare it; None if it is none.

    An IPv4 address that arrives on a socket of IPv6 (``::ffff:10.0.0.1``) is the IPv4 address.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def address_text(address: Address) -> str:
    """An address as it is written."""
    version, number = address
    return str(IPv4Address(number) if version == 4 else IPv6Address(number))
