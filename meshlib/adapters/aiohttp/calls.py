"""Calls of the application on a governed session, and the exchanges that they are made of.

A call is what ``session.get`` is: an exchange, and one more for each redirect. aiohttp makes them, with the mesh as
the innermost client middleware, closest to the wire, like a sidecar: the user's own middlewares run once an
exchange and see what the mesh answers. A call like one before it (``prepared.py``) starts with its exchange at once.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientSession
from aiohttp.payload import AsyncIterablePayload
from yarl import URL

from meshlib._drivers import agovern
from meshlib._engine.commands import LocalReply
from meshlib._http import Response
from meshlib._outbound.bodies import SPENT, is_spent
from meshlib._runtime import Runtime
from meshlib._timers import Timers
from meshlib.adapters.aiohttp.connections import EndpointKeys
from meshlib.adapters.aiohttp.errors import ConsumedBodyError, refusal_error
from meshlib.adapters.aiohttp.exchanges import Governed, Shared
from meshlib.adapters.aiohttp.prepared import Asked, PreparedRequests
from meshlib.adapters.aiohttp.response import attach, local_response
from meshlib.adapters.aiohttp.tapes import start_tape

__all__ = ["Calls", "Governor"]


def _unwrapped(method: Any) -> Any:
    """A method of aiohttp's sessions; None if an instrumentation has put its own around it before we came."""
    is_own = (method.__module__, method.__qualname__) == ("aiohttp.client", "ClientSession._request")
    return None if hasattr(method, "__wrapped__") or not is_own else method


_request: Final[Callable[..., Coroutine[Any, Any, aiohttp.ClientResponse]]] = _unwrapped(ClientSession._request)
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_JARS: Final = frozenset((aiohttp.CookieJar, aiohttp.DummyCookieJar))
"""Cookie jars that may be asked once more than aiohttp asks them."""
_WAITS: Final = frozenset(("timeout", "raise_for_status"))
"""Arguments of a call which tell how long it may take, or may themselves wait."""


class Calls:
    """The calls of one session: :meth:`request` takes the place of aiohttp's method behind all of them."""

    __slots__ = ("_governor", "_keeps_total", "_prepared", "_raises", "_session", "_total", "_unlimited")

    def __init__(self, session: ClientSession, governor: Governor, *, has_own_middlewares: bool) -> None:
        self._session: Any = session
        self._governor = governor
        self._total = session.timeout.total or None  # 0: any time, to aiohttp
        self._unlimited = _without_total(session.timeout)
        self._raises = bool(session.raise_for_status)
        # Otherwise something outside of the exchange is waited for, within aiohttp's total timeout.
        self._keeps_total = not (has_own_middlewares or callable(session.raise_for_status))
        can_prepare = self._keeps_total and not session.trust_env and type(session.cookie_jar) in _JARS
        self._prepared = PreparedRequests(session) if can_prepare else None

    def close(self) -> None:
        """No cycle is left to the collector."""
        if self._prepared is not None:
            self._prepared.clear()

    # No coroutine function: aiohttp finds whom to warn so many frames up.
    def request(
        self,
        method: str,
        str_or_url: str | URL,
        *,
        params: Any = None,
        data: Any = None,
        json: Any = None,
        headers: Any = None,
        allow_redirects: bool = True,
        middlewares: Sequence[ClientMiddlewareType] | None = None,
        **others: Any,
    ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """One call: aiohttp's arguments, aiohttp's result."""
        prepared = self._prepared
        if (
            prepared is not None
            and not others
            and middlewares is None
            and not self._session._trace_configs
            and ClientSession._request is _request
        ):
            asked = method, str_or_url, params, headers, data, json
            return self._plain(prepared, asked, allow_redirects=allow_redirects)
        named = {"params": params, "data": data, "json": json, "headers": headers, "middlewares": middlewares}
        others.update((name, value) for name, value in named.items() if value is not None)
        return self._by_aiohttp(None, method, str_or_url, allow_redirects=allow_redirects, **others)

    async def _plain(
        self, prepared: PreparedRequests, asked: Asked, *, allow_redirects: bool
    ) -> aiohttp.ClientResponse:
        """One call like many others: of what was prepared for one of them, if there is any."""
        made = prepared.make(asked)
        if made is None:
            method, str_or_url, params, headers, data, json = asked
            call = Call(self._governor, self._total, keep=partial(prepared.keep, asked))
            return await self._by_aiohttp(
                call, method, str_or_url, params=params, data=data, json=json, headers=headers,
                allow_redirects=allow_redirects,
            )  # fmt: skip
        request, send = made
        headers = asked[3] and asked[3].copy()  # the caller may change them meanwhile
        response = await self._governor.exchange(request, send, self._total)
        if not (allow_redirects and response.status in _REDIRECTS):
            if response._raw_cookie_headers or self._raises:
                self._judge(response)
            return response
        call = Call(self._governor, self._total, answer=response)
        # Its params went into what is answered, and its body is not made anew.
        return await _request(
            self._session, *asked[:2], data=request._body, headers=headers,
            middlewares=(call.govern,), timeout=self._unlimited,
        )  # fmt: skip

    def _judge(self, response: aiohttp.ClientResponse) -> None:
        """Do what aiohttp does with a response that is not the way to another."""
        if response._raw_cookie_headers:
            self._session._cookie_jar.update_cookies_from_headers(response._raw_cookie_headers, response.url)
        if self._raises:
            try:
                response.raise_for_status()
            except BaseException:
                response.close()
                raise

    def _by_aiohttp(
        self, call: Call | None, method: str, str_or_url: str | URL, **named: Any
    ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """One call in aiohttp's own way, or that of an instrumentation which has put itself around it."""
        request: Any = ClientSession._request
        is_plain = self._keeps_total and request is _request and not self._session._trace_configs
        if "middlewares" in named:  # those of a single request add to the mesh instead of replacing it
            named["middlewares"] = (*named["middlewares"], self._governor.govern)
        elif is_plain and _WAITS.isdisjoint(named):
            # The total timeout of the session is the mesh's to keep: nothing outside of the exchange waits.
            named["middlewares"] = ((call or Call(self._governor, self._total)).govern,)
            named["timeout"] = self._unlimited
        return request(self._session, method, str_or_url, **named)  # type: ignore[no-any-return]


class Call:
    """One call that goes aiohttp's way, of at most ``total`` seconds: all its exchanges share them.

    aiohttp's own timer for that costs a fifth of a call, the mesh's next to nothing: most exchanges
    have a shorter one of their own.

    Its first exchange may be answered already, by a redirect (``answer``), or be what others like it are made of
    (``keep``).
    """

    __slots__ = ("_answer", "_began", "_governor", "_keep", "_total")

    def __init__(
        self,
        governor: Governor,
        total: float | None,
        *,
        answer: aiohttp.ClientResponse | None = None,
        keep: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self._governor = governor
        self._total = total
        self._began: float | None = None
        self._answer = answer
        self._keep = keep

    async def govern(self, request: Any, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        """The client middleware of this call."""
        answer: Any
        answer, self._answer = self._answer, None
        if answer is not None:
            self._began = answer.mesh.started
            return answer  # type: ignore[no-any-return]
        keep, self._keep = self._keep, None
        if keep is not None:
            keep(request, handler)
        return await self._governor.exchange(request, handler, self._limit())

    def _limit(self) -> float | None:
        """The seconds that are left for an exchange that begins now."""
        if self._total is None:
            return None
        now = self._governor.now()
        if self._began is None:
            self._began = now
        return max(self._total - (now - self._began), 0.0)


def _without_total(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        connect=timeout.connect,
        sock_read=timeout.sock_read,
        sock_connect=timeout.sock_connect,
        ceil_threshold=timeout.ceil_threshold,
    )


class Governor(Shared):
    """The exchanges of one session. :meth:`govern` is its client middleware."""

    __slots__ = ("_raise_on_refusal", "_runtime", "_timers")

    def __init__(self, runtime: Runtime, keys: EndpointKeys, *, raise_on_refusal: bool) -> None:
        super().__init__(runtime, keys)
        self._runtime = runtime
        self._raise_on_refusal = raise_on_refusal
        self._timers: Timers | None = None

    def now(self) -> float:
        """The mesh's time, in seconds."""
        return self._runtime.published.now()

    def govern(self, request: Any, handler: ClientHandlerType) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """One exchange each time aiohttp enters the chain."""
        return self.exchange(request, handler, None)

    async def exchange(self, request: Any, handler: ClientHandlerType, limit: float | None) -> aiohttp.ClientResponse:
        """One exchange, of at most ``limit`` seconds (None: any number)."""
        timers = self._timers
        if timers is None:
            timers = self._timers = Timers()  # a session belongs to one loop
        governed = Governed(request, handler, self)
        body, can_replay = request.body, _without_body
        if body:
            can_replay = governed.can_replay
            if type(body) is AsyncIterablePayload and is_spent(getattr(body, "_value", None)):
                request.attempt = None  # no cycle here either
                raise ConsumedBodyError(SPENT)
        exchange = governed.exchange = self._runtime.begin(governed, request.headers, can_replay)
        try:
            reply = await agovern(exchange, governed, timers, limit)
        finally:  # no cycle through here is left to the collector
            request.attempt = None
            del governed.request, governed.exchange
        if type(reply) is Response or start_tape(reply):
            response: aiohttp.ClientResponse = reply.handle
            attach(response, exchange, governed, limit)
            return response
        assert isinstance(reply, LocalReply)
        if self._raise_on_refusal and reply.refusal:
            raise refusal_error(exchange, reply, request) from reply.error
        return local_response(request, reply, exchange)


def _without_body() -> bool:
    """A request without a body can always be sent again."""
    return True
