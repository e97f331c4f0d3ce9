"""What a gateway changes in the headers of requests and responses that it passes on.

As Envoy 1.39 does with the settings that Istio gives a gateway (use_remote_address,
SANITIZE_SET, no trust in request ids from outside), but for one thing: a client on
loopback is 127.0.0.1 in X-Forwarded-For, where Envoy writes the machine's address.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from meshlib._http import Headers, HeadersView
from meshlib._inbound.forwarded import XFCC, XFF, TrustedProxies
from meshlib._snapshot.inbound import Address, parse_address
from meshlib._snapshot.listeners import Forwards

__all__ = [
    "BODYLESS",
    "Hops",
    "asks_for_upgrade",
    "can_be_sent",
    "is_chunked_only",
    "request_headers",
    "response_headers",
]

RawHeaders = list[tuple[bytes, bytes]]

_HOP_BY_HOP: Final = frozenset(
    "connection expect keep-alive proxy-authenticate proxy-connection te trailer transfer-encoding upgrade".split()
)
_TRAILERS: Final = "trailers"
_UPGRADING: Final = (b"connection", b"upgrade")
_UPGRADES: Final = (b"websocket", b"h2c")
BODYLESS: Final = (204, 304)
"""Statuses of answers that have no body, nor the length of one."""
_OUTSIDE: Final = (
    "x-request-id",  # a gateway gives its own
    "x-envoy-internal",
    "x-envoy-external-address",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-upstream-stream-duration-ms",
)
"""What only a gateway may say, and takes from nobody outside."""


class Hops(TrustedProxies):
    """``numTrustedProxies``: the client is the N-th address from the right of what came in X-Forwarded-For."""

    def __init__(self, count: int) -> None:
        super().__init__(())
        self.count = count

    def trusts(self, address: Address | None) -> bool:
        """Always: what these headers say by now, the gateway itself has written."""
        return True

    def client(self, headers: HeadersView, source: Address | None) -> Address | None:
        """The original client, once the gateway has added the direct peer; that peer if there are too few."""
        forwarded = [part.strip() for value in headers.getall(XFF, ()) for part in value.split(",")]
        if not 0 < self.count < len(forwarded):
            return source
        return parse_address(forwarded[-1 - self.count]) or source

    def identity(self, headers: HeadersView) -> str | None:
        """Identities come with a certificate only."""
        return None


def request_headers(
    raw: Iterable[tuple[bytes, bytes]],
    *,
    source: str,
    scheme: str,
    hops: Hops,
    certificate: str = "",
    forwards: Forwards = "SANITIZE_SET",
) -> Headers:
    """The client's headers for the policies, the routes and the next hop; ``certificate`` is what it has shown."""
    pairs = [(name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in raw]
    gone = {*_HOP_BY_HOP, *_OUTSIDE}
    gone.update(part.strip().lower() for name, value in pairs if name == "connection" for part in value.split(","))
    gone.discard("host")
    headers = CIMultiDict((name, value) for name, value in pairs if name not in gone)
    if any(part.strip() == _TRAILERS for name, value in pairs if name == "te" for part in value.split(",")):
        headers["te"] = _TRAILERS  # all that Envoy leaves of it
    if source:
        headers[XFF] = ",".join([*headers.getall(XFF, []), source])
    if not hops.count or "x-forwarded-proto" not in headers:
        headers["x-forwarded-proto"] = scheme
    _forward_certificate(headers, certificate, forwards)
    client = hops.client(headers, parse_address(source))
    if client is not None:
        version, number = client
        headers["x-envoy-external-address"] = str(IPv4Address(number) if version == 4 else IPv6Address(number))
    return headers


def can_be_sent(headers: HeadersView) -> bool:
    """Whether all of them are UTF-8, at last: aiohttp leaves other bytes out.

    The service would get another value than the one that the policies have let through.
    """
    text = "".join(headers.values())
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def asks_for_upgrade(raw: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request wants another protocol than a websocket, which Envoy refuses with a 403 (not so h2c's)."""
    fields = [(name, value.lower()) for name, value in raw if name in _UPGRADING]
    return any(name == b"upgrade" and value.strip() not in _UPGRADES for name, value in fields) and any(
        name == b"connection" and b"upgrade" in map(bytes.strip, value.split(b",")) for name, value in fields
    )


def is_chunked_only(raw: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body has no transfer coding but ``chunked``: a service would take what is left of others for the body.

    Envoy answers 501 to them.
    """
    return all(value.strip().lower() == b"chunked" for name, value in raw if name == b"transfer-encoding")


def _forward_certificate(headers: Headers, certificate: str, forwards: Forwards) -> None:
    """X-Forwarded-Client-Cert as Envoy forwards it (semantics 6.6)."""
    before = headers.popall(XFCC, [])
    match forwards:
        case "ALWAYS_FORWARD_ONLY":
            kept = before
        case "FORWARD_ONLY" if certificate:
            kept = before
        case "APPEND_FORWARD" if certificate:
            kept = [*before, certificate]
        case "SANITIZE_SET" if certificate:
            kept = [certificate]
        case _:
            return
    if kept:
        headers[XFCC] = ",".join(kept)


def response_headers(headers: CIMultiDictProxy[str], *, service_time: int | None, status: int = 200) -> RawHeaders:
    """An upstream's or the mesh's headers for the client; ``service_time`` in milliseconds, None if nobody served.

    A ``status`` without a body has no Content-Length: uvicorn would wait for so many bytes, and end the connection.
    """
    named = {part.strip().lower() for value in headers.getall("connection", ()) for part in value.split(",")}
    returned = [
        (name.lower().encode("latin-1", "replace"), value.encode("utf-8", "surrogateescape"))
        for name, value in headers.items()
        if (lower := name.lower()) not in _HOP_BY_HOP and lower not in named and lower != "server"
    ]
    if status in BODYLESS:
        returned = [pair for pair in returned if pair[0] != b"content-length"]
    if "date" not in headers:
        returned.append((b"date", formatdate(usegmt=True).encode()))
    if service_time is not None:
        returned.append((b"x-envoy-upstream-service-time", b"%d" % service_time))
    returned.append((b"server", b"istio-envoy"))
    return returned
