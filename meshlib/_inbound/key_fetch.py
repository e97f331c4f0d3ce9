"""Reads a key set over HTTP, by its URI or through an issuer's discovery document."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import time
import urllib.error
import urllib.request
from typing import IO, Final
from urllib.parse import urlsplit

from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._snapshot.authentication import KeyOrigin

__all__ = ["KeyFetchError", "fetch_keys"]

_LARGEST: Final = 1 << 20
_CHUNK: Final = 65536
_DISCOVERY: Final = "/.well-known/openid-configuration"


class KeyFetchError(Exception):
    """The keys of an issuer could not be read; the message says why."""


def fetch_keys(origin: KeyOrigin) -> KeySet:
    """The keys of an origin. Blocks for at most its timeout per request.

    Raises :class:`KeyFetchError`, and :class:`meshlib._engine.jwt_keys.KeySetError` for
    an answer that is no key set. Link-local addresses, where clouds keep their
    metadata, are never asked, as in Istio.
    """
    uri = origin.uri
    if not uri:
        uri = _discover(origin)
    return parse_keys(_get(uri, origin.timeout))


def _discover(origin: KeyOrigin) -> str:
    place = origin.issuer.rstrip("/") + _DISCOVERY
    try:
        document = json.loads(_get(place, origin.timeout))
    except ValueError as error:
        raise KeyFetchError(f"{place} is no JSON: {error}") from error
    uri = document.get("jwks_uri") if isinstance(document, dict) else None
    if not isinstance(uri, str) or not uri:
        raise KeyFetchError(f"{place} names no jwks_uri")
    return uri


class _Watched(urllib.request.HTTPRedirectHandler):
    """Looks at every place before going there."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """As of the standard library, for places that may be asked."""
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None:
            _check(made.full_url)
        return made


def _get(uri: str, timeout: float) -> bytes:
    _check(uri)
    opener = urllib.request.build_opener(_Watched)
    request = urllib.request.Request(uri, headers={"accept": "application/json", "user-agent": "meshlib"})  # noqa: S310 - checked
    try:
        with opener.open(request, timeout=timeout) as response:
            body = _read(response, time.monotonic() + timeout)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise KeyFetchError(f"{uri}: {error}") from error
    if len(body) > _LARGEST:
        raise KeyFetchError(f"{uri} answers with more than 1 MB")
    return body


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body. An issuer that sends a byte now and then must not hold up the reading for ever."""
    parts: list[bytes] = []
    size = 0
    while size <= _LARGEST and (part := response.read1(_CHUNK)):
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _check(uri: str) -> None:
    """Raise for a place that must not be asked."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise KeyFetchError(f"{uri} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise KeyFetchError(f"{uri} is not an http:// or https:// URL")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise KeyFetchError(f"{host} is not known: {error}") from error
    for *_, address in found:
        if _is_metadata(str(address[0]).partition("%")[0]):
            raise KeyFetchError(f"{uri} leads to a link-local address")


def _is_metadata(text: str) -> bool:
    """Whether a cloud may keep its metadata there: link-local, also in the form of IPv6."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_link_local
