"""Requests as aiohttp has prepared them, made again for calls that differ from them in path and values only.

Preparing a request takes aiohttp longer than the mesh takes for all that it decides, and most calls of a session
are alike: the same method to the same authority, with header fields of the same names. The first of them goes
aiohttp's whole way; what came of it is kept, together with what sends it (the handler that aiohttp gives to client
middlewares). Nothing is decided here that aiohttp decides: a call for which something may come out otherwise goes
aiohttp's way, and a request is kept only if what would be made of it for its own call is what aiohttp has made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp import ClientHandlerType, payload
from multidict import CIMultiDict, getversion, istr
from yarl import URL

__all__ = ["Asked", "Prepared", "PreparedRequests"]

_KEPT: Final = 1024
_DEPENDENCIES: Final = frozenset((
    "self", "traces", "real_timeout", "timer", "read_until_eof", "auto_decompress", "read_bufsize",
    "max_line_size", "max_field_size", "max_headers",
))  # fmt: skip
"""What sending a request depends on in aiohttp 3.14: all of it is the session's, the same for all that are kept."""
_READ_BY_AIOHTTP: Final = frozenset((
    "host", "cookie", "expect", "transfer-encoding", "content-length", "content-encoding",
))  # fmt: skip
"""Header fields whose values decide more of a request than themselves."""

_CONTENT_LENGTH: Final = istr("Content-Length")
_COOKIE: Final = istr("Cookie")
_JSON: Final = object()
_MISSING: Final = object()
_BODIES: Final = frozenset((type(None), bytes, str))
_PAYLOADS: Final = frozenset((type(None), payload.BytesPayload, payload.StringPayload, payload.JsonPayload))
"""Bodies that can be sent any number of times, and hold nothing that has to be closed. So is that of ``json``."""

Asked: TypeAlias = tuple[str, "str | URL", Any, Any, Any, Any]
"""What the application asks of aiohttp, and no more than that: method, URL, ``params``, ``headers``, ``data``,
``json``."""
Alike: TypeAlias = tuple[str, str, str, tuple[str, ...], bool, object]
"""What requests have in common that are made of one: method, scheme, authority, names of the header fields that are
given, whether there are ``params``, and the kind of the body."""


class Prepared:
    """What aiohttp has prepared for one call, as it was before the mesh changed it."""

    __slots__ = ("_fields", "_headers", "auth", "payload", "send")

    def __init__(self, request: Any, send: ClientHandlerType, given: Iterable[str]) -> None:
        self.send = send
        """Sends a request, and returns its response."""
        self.auth = request._session._default_auth
        """The authorization that the session had."""
        self.payload = type(request._body)
        """What aiohttp makes of bodies of this kind."""
        self._headers: CIMultiDict[str] = request.headers.copy()
        self._headers.update(dict.fromkeys(given, ""))  # their values, tokens among them, are of one call
        # By name, and in the order of aiohttp 3.14: the interpreter keeps them then as it
        # keeps those of aiohttp's own requests, and reads them as fast.
        self._fields = (
            request._session, request.method, request.chunked, request.compress, request.loop, request.length,
            request.response_class, request._timer, request._ssl, request.server_hostname, request.version,
            request.proxy, request.proxy_auth, request.proxy_headers, request._traces,
        )  # fmt: skip

    def again(self, url: URL, values: dict[str, str] | None, body: payload.Payload | None) -> Any:
        """A request like it: with another path, other values of the header fields given, another body."""
        made: Any = _new(aiohttp.ClientRequest)
        made.original_url = made.url = url
        headers = made.headers = self._headers.copy()
        (
            made._session, made.method, made.chunked, made.compress, made.loop, made.length,
            made.response_class, made._timer, made._ssl, made.server_hostname, made.version,
            made.proxy, made.proxy_auth, made.proxy_headers, made._traces,
        ) = self._fields  # fmt: skip
        made._body = body
        if values:
            for name, value in values.items():
                headers[name] = value
        if body is not None:
            headers[_CONTENT_LENGTH] = str(body.size)
        return made


_new: Final[Any] = object.__new__


class PreparedRequests:
    """What one session has prepared. Whoever changes its default header fields starts it anew."""

    __slots__ = ("_known", "_session", "_version")

    def __init__(self, session: Any) -> None:
        self._session = session
        self._version = -1
        self._known: dict[Alike, Prepared] = {}

    def make(self, asked: Asked) -> tuple[Any, ClientHandlerType] | None:
        """The request of a call, and what sends it; None: aiohttp has to prepare it, or to say what is wrong."""
        session = self._session
        method, str_or_url, params, headers, data, json = asked
        try:
            version = getversion(session._default_headers)
            if version != self._version:
                self._version = version
                self._known.clear()
            url = session._build_url(str_or_url)
            known = self._known.get(_alike(method, url, params, headers, data, json))
            if (
                known is None
                or known.auth is not session._default_auth
                or url.raw_fragment
                or session.closed
                or session._cookie_jar.filter_cookies(url)
            ):
                return None
        except (TypeError, ValueError):
            return None
        # In the order of aiohttp: each of these may raise an error of the application's.
        body: payload.Payload | None = None if json is None else payload.JsonPayload(json, dumps=session.json_serialize)
        if params:
            url = url.extend_query(params)
        if data is not None:
            body = payload.get_payload(data, disposition=None)
        if body is not None and type(body) is not known.payload:
            return None  # others are registered now
        return known.again(url, headers, body), known.send

    def keep(self, asked: Asked, request: Any, send: Any) -> None:
        """Keep what aiohttp has prepared for this call, if those of others can be made of it."""
        method, str_or_url, params, headers, data, json = asked
        url, defaults = self._session._build_url(str_or_url), self._session._default_headers
        if not (
            isinstance(defaults, CIMultiDict)
            and _is_plain(headers, data, json)
            and _is_known(send)
            and type(request._body) in _PAYLOADS
            and _CONTENT_LENGTH not in defaults
            and request.headers.getall(_COOKIE, ()) == defaults.getall(_COOKIE, ())  # the jar has none for it
            and request.proxy is None  # aiohttp changes the header fields for a proxy when it connects to it
            and "@" not in url.raw_authority
        ):
            return
        try:
            known = Prepared(request, send, headers or ())
        except AttributeError:  # a release of aiohttp whose requests know less
            return
        made = known.again(url.extend_query(params) if params else url, headers, request._body)
        if _is_same(made, request):
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[_alike(method, url, params, headers, data, json)] = known

    def clear(self) -> None:
        """Forget them all: they lead back to the session."""
        self._known.clear()


def _alike(method: str, url: URL, params: Any, headers: Any, data: Any, json: Any) -> Alike:
    if json is None:
        kind: object = type(data)
    else:
        kind = _JSON if data is None else None
    names: Any = () if not headers else tuple(headers) if type(headers) is dict else _MISSING
    return method, url.scheme, url.raw_authority, names, bool(params), kind


def _is_plain(headers: Any, data: Any, json: Any) -> bool:
    """Whether nothing that aiohttp does for a call depends on the values of its header fields or of its body."""
    headers = headers or {}
    if type(headers) is not dict or not (data is None or json is None) or type(data) not in _BODIES:
        return False
    lower = {name.lower() for name in headers}
    return len(lower) == len(headers) and _READ_BY_AIOHTTP.isdisjoint(lower)


def _is_known(send: Any) -> bool:
    """Whether sending depends on what it does in aiohttp 3.14."""
    code = getattr(send, "__code__", None)
    return code is not None and frozenset(code.co_freevars) == _DEPENDENCIES


def _is_same(made: Any, request: Any) -> bool:
    """Whether aiohttp could not tell them apart; what one does not know is as its class has it."""
    others = ((name, value) for name, value in vars(request).items() if name != "headers")
    return (
        type(request) is aiohttp.ClientRequest
        and all(getattr(made, name, _MISSING) == value for name, value in others)
        and list(made.headers.items()) == list(request.headers.items())
    )
