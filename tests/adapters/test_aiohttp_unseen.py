"""Calls of a governed aiohttp session made of what was prepared before: nothing around the wire tells either.

What the application's own code sees of a call (its encoder, its cookie jar, its warnings, the objects that
it changes meanwhile, the instrumentation around aiohttp) is what it sees of a bare session.
"""

from __future__ import annotations

import functools
import gc
import json
import warnings
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import payload
from multidict import CIMultiDict
from yarl import URL

from meshlib.adapters.aiohttp import governed_session
from meshlib.adapters.aiohttp.calls import _unwrapped
from meshlib.errors import MeshError
from tests.adapters.prepared_calls import is_prepared
from tests.adapters.servers import Resolver, raw_server
from tests.adapters.side_by_side import BASE, Server, made, same, sessions
from tests.mesh_builders import make_cluster, make_runtime, make_snapshot


@pytest.mark.parametrize("path", ["x", "303", "307", "503"])
async def test_a_body_is_encoded_once(path: str) -> None:
    """By the application's own encoder, whatever comes of the call."""
    encoded: list[Any] = []

    def encode(value: Any) -> str:
        encoded.append(value)
        return json.dumps(value)

    async with sessions(json_serialize=encode) as (server, bare, governed):
        for session in (bare, governed):
            for number in range(3):
                await made(session, server, "POST", f"{BASE}/{path}", json=number)
        assert encoded == [0, 1, 2] * 2


async def test_an_encoder_that_fails_is_called_once() -> None:
    """Its error is the caller's."""
    called: list[Any] = []

    def encode(value: Any) -> str:
        called.append(value)
        if value:
            raise ValueError("no such thing")
        return "{}"

    async with sessions(json_serialize=encode) as (server, bare, governed):
        for value in (0, 1):
            await same(server, bare, governed, "POST", f"{BASE}/x", json=value)
        assert called == [0, 0, 1, 1]


@pytest.mark.parametrize("path", ["303", "307"])
async def test_what_the_caller_changes_meanwhile(path: str) -> None:
    """A redirect takes along what was given when the call was made."""
    async with sessions() as (server, bare, governed):
        for _ in range(2):
            results = []
            for session in (bare, governed):
                given: dict[str, Any] = {"json": ["one"], "headers": {"X-A": "1", "X-B": "2"}, "params": {"p": "1"}}

                def change(given: dict[str, Any] = given) -> None:
                    given["json"].append("two")
                    given["headers"].update({"X-A": "3", "Content-Length": "7"})
                    given["headers"].pop("X-B")
                    given["params"]["p"] = "2"

                server.meanwhile = change
                results.append(await made(session, server, "POST", f"{BASE}/{path}", **given))
            assert results[0] == results[1]


async def test_a_session_that_ends_meanwhile() -> None:
    """Its connector lives on, and what is on its way arrives, with its cookies and errors."""
    for path, raises in (("cookie", False), ("503", True), ("503", False)):
        server = Server()
        async with raw_server(server.talk) as port:
            runtime = make_runtime(make_snapshot(make_cluster(port)))
            results = []
            for make in (aiohttp.ClientSession, functools.partial(governed_session, runtime)):
                connector = aiohttp.TCPConnector(resolver=Resolver(port))
                session: Any = make(connector=connector, raise_for_status=raises)
                await made(session, server, "GET", f"{BASE}/x")
                server.meanwhile = session.detach
                results.append(await made(session, server, "GET", f"{BASE}/{path}"))
                await connector.close()
            assert results[0] == results[1]


async def test_traces_that_come_meanwhile() -> None:
    """They are for calls that begin later: what is on its way is not sent again."""
    async with sessions() as (server, bare, governed):
        await same(server, bare, governed, "POST", f"{BASE}/x")
        results = []
        for session in (bare, governed):
            config = aiohttp.TraceConfig()
            config.freeze()
            server.meanwhile = functools.partial(session.trace_configs.append, config)
            results.append(await made(session, server, "POST", f"{BASE}/307"))
        assert results[0] == results[1]


def wrap(monkeypatch: pytest.MonkeyPatch, seen: list[Any]) -> None:
    """Do as instrumentations do (ddtrace, elastic-apm, aioresponses)."""
    wrapped = aiohttp.ClientSession._request

    @functools.wraps(wrapped)
    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((args, dict(kwargs)))
        kwargs["headers"] = {**(kwargs.get("headers") or {}), "traceparent": str(len(seen) % 2)}
        return await wrapped(self, *args, **kwargs)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", request)


async def test_instrumentation_around_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees each call, with the arguments that were given, and may change them; the mesh stays beneath it."""
    seen: list[Any] = []
    async with sessions() as (server, bare, governed):
        await same(server, bare, governed, "GET", f"{BASE}/x")
        with monkeypatch.context() as patches:
            wrap(patches, seen)
            for given in ({}, {"headers": {"X-A": "1"}}, {"json": [1], "timeout": None}, {"allow_redirects": False}):
                seen.clear()
                arguments: dict[str, Any] = given
                expected = await made(bare, server, "GET", f"{BASE}/307", **arguments)
                got = await made(governed, server, "GET", f"{BASE}/307", **arguments)
                assert len(seen) == 2
                assert seen[0][0] == seen[1][0]
                assert {"allow_redirects": True, **seen[0][1]} == seen[1][1]
                assert [len(arrived[0]) for arrived in got[2]] == [len(arrived[0]) for arrived in expected[2]]
            response = await governed.get(f"{BASE}/x")
            assert hasattr(response, "mesh")
            response.release()
        seen.clear()
        await same(server, bare, governed, "GET", f"{BASE}/x")
        assert not seen


def test_instrumentation_that_was_there_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for aiohttp's own."""
    assert _unwrapped(aiohttp.ClientSession._request) is aiohttp.ClientSession._request
    wrap(monkeypatch, [])
    assert _unwrapped(aiohttp.ClientSession._request) is None
    assert _unwrapped(lambda *_: None) is None


async def test_warnings_name_the_caller() -> None:
    """Those of aiohttp of arguments that are going out of use."""
    auth = person("me")
    async with sessions() as (_, bare, governed):
        for session in (bare, governed):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                async with session.get(f"{BASE}/x", auth=auth):
                    pass
            assert {warning.filename for warning in caught if warning.category is DeprecationWarning} <= {__file__}


async def test_a_large_body_is_warned_of_once() -> None:
    """As aiohttp does."""
    async with sessions() as (server, bare, governed):
        for _ in range(2):
            numbers = []
            for session in (bare, governed):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    await made(session, server, "POST", f"{BASE}/307", data=b"a" * (2**20 + 1))
                numbers.append(sum(warning.category is ResourceWarning for warning in caught))
            assert numbers == [1, 1]


async def test_what_is_no_argument() -> None:
    """It is refused when the call is made, before it is awaited for."""
    async with sessions() as (_, bare, governed):
        for session in (bare, governed):
            with pytest.raises(TypeError, match="bogus"):
                session.get(f"{BASE}/x", bogus=1)  # type: ignore[call-arg]


async def test_what_is_put_in_place_of_a_session_s_own() -> None:
    """Default header fields, cookie jar and authorization, as applications do it although the names are private."""
    async with sessions(headers={"X-Old": "1"}) as (server, bare, governed):
        for _ in range(2):
            await same(server, bare, governed, "GET", f"{BASE}/x")
        for name, make in (
            ("_default_headers", lambda: CIMultiDict({"X-New": "2"})),
            ("_default_auth", lambda: person("me")),
            ("_default_auth", lambda: person("you")),
            ("_default_auth", lambda: None),
            ("_cookie_jar", filled),
            ("_default_headers", lambda: {"X-Plain": "3"}),
        ):
            for session in (bare, governed):
                object.__setattr__(session, name, make())
            for _ in range(2):
                await same(server, bare, governed, "GET", f"{BASE}/x")


def person(name: str) -> aiohttp.BasicAuth:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return aiohttp.BasicAuth(name, "secret")


def filled() -> aiohttp.CookieJar:
    jar = aiohttp.CookieJar()
    jar.update_cookies({"a": "b"}, URL(BASE))
    return jar


class Shout(payload.StringPayload):
    """What an application makes of its texts."""

    def __init__(self, value: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(value.upper(), *args, content_type="text/loud", **kwargs)


async def test_payloads_that_are_registered_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are used from then on."""
    async with sessions() as (server, bare, governed):
        await same(server, bare, governed, "POST", f"{BASE}/x", data="one")
        assert is_prepared(governed, "POST", f"{BASE}/x", data="one")
        monkeypatch.setattr(payload.PAYLOAD_REGISTRY, "_first", [(Shout, str)])
        for _ in range(2):
            await same(server, bare, governed, "POST", f"{BASE}/x", data="two")


async def test_a_length_among_the_fields_of_the_session() -> None:
    """It is what aiohttp sends, of each body."""
    async with sessions(headers={"Content-Length": "3"}) as (server, bare, governed):
        for body in (b"abc", b"abcdef", b"abc"):
            await same(server, bare, governed, "POST", f"{BASE}/x", data=body)


class Strict(aiohttp.ClientResponse):
    """Responses that the application finds fault with."""

    def raise_for_status(self) -> None:
        if self.status != 200:
            raise ValueError(self.status)


async def test_a_check_of_the_application_s_responses() -> None:
    """It decides itself which of them are errors."""
    async with sessions(response_class=Strict, raise_for_status=True) as (server, bare, governed):
        for path in ("200", "204", "200", "204", "503"):
            await same(server, bare, governed, "GET", f"{BASE}/{path}")


async def test_a_proxy_is_asked_with_fields_of_its_own() -> None:
    """aiohttp adds to them when it connects; so each call has its own, and finds the connection of the one before."""
    connections: Counter[str] = Counter()
    name = ""
    server = Server()

    async def talk(reader: Any, writer: Any) -> None:
        connections[name] += 1
        await server.talk(reader, writer)

    async with raw_server(talk) as port:
        runtime = make_runtime(make_snapshot(make_cluster(port)))
        makers: dict[str, Callable[..., Any]] = {
            "bare": aiohttp.ClientSession,
            "governed": functools.partial(governed_session, runtime),
        }
        for name, make in makers.items():  # noqa: B007 - talk reads it
            session = make(proxy=f"http://127.0.0.1:{port}", headers={"X-A": "1"})
            async with session:
                for _ in range(3):
                    await made(session, server, "GET", f"{BASE}/x")
    assert connections["bare"] == connections["governed"] == 1


ODD: dict[str, Callable[[], Any]] = {
    "a name": lambda: ("X-A",),
    "two letters": lambda: ("ab",),
    "a text": lambda: "X-A",
    "a set": lambda: frozenset({"X-A"}),
    "no pairs": list,
    "nothing": lambda: 0,
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_header_fields(name: str) -> None:
    """They are never taken for the names of fields that were given before."""
    async with sessions() as (server, bare, governed):
        for _ in range(2):
            for headers in ({"X-A": "1"}, {"ab": "1"}, {}, ODD[name]()):
                await same(server, bare, governed, "GET", f"{BASE}/x", headers=headers)


async def test_lists_of_traces_that_are_put_in_place() -> None:
    """As instrumentations do; opentelemetry's takes its own away in this way."""
    async with sessions() as (server, bare, governed):
        await same(server, bare, governed, "GET", f"{BASE}/x")
        seen: list[str] = []

        async def start(_: Any, __: Any, parameters: Any) -> None:
            seen.append(parameters.url.path)

        config = aiohttp.TraceConfig()
        config.on_request_start.append(start)
        config.freeze()
        object.__setattr__(governed, "_trace_configs", [config])
        await made(governed, server, "GET", f"{BASE}/traced")
        object.__setattr__(governed, "_trace_configs", [])
        await made(governed, server, "GET", f"{BASE}/x")
        assert seen == ["/traced"]


async def test_values_are_not_kept() -> None:
    """A token is of one call."""
    async with sessions() as (server, _, governed):
        await made(governed, server, "GET", f"{BASE}/x", headers={"Authorization": "Bearer secret"})
        prepared = governed._request.__self__._prepared  # type: ignore[attr-defined]
        [kept] = prepared._known.values()
        assert "secret" not in str(kept._headers)
        assert kept._headers["Authorization"] == ""


async def test_a_body_that_was_consumed_is_let_go() -> None:
    """With its error: no cycle is left to the collector."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"

    async with sessions() as (_, _, governed):
        body: Any = pieces()
        async for _piece in body:
            pass
        gone = weakref.ref(body)
        gc.disable()
        try:
            with pytest.raises(MeshError, match="consumed"):
                await governed.post(f"{BASE}/x", data=body)
            del body
            assert gone() is None
        finally:
            gc.enable()
