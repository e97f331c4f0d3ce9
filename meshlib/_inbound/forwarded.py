"""What proxies say of the client: X-Forwarded-For and X-Forwarded-Client-Cert (semantics 6.6).

Anybody can send these headers, so they count only if the direct peer is a proxy that
the application trusts by name. From all others X-Forwarded-Client-Cert is removed, as
behind Istio's gateways, because applications believe it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from meshlib._http import HeadersView
from meshlib._inbound.certificates import identity_of
from meshlib._snapshot.inbound import Address, parse_address
from meshlib.errors import MeshError

__all__ = ["XFCC", "XFF", "TrustedProxies", "elements", "pairs"]

XFCC: Final = "x-forwarded-client-cert"
XFF: Final = "x-forwarded-for"
_MARKS: Final = {mark: re.compile(rf'(?<!\\)\\*"|{mark}') for mark in ",;"}
"""A quote with all backslashes before it; looked for at the first of these only, or many of them would take long."""


class TrustedProxies:
    """Addresses and blocks of proxies whose word is taken; a text is one of them.

    Raises :class:`MeshError` for what is neither.
    """

    def __init__(self, blocks: Iterable[str]) -> None:
        self._networks = []
        for block in (blocks,) if isinstance(blocks, str) else blocks:
            try:
                self._networks.append(_unmapped(ip_network(block, strict=False)))
            except ValueError:
                raise MeshError(
                    f"trusted_proxies: {block!r} is neither an IP address nor a block such as 10.0.0.0/8"
                ) from None

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: Address | None) -> bool:
        """Whether the address is that of a trusted proxy."""
        if address is None or not self._networks:
            return False
        version, number = address
        return any(
            network.version == version and number >> bits == int(network.network_address) >> bits
            for network in self._networks
            for bits in (network.max_prefixlen - network.prefixlen,)
        )

    def client(self, headers: HeadersView, source: Address | None) -> Address | None:
        """The original client: the rightmost address of X-Forwarded-For that is no trusted proxy."""
        if not self.trusts(source):
            return source
        forwarded = [part.strip() for value in headers.getall(XFF, ()) for part in value.split(",")]
        found = source
        for text in reversed(forwarded):
            address = parse_address(text)
            if address is None:
                # Garbage, also an address with a port or in brackets (Envoy 1.39 takes none): whoever wrote it
                # is behind the last proxy that made sense.
                return found
            found = address
            if not self.trusts(address):
                return found
        return found

    def identity(self, headers: HeadersView) -> str | None:
        """The SPIFFE id of the direct client of the nearest proxy: the last element of X-Forwarded-Client-Cert.

        None if nothing is said of one. Empty if the client has several URI names: as in a
        certificate, they identify nobody.
        """
        values = headers.getall(XFCC, ())
        found = elements(",".join(values)) if values else []
        if not found:
            return None
        last = pairs(found[-1])
        uris = last.get("uri", ())
        if any(uri.startswith("spiffe://") for uri in uris):
            return uris[0] if len(uris) == 1 else ""
        certificates = last.get("cert", ())
        return identity_of(certificates[0]) if certificates else None


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """A block of IPv4 addresses as sockets of IPv6 show them (``::ffff:10.0.0.0/104``) is that of IPv4."""
    first = network.network_address
    if isinstance(first, IPv6Address) and first.ipv4_mapped is not None and network.prefixlen >= 96:
        return IPv4Network((first.ipv4_mapped, network.prefixlen - 96))
    return network


def elements(value: str) -> list[str]:
    """The elements of an X-Forwarded-Client-Cert value: what is between commas outside of quotes."""
    return _split(value, ",")


def pairs(element: str) -> dict[str, list[str]]:
    """The pairs of an element, by key in lower case; values without their quotes."""
    found: dict[str, list[str]] = {}
    for pair in _split(element, ";"):
        key, equals, value = pair.partition("=")
        if not equals:
            continue
        if len(value) >= 2 and value.startswith('"') and value.endswith('"'):
            value = value[1:-1].replace('\\"', '"')
        found.setdefault(key.strip().lower(), []).append(value)
    return found


def _split(value: str, mark: str) -> list[str]:
    """The parts between marks outside of quotes, found from the end.

    Proxies append (Envoy's APPEND_FORWARD) to whatever the client has sent. A quote that
    the client leaves open must not swallow what the proxy says, which is whole in itself.
    """
    parts, end, is_quoted = [], len(value), False
    for found in reversed(list(_MARKS[mark].finditer(value))):
        if found[0] != mark:
            is_quoted ^= len(found[0]) % 2 == 1  # behind an odd number of backslashes a quote is text
        elif not is_quoted:
            parts.append(value[found.end() : end])
            end = found.start()
    parts.append(value[:end])
    return [part.strip() for part in reversed(parts) if part.strip()]
