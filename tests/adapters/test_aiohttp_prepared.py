"""Calls of a governed aiohttp session that are made of one that aiohttp has prepared: as if aiohttp had made them.

Every case is played with a session of aiohttp itself as well. What arrives, to the byte, and
what the caller gets must be the same, whatever calls came before.
"""

from __future__ import annotations

import asyncio
import gc
import io
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from meshlib.adapters.aiohttp.prepared import PreparedRequests
from tests.adapters.prepared_calls import is_prepared
from tests.adapters.side_by_side import BASE, made, same, sessions

PREPARED: dict[str, Callable[[str], dict[str, Any]]] = {
    "a path": lambda path: {"url": f"{BASE}/{path}"},
    "a path to encode": lambda path: {"url": f"{BASE}/ä b/{path}?q=%20 +ü"},
    "a URL": lambda path: {"url": URL(BASE) / path},
    "an IPv6 address and no path": lambda path: {"url": f"http://reviews:9080?{path}"},
    "params": lambda path: {"url": f"{BASE}/x?y=1", "params": {"z": path, "n": 2}},
    "params as pairs": lambda path: {"url": f"{BASE}/x", "params": [("z", path), ("z", "2")]},
    "params as text": lambda path: {"url": f"{BASE}/x", "params": f"z={path}"},
    "no params": lambda path: {"url": f"{BASE}/{path}", "params": {}},
    "headers": lambda path: {"url": f"{BASE}/{path}", "headers": {"X-One": path, "accept": f"text/{path}"}},
    "no headers": lambda path: {"url": f"{BASE}/{path}", "headers": {}},
    "an authorization": lambda path: {"url": f"{BASE}/{path}", "headers": {"Authorization": f"Bearer {path}"}},
    "a type": lambda path: {"url": f"{BASE}/x", "json": [path], "headers": {"content-type": f"a/{path}"}},
    "json": lambda path: {"url": f"{BASE}/x", "json": {"path": path}},
    "bytes": lambda path: {"url": f"{BASE}/x", "data": path.encode()},
    "text": lambda path: {"url": f"{BASE}/x", "data": f"ä{path}"},
    "no bytes": lambda path: {"url": f"{BASE}/{path}", "data": b""},
    "no redirects": lambda path: {"url": f"{BASE}/{path}/301", "allow_redirects": False},
    "an error": lambda path: {"url": f"{BASE}/{path}/503"},
    "a redirect": lambda path: {"url": f"{BASE}/{path}/307"},
    "a redirect to GET": lambda path: {"url": f"{BASE}/{path}/303", "json": path},
}
"""Those that are made of one before them."""


@pytest.mark.parametrize("method", ["GET", "POST", "put", "DELETE", "HEAD", "OPTIONS", "PATCH", "PURGE"])
@pytest.mark.parametrize("name", PREPARED)
async def test_a_call_like_one_before(name: str, method: str) -> None:
    """It differs in values only."""
    async with sessions() as (server, bare, governed):
        await same(server, bare, governed, method, **PREPARED[name]("first"))
        again = PREPARED[name]("second")
        assert is_prepared(governed, method, **again)
        await same(server, bare, governed, method, **again)


ALONE: dict[str, Callable[[], dict[str, Any]]] = {
    "a fragment": lambda: {"url": f"{BASE}/x#part"},
    "a password": lambda: {"url": "http://me:secret@reviews:9080/x"},
    "many headers": lambda: {"url": f"{BASE}/x", "headers": CIMultiDict([("x-a", "1"), ("x-a", "2")])},
    "pairs of headers": lambda: {"url": f"{BASE}/x", "headers": [("x-a", "1"), ("x-a", "2")]},
    "fixed pairs of headers": lambda: {"url": f"{BASE}/x", "headers": (("x-a", "1"), ("x-a", "2"))},
    "two cases of a header": lambda: {"url": f"{BASE}/x", "headers": {"X-A": "1", "x-a": "2"}},
    "a host": lambda: {"url": f"{BASE}/x", "headers": {"Host": "reviews:9080"}},
    "a cookie field": lambda: {"url": f"{BASE}/x", "headers": {"cookie": "a=b"}},
    "an encoding": lambda: {"url": f"{BASE}/x", "headers": {"content-encoding": "br"}, "data": b"abc"},
    "a length": lambda: {"url": f"{BASE}/x", "headers": {"content-length": "3"}, "data": b"abc"},
    "cookies": lambda: {"url": f"{BASE}/x", "cookies": {"a": "b"}},
    "a form": lambda: {"url": f"{BASE}/x", "data": {"a": "b"}},
    "a file": lambda: {"url": f"{BASE}/x", "data": io.BytesIO(b"abc")},
    "a buffer": lambda: {"url": f"{BASE}/x", "data": bytearray(b"abc")},
    "compression": lambda: {"url": f"{BASE}/x", "data": b"abc" * 50, "compress": "deflate"},
    "pieces": lambda: {"url": f"{BASE}/x", "data": b"abc", "chunked": True},
    "fewer headers": lambda: {"url": f"{BASE}/x", "skip_auto_headers": ["User-Agent"]},
    "a time of its own": lambda: {"url": f"{BASE}/x", "timeout": aiohttp.ClientTimeout(total=9)},
    "a check of its own": lambda: {"url": f"{BASE}/x/503", "raise_for_status": True},
    "a body twice": lambda: {"url": f"{BASE}/x", "data": b"a", "json": []},
    "what is no JSON": lambda: {"url": f"{BASE}/x", "json": {1, 2}},
    "what is no body": lambda: {"url": f"{BASE}/x", "data": 7},
    "what is no header": lambda: {"url": f"{BASE}/x", "headers": {"x-a": 7}},
    "what is no name": lambda: {"url": f"{BASE}/x", "headers": {7: "x-a"}},
    "what is no field": lambda: {"url": f"{BASE}/x", "headers": {"x-a": "1\r\nx-b: 2"}},
    "what are no params": lambda: {"url": f"{BASE}/x", "params": 7},
    "what is no URL": lambda: {"url": "http://[reviews:9080/x"},
    "half a URL": lambda: {"url": "/x"},
    "another protocol": lambda: {"url": "ftp://reviews:9080/x"},
    "nothing": lambda: {"url": None},
}
"""Those for which aiohttp does more, or other things, or nothing."""


@pytest.mark.parametrize("name", ALONE)
async def test_a_call_with_more_to_it(name: str) -> None:
    """It is never taken for another, nor another for it."""
    async with sessions() as (server, bare, governed):
        for again in range(2):
            await same(server, bare, governed, "POST", f"{BASE}/x")
            await same(server, bare, governed, "POST", f"{BASE}/x", data=b"ab")
            await same(server, bare, governed, "POST", f"{BASE}/x", json=[again])
            await same(server, bare, governed, "POST", f"{BASE}/x", headers={"X-A": "1"})
            expected = await made(bare, server, "POST", **ALONE[name]())
            assert await made(governed, server, "POST", **ALONE[name]()) == expected


names = st.sampled_from(["X-A", "x-a", "X-B", "Accept", "Authorization", "Content-Type", "Expect", "Cookie"])
paths = st.sampled_from(["", "a/b?c=d", "ü", "cookie", "302", "308", "404", "x#y"])
calls = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "DELETE"]),
        "url": paths.map(f"{BASE}/{{}}".format),
    },
    optional={
        "params": st.dictionaries(st.sampled_from(["p", "q"]), st.text("a ü&", max_size=3)),
        "headers": st.dictionaries(names, st.text("ab ", max_size=3).map(str.strip), max_size=3),
        "data": st.sampled_from([b"", b"abc", "tëxt", {"form": "field"}]),
        "json": st.sampled_from([None, {}, ["ü", 1.5]]),
        "allow_redirects": st.booleans(),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(calls, min_size=2, max_size=7), st.booleans())
def test_any_calls_one_after_the_other(several: list[dict[str, Any]], raises: bool) -> None:
    async def play() -> None:
        async with sessions(raise_for_status=raises) as (server, bare, governed):
            for call in several:
                await same(server, bare, governed, **call)

    asyncio.run(play())


async def test_cookies_are_kept_and_sent() -> None:
    """Those of an answer, and those that the application sets; gone again, calls are made as before."""
    async with sessions() as (server, bare, governed):
        for path in ("/a", "/cookie", "/b", "/cookie", "/cakes/c"):
            await same(server, bare, governed, "GET", BASE + path)
        for session in (bare, governed):
            session.cookie_jar.clear()
        assert is_prepared(governed, "GET", f"{BASE}/d")
        await same(server, bare, governed, "GET", f"{BASE}/d")
        for session in (bare, governed):
            session.cookie_jar.update_cookies({"mine": "yes"}, URL(BASE))
        await same(server, bare, governed, "GET", f"{BASE}/e")


async def test_header_fields_of_the_session_may_change() -> None:
    """Added, changed and removed between calls."""
    async with sessions(headers={"X-Session": "1"}) as (server, bare, governed):
        changes: list[Callable[[CIMultiDict[str]], Any]] = [
            lambda fields: None,
            lambda fields: None,
            lambda fields: fields.add("Authorization", "Bearer a"),
            lambda fields: fields.__setitem__("authorization", "Bearer b"),
            lambda fields: fields.popall("X-Session"),
        ]
        for change in changes:
            for session in (bare, governed):
                change(session.headers)
            await same(server, bare, governed, "GET", f"{BASE}/x")
            await same(server, bare, governed, "GET", f"{BASE}/x", headers={"X-Session": "mine"})


class Signing(aiohttp.ClientRequest):
    """A request class of the application."""

    def update_headers(self, headers: Any) -> None:
        super().update_headers(headers)
        self.headers["x-signed"] = self.url.path


async def add(request: Any, handler: Any) -> Any:
    request.headers["x-added"] = request.url.path
    return await handler(request)


async def trace_with(session: aiohttp.ClientSession, seen: list[str]) -> None:
    config = aiohttp.TraceConfig()

    async def start(_: Any, __: Any, parameters: Any) -> None:
        seen.append(parameters.url.path)

    config.on_request_start.append(start)
    config.freeze()
    session.trace_configs.append(config)


@pytest.mark.parametrize(
    "arguments",
    [
        {"request_class": Signing},
        {"middlewares": [add]},
        {"base_url": f"{BASE}/base/"},
        {"trust_env": True},
        {"json_serialize": lambda value: f"<{value}>"},
        {"skip_auto_headers": ["Accept", "Content-Type"]},
        {"auto_decompress": False, "read_bufsize": 2**10},
        {"requote_redirect_url": False},
        {"timeout": aiohttp.ClientTimeout(total=None)},
        {"timeout": aiohttp.ClientTimeout(total=0)},
        {"version": aiohttp.HttpVersion10},
        {"cookies": {"always": "there"}},
        {"cookie_jar": "dummy"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
async def test_what_a_session_is_told(arguments: dict[str, Any]) -> None:
    """It holds for each of its calls."""
    if arguments.get("cookie_jar") == "dummy":
        arguments = {"cookie_jar": aiohttp.DummyCookieJar()}
    base = "" if "base_url" in arguments else f"{BASE}/"
    async with sessions(**arguments) as (server, bare, governed):
        for path in ("one", "two", "cookie", "three", "302"):
            await same(server, bare, governed, "POST", f"{base}{path}", json=[path])
            await same(server, bare, governed, "GET", f"{base}{path}")


async def test_relative_urls_are_prepared_too() -> None:
    """Of a session with a base."""
    async with sessions(base_url=f"{BASE}/base/") as (server, bare, governed):
        await same(server, bare, governed, "GET", "one?a=b")
        for url in ("two", "../three", f"{BASE}/four"):
            assert is_prepared(governed, "GET", url)
            await same(server, bare, governed, "GET", url)


async def test_traces_that_come_later() -> None:
    """They see the calls from then on."""
    async with sessions() as (server, bare, governed):
        await same(server, bare, governed, "GET", f"{BASE}/one")
        seen: list[str] = []
        await trace_with(governed, seen)
        await same(server, bare, governed, "GET", f"{BASE}/two")
        assert seen == ["/two"]


async def test_middlewares_of_one_call() -> None:
    """They see that one, and the mesh stays beneath them."""
    async with sessions() as (server, bare, governed):
        for _ in range(2):
            await same(server, bare, governed, "GET", f"{BASE}/one")
            await same(server, bare, governed, "GET", f"{BASE}/two", middlewares=[add])


async def test_a_closed_session_says_so() -> None:
    """In aiohttp's words; a detached one too."""
    for end in ("close", "detach"):
        async with sessions() as (server, bare, governed):
            await same(server, bare, governed, "GET", f"{BASE}/one")
            connectors = [session.connector for session in (bare, governed)]
            for session in (bare, governed):
                ended: Awaitable[None] | None = getattr(session, end)()
                if ended is not None:
                    await ended
            with pytest.raises(RuntimeError, match="Session is closed"):
                await governed.get(f"{BASE}/one")
            for connector in connectors:
                if connector is not None:
                    await connector.close()


async def test_a_closed_session_leaves_no_cycle() -> None:
    """What it has prepared leads back to it, and ends with it."""
    async with sessions() as (server, bare, governed):
        await same(server, bare, governed, "GET", f"{BASE}/one")
        assert is_prepared(governed, "GET", f"{BASE}/one")
        session = weakref.ref(governed)
    gc.disable()
    try:
        del governed
        assert session() is None
    finally:
        gc.enable()


async def test_a_bounded_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts without number do not fill the memory."""
    monkeypatch.setattr("meshlib.adapters.aiohttp.prepared._KEPT", 8)
    async with sessions() as (server, bare, governed):
        for number in range(20):
            await same(server, bare, governed, "GET", f"{BASE}/x", headers={f"X-{number}": "1"})
        kept: PreparedRequests = governed._request.__self__._prepared  # type: ignore[attr-defined]
        assert len(kept._known) <= 8


async def test_a_release_of_aiohttp_that_sends_in_another_way() -> None:
    """What its handlers depend on is not known: each call is aiohttp's own."""

    class Handler:
        async def __call__(self, request: Any) -> Any:
            return await self.sent(request)

        async def sent(self, request: Any) -> Any:
            raise NotImplementedError

    async with sessions() as (_, _, governed):
        kept: PreparedRequests = governed._request.__self__._prepared  # type: ignore[attr-defined]

        async def keep(request: Any, handler: Any) -> Any:
            for other in (Handler(), Handler().sent):
                kept.keep(("GET", BASE, None, None, None, None), request, other)
                assert not is_prepared(governed, "GET", BASE)
            kept.keep(("GET", BASE, None, None, None, None), request, handler)
            raise KeyError

        request = aiohttp.ClientSession._request(governed, "GET", BASE, middlewares=[keep])
        with pytest.raises(KeyError):
            await request
        assert is_prepared(governed, "GET", BASE)
