"""Connections to issuers: over before a deadline whatever comes, and never to where clouds keep their metadata.

Certificates must be trusted by the system (``SSL_CERT_FILE`` names others), and proxies are those of the environment,
but for this host itself.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import urllib.request
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from meshlib._inbound.deadlines import time_left

__all__ = ["is_metadata", "opener_of"]


def opener_of(request: urllib.request.Request, deadline: float) -> urllib.request.OpenerDirector:
    """What sends a request and reads the head of the answer, whatever its status; the body has the same deadline."""
    opener = urllib.request.OpenerDirector()
    host = urlsplit(request.full_url).hostname or ""
    address = _address_of(host)
    if host != "localhost" and (address is None or not address.is_loopback):
        opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(_Handler(deadline))
    return opener


def is_metadata(text: str) -> bool:
    """Whether an address is one where a cloud may keep its metadata: link-local, in whatever form. No name is one."""
    address = _address_of(text)
    return address is not None and address.is_link_local


def _address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        # As a connection would read it: ``2852039166`` is an address, too.
        found = socket.getaddrinfo(text, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        address = ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])
    except (OSError, ValueError):
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens both kinds of URL."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, _Connection, self._deadline), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return self.do_open(partial(_connection, _TlsConnection, self._deadline), request, context=context)


class _Connection(http.client.HTTPConnection):
    """A connection that looks where it has got before it says anything."""

    deadline = 0.0

    def connect(self) -> None:
        self.timeout = time_left(self.deadline)
        super().connect()
        address = self.sock.getpeername()[0]
        if is_metadata(address):
            raise OSError(f"it leads to a link-local address ({address})")
        self.sock.settimeout(time_left(self.deadline))


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """The same with TLS, which begins after that look."""


def _connection(kind: type[_Connection], deadline: float, *arguments: Any, **named: Any) -> _Connection:
    made = kind(*arguments, **named)
    made.deadline = deadline
    made.response_class = partial(_Response, deadline)  # type: ignore[assignment]  # called as that class is
    return made


class _Response(http.client.HTTPResponse):
    """An answer that is read until a deadline."""

    def __init__(self, deadline: float, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock, deadline))


class _Timed(io.RawIOBase):
    """Reads of a socket, all together within one deadline: an issuer may send a byte now and then."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(time_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
