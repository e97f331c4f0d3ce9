"""Reads a key set over HTTP, by its URI or through an issuer's discovery document.

As Istio's control plane does it (pilot/pkg/model/jwks_resolver.go): redirects are followed, to other hosts too, and of
a discovery document nothing but ``jwks_uri`` counts.
"""

from __future__ import annotations

import http.client
import json
import string
import time
import zlib
from base64 import b64encode
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import Request

from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._inbound.deadlines import time_left
from meshlib._inbound.key_connections import is_metadata, opener_of
from meshlib._snapshot.authentication import KeyOrigin

__all__ = ["KeyFetchError", "fetch_keys", "shown_place"]

_LARGEST: Final = 1 << 20
_CHUNK: Final = 65536
_DISCOVERY: Final = "/.well-known/openid-configuration"
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_MOST_REDIRECTS: Final = 10
_GZIP: Final = 31
"""What zlib calls it."""


class KeyFetchError(Exception):
    """The keys of an issuer could not be read; the message says why, without what is secret in its URI."""


def fetch_keys(origin: KeyOrigin) -> KeySet:
    """The keys of an origin. Blocks for at most its timeout for the discovery document, and again for the keys.

    Raises :class:`KeyFetchError`, and :class:`meshlib._engine.jwt_keys.KeySetError` for
    an answer that is no key set. Link-local addresses, where clouds keep their
    metadata, are never asked, as in Istio.
    """
    uri = origin.uri
    if not uri:
        uri = _discover(origin)
    return parse_keys(_get(uri, origin.timeout))


def _discover(origin: KeyOrigin) -> str:
    place = origin.issuer.removesuffix("/") + _DISCOVERY
    try:
        document = json.loads(_get(place, origin.timeout))
    except (ValueError, RecursionError) as error:
        raise KeyFetchError(f"{place} is no JSON: {error}") from None
    uri = document.get("jwks_uri") if isinstance(document, dict) else None
    if not isinstance(uri, str) or not uri:
        raise KeyFetchError(f"{place} names no jwks_uri")
    return uri


def _get(uri: str, timeout: float) -> bytes:
    """The body of what is at a place, or where that leads to, before the timeout is over."""
    deadline = time.monotonic() + timeout
    shown = uri
    for _ in range(_MOST_REDIRECTS + 1):
        shown, request = _request(uri)
        try:
            with opener_of(request, deadline).open(request, timeout=time_left(deadline)) as response:
                location = response.headers.get("location", "")
                if response.status not in _REDIRECTS or not location:
                    return _body(shown, response)
                uri = urljoin(uri, location.encode("latin-1").decode("utf-8", "replace"))
        except OSError as error:
            raise KeyFetchError(f"{shown}: {getattr(error, 'reason', error)}") from None
        except (ValueError, http.client.HTTPException, zlib.error) as error:
            # What these say repeats what was sent, or the proxy with its password.
            raise KeyFetchError(f"{shown} does not answer with HTTP ({type(error).__name__})") from None
    raise KeyFetchError(f"{shown}: it redirects more than {_MOST_REDIRECTS} times")


def shown_place(uri: str) -> str:
    """A place for keys as it may be shown: without password and query."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "no URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _request(uri: str) -> tuple[str, Request]:
    """What to ask at a place that may be asked, and the place as it may be shown."""
    shown = shown_place(uri)
    try:
        parts = urlsplit(uri)
        host = parts.hostname
        secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        _ = parts.port  # raises, too
    except ValueError as error:
        raise KeyFetchError(f"a place for keys is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise KeyFetchError(f"{shown} is not an http:// or https:// URL")
    if is_metadata(host):
        raise KeyFetchError(f"{shown} leads to a link-local address")
    bare = parts._replace(
        netloc=parts.netloc.rpartition("@")[2],
        path=quote(parts.path, safe=string.punctuation),
        query=quote(parts.query, safe=string.punctuation),
        fragment="",
    )
    request = Request(bare.geturl(), headers={"accept": "application/json", "user-agent": "meshlib"})  # noqa: S310 - checked
    if parts.username is not None:
        request.add_header("authorization", f"Basic {b64encode(secret.encode()).decode()}")
    return shown, request


def _body(shown: str, response: http.client.HTTPResponse) -> bytes:
    if not 200 <= response.status < 300:
        raise KeyFetchError(f"{shown} answers with status {response.status}")
    is_packed = response.headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip")
    unpacker = zlib.decompressobj(wbits=_GZIP) if is_packed else None
    parts: list[bytes] = []
    size = 0
    while part := response.read1(_CHUNK):
        if unpacker is not None:
            part = unpacker.decompress(part, _LARGEST + 1 - size)
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise KeyFetchError(f"{shown} answers with more than 1 MB")
    if response.length:
        raise KeyFetchError(f"{shown}: the connection was closed in the middle of the answer")
    return b"".join(parts)
