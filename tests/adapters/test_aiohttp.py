"""A governed aiohttp session against real loopback servers: what the application sees, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import io
import weakref
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from meshlib._clock import SystemClock
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import TrafficPolicy, UpstreamTls
from meshlib._snapshot.matchers import RouteMatch
from meshlib._snapshot.routes import (
    DirectResponse,
    HeaderOps,
    HeaderValue,
    RetryPolicy,
    Route,
    VirtualHost,
)
from meshlib.adapters.aiohttp import governed_session
from meshlib.errors import MeshError, RefusedError
from tests.adapters.servers import raw_server, upstream
from tests.mesh_builders import AT_REST, counters, make_cluster, make_runtime, make_snapshot
from tests.ports import closed_port

RETRY = RetryPolicy(attempts=2, conditions=frozenset({"5xx"}), backoff=0.001)


def runtime_for(*ports: int, policy: TrafficPolicy | None = None, **action: object) -> Runtime:
    return make_runtime(make_snapshot(make_cluster(*ports, policy=policy), **action), clock=SystemClock())


async def test_host_url_and_query_stay_those_of_the_application() -> None:
    """Only the connection goes to the endpoint."""
    async with upstream() as server:
        runtime = runtime_for(server.port)
        async with governed_session(runtime) as session, session.get("http://reviews:9080/a%20b?x=1&y=%26") as reply:
            facts = await reply.json()
        assert (facts["host"], facts["path"]) == ("reviews:9080", "/a%20b?x=1&y=%26")
        assert str(reply.url) == "http://reviews:9080/a%20b?x=1&y=%26"
        assert str(reply.request_info.url) == str(reply.url)
        assert counters(runtime) == AT_REST


@pytest.mark.parametrize("body", [b"hello", io.BytesIO(b"hello"), "hello"], ids=["bytes", "file", "text"])
async def test_a_body_that_can_be_sent_again_is_replayed_whole(body: object) -> None:
    """Each attempt carries all of it."""
    async with upstream(503, 503) as server:
        async with governed_session(runtime_for(server.port, retry=RETRY)) as session:
            async with session.post("http://reviews:9080/", data=body) as reply:
                assert (reply.status, (await reply.json())["body"]) == (200, "hello")
        assert [seen[3] for seen in server.seen] == [b"hello"] * 3


async def test_a_streamed_body_is_sent_once() -> None:
    """A consumed generator is not replayed as an empty body: the 503 is returned."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"abc"

    async with upstream(503) as server:
        async with governed_session(runtime_for(server.port, retry=RETRY)) as session:
            async with session.post("http://reviews:9080/", data=chunks()) as reply:
                assert reply.status == 503
        assert [seen[3] for seen in server.seen] == [b"abcabcabc"]


async def test_a_streamed_body_survives_a_connect_failure() -> None:
    """Nothing of it was read yet."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"abc"

    retry = RetryPolicy(attempts=20, conditions=frozenset({"connect-failure"}), backoff=0.001)
    async with upstream() as server:
        runtime = runtime_for(closed_port(), server.port, retry=retry)
        async with governed_session(runtime) as session:
            for _ in range(8):
                async with session.post("http://reviews:9080/", data=chunks()) as reply:
                    assert (await reply.json())["body"] == "abc"


async def test_a_response_can_be_streamed() -> None:
    """Chunks arrive as they are sent; the request counts as on its way until the body is over."""
    more = asyncio.Event()

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await more.wait()
        await response.write(b"last")
        return response

    async with upstream(drip=drip) as server:
        runtime = runtime_for(server.port)
        async with governed_session(runtime) as session, session.get("http://reviews:9080/drip") as reply:
            assert await reply.content.readany() == b"first"
            assert counters(runtime)["endpoint active"] == 1
            more.set()
            assert await reply.content.read() == b"last"
            assert counters(runtime) == AT_REST


@pytest.mark.parametrize("how", ["close", "release"])
async def test_an_unread_response_is_counted_out(how: str) -> None:
    """Closed or released before its body is over."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with pytest.raises((ConnectionError, asyncio.CancelledError)):
            while True:
                await response.write(b"x" * 1000)
        return response

    async with upstream(endless=endless) as server:
        runtime = runtime_for(server.port)
        async with governed_session(runtime) as session:
            reply = await session.get("http://reviews:9080/endless")
            assert counters(runtime)["endpoint active"] == 1
            getattr(reply, how)()
            assert counters(runtime) == AT_REST


async def test_cookies_belong_to_the_host_the_application_called() -> None:
    """They are stored for it and sent back to it, whichever endpoint answers."""

    async def login(request: web.Request) -> web.Response:
        response = web.Response()
        response.set_cookie("session", "42")
        return response

    async with upstream(login=login) as one, upstream(login=login) as two:
        async with governed_session(runtime_for(one.port, two.port)) as session:
            async with session.get("http://reviews:9080/login"):
                pass
            for _ in range(6):
                async with session.get("http://reviews:9080/") as reply:
                    assert (await reply.json())["headers"]["cookie"] == "session=42"


async def test_each_hop_of_a_redirect_is_governed() -> None:
    """The second hop is an exchange of its own."""

    async def move(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/there"})

    async with upstream(move=move) as server:
        runtime = runtime_for(server.port)
        async with governed_session(runtime) as session, session.get("http://reviews:9080/move") as reply:
            assert (await reply.json())["path"] == "/there"
            assert [str(one.url) for one in reply.history] == ["http://reviews:9080/move"]
        assert counters(runtime) == AT_REST


async def test_websockets_pass() -> None:
    """They count as on their way as long as they are open."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request.host}: {message.data}")
        return socket

    async with upstream(ws=echo) as server:
        runtime = runtime_for(server.port)
        async with governed_session(runtime) as session, session.ws_connect("http://reviews:9080/ws") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "reviews:9080: hello"
            assert counters(runtime)["endpoint active"] == 1
        assert counters(runtime) == AT_REST


async def test_base_url_default_headers_and_json_work() -> None:
    """Arguments of ClientSession are passed on."""
    async with upstream() as server:
        session = governed_session(
            runtime_for(server.port), base_url="http://reviews:9080/api/", headers={"x-team": "shop"}
        )
        async with session, session.put("items", json={"a": 1}, params={"q": "x"}) as reply:
            facts = await reply.json()
        assert (facts["path"], facts["body"], facts["headers"]["x-team"]) == ("/api/items?q=x", '{"a": 1}', "shop")


async def test_middlewares_of_the_user_wrap_the_mesh() -> None:
    """Of the session and of a single request alike: they run once, the mesh retries inside."""
    calls: list[str] = []

    async def mine(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        calls.append(str(request.url))
        return await handler(request)

    async with upstream(503, 503) as server:
        async with governed_session(runtime_for(server.port, retry=RETRY), middlewares=(mine,)) as session:
            async with session.get("http://reviews:9080/1") as reply:
                assert reply.status == 200
            server.script[:] = [503]
            async with session.get("http://reviews:9080/2", middlewares=(mine,)) as reply:
                assert reply.status == 200
            server.script[:] = [503]
            async with session.get("http://reviews:9080/3", middlewares=()) as reply:
                assert reply.status == 200
        assert calls == ["http://reviews:9080/1", "http://reviews:9080/2"]


async def test_request_and_response_classes_of_the_user_are_kept() -> None:
    """They are combined with the mesh's."""

    class Marked(aiohttp.ClientResponse):
        mark = "mine"

    class Signed(aiohttp.ClientRequest):
        def update_auto_headers(self, skip: object) -> None:
            super().update_auto_headers(skip)  # type: ignore[arg-type]
            self.headers["x-signed"] = "yes"

    async with upstream() as server:
        session = governed_session(runtime_for(server.port), response_class=Marked, request_class=Signed)
        async with session, session.get("http://reviews:9080/") as reply:
            assert isinstance(reply, Marked)
            assert (await reply.json())["headers"]["x-signed"] == "yes"


async def test_a_refusal_is_the_response_envoy_would_send() -> None:
    """By default, as behind a sidecar: the application sees a 503 with Envoy's body."""
    runtime = runtime_for(closed_port())
    async with governed_session(runtime) as session:
        async with session.get("http://reviews:9080/") as reply:
            assert reply.status == 503
            assert (await reply.text()).endswith("reset reason: remote connection failure")
            assert reply.headers["content-type"] == "text/plain"
            assert reply.reason == "Service Unavailable"
            assert reply.mesh.flags == ("UF",)  # type: ignore[attr-defined]
        with pytest.raises(aiohttp.ClientResponseError, match="503"):
            async with session.get("http://reviews:9080/", raise_for_status=True):
                pass
        async with session.head("http://reviews:9080/") as reply:
            assert (reply.status, await reply.read()) == (503, b"")
        async with session.get("http://unknown:9080/") as reply:
            assert (reply.status, await reply.read()) == (404, b"")
    assert counters(runtime) == AT_REST


async def test_a_refusal_can_be_raised_in_both_families() -> None:
    """MeshError and the matching aiohttp error; the cause is chained."""
    async with upstream() as server:
        runtime = runtime_for(closed_port(), timeout=30.0)
        async with governed_session(runtime, raise_on_refusal=True) as session:
            with pytest.raises(aiohttp.ClientConnectionError, match="UF") as refused:
                await session.get("http://reviews:9080/")
            assert isinstance(refused.value, RefusedError)
            assert isinstance(refused.value.__cause__, aiohttp.ClientConnectorError)
            assert (refused.value.status, refused.value.status_hint, refused.value.flags) == (503, 503, ("UF",))
            with pytest.raises(aiohttp.ClientResponseError) as missing:
                await session.get("http://unknown:9080/")
            assert isinstance(missing.value, MeshError)
            assert missing.value.status == 404
            assert str(missing.value.request_info.url) == "http://unknown:9080/"
        runtime.publish(make_snapshot(make_cluster(server.port), timeout=0.02))

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with raw_server(hang) as port:
            runtime.publish(make_snapshot(make_cluster(port), timeout=0.02))
            async with governed_session(runtime, raise_on_refusal=True) as session:
                with pytest.raises(aiohttp.ServerTimeoutError, match="504") as late:
                    await session.get("http://reviews:9080/")
                assert isinstance(late.value, TimeoutError)
                assert isinstance(late.value, RefusedError)
    assert counters(runtime) == AT_REST


async def test_an_answer_of_the_upstream_is_never_raised() -> None:
    """raise_on_refusal is about the mesh's own replies."""
    async with upstream(503) as server:
        async with governed_session(runtime_for(server.port), raise_on_refusal=True) as session:
            async with session.get("http://reviews:9080/") as reply:
                assert reply.status == 503


@pytest.mark.parametrize(
    ("speak", "status", "flag"),
    [
        pytest.param(b"", 503, "UC", id="closed without an answer"),
        pytest.param(b"no http at all\r\n\r\n", 502, "UPE", id="not http"),
    ],
)
async def test_what_goes_wrong_on_the_wire_is_named(speak: bytes, status: int, flag: str) -> None:
    """aiohttp's exceptions become Envoy's flags; aiohttp's own hidden retry does not happen."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(speak)
        writer.close()

    async with raw_server(talk) as port:
        runtime = runtime_for(port)
        async with governed_session(runtime) as session, session.get("http://reviews:9080/") as reply:
            assert (reply.status, reply.mesh.flags) == (status, (flag,))  # type: ignore[attr-defined]
    assert connections == 1
    assert counters(runtime) == AT_REST


async def test_the_applications_own_timeout_is_its_own() -> None:
    """aiohttp's ClientTimeout raises what it always raised, and nothing is retried for it."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with raw_server(hang) as port:
        runtime = runtime_for(port, retry=RETRY)
        async with governed_session(runtime) as session:
            with pytest.raises(TimeoutError):
                await session.get("http://reviews:9080/", timeout=aiohttp.ClientTimeout(total=0.05))
            with pytest.raises(aiohttp.SocketTimeoutError):
                await session.get("http://reviews:9080/", timeout=aiohttp.ClientTimeout(sock_read=0.05))
    assert counters(runtime) == AT_REST


async def test_cancelled_while_the_upstream_hangs_nothing_is_left() -> None:
    """The connection is closed, every counter is back."""
    reached = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        assert await reader.read() is not None
        writer.close()

    async with raw_server(hang) as port:
        runtime = runtime_for(port, retry=RETRY, timeout=60.0)
        async with governed_session(runtime) as session:
            task = asyncio.create_task(session.get("http://reviews:9080/"))
            await reached.wait()
            assert counters(runtime)["endpoint active"] == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert counters(runtime) == AT_REST


async def test_response_header_operations_are_applied_to_upstream_and_local_replies() -> None:
    """The application sees what the route says; a reply without route is left alone."""
    levels = (HeaderOps(remove=("server",), set=(("x-mesh", HeaderValue(("yes",))),)),)
    async with upstream() as server:
        runtime = runtime_for(server.port, response_levels=levels)
        async with governed_session(runtime) as session:
            async with session.get("http://reviews:9080/") as reply:
                assert reply.headers["x-mesh"] == "yes"
                assert "server" not in reply.headers
            runtime.publish(make_snapshot(make_cluster(), response_levels=levels))
            async with session.get("http://reviews:9080/") as reply:
                assert (reply.status, reply.headers["x-mesh"]) == (503, "yes")
            async with session.get("http://unknown:9080/") as reply:
                assert "x-mesh" not in reply.headers


async def test_a_direct_response_and_a_rewritten_authority() -> None:
    """A configured answer is no refusal, so it is not raised."""
    snapshot = make_snapshot(make_cluster())
    route = Route(match=RouteMatch(), action=DirectResponse(status=418, body=b"teapot"))
    snapshot.tables[9080].exact["reviews"] = VirtualHost(name="reviews", domains=("reviews",), routes=(route,))
    async with governed_session(make_runtime(snapshot), raise_on_refusal=True) as session:
        async with session.get("http://reviews:9080/") as reply:
            assert (reply.status, await reply.text()) == (418, "teapot")


async def test_a_server_without_tls_gets_nothing_in_plaintext() -> None:
    """Fails closed: nothing reaches the server."""
    async with upstream() as server:
        policy = TrafficPolicy(tls=UpstreamTls(mode="MUTUAL"))
        async with governed_session(runtime_for(server.port, policy=policy)) as session:
            async with session.get("http://reviews:9080/") as reply:
                assert reply.status == 503
                assert "transport failure reason: TLS_error" in await reply.text()
        assert server.seen == []


async def test_a_request_cannot_leave_around_the_mesh() -> None:
    """A request object sent without the chain is stopped before a byte is written."""
    async with upstream() as server:
        async with governed_session(runtime_for(server.port)) as session:
            with pytest.raises(MeshError, match="without passing the mesh"):
                url = f"http://127.0.0.1:{server.port}/"
                await aiohttp.ClientSession._request(session, "GET", url, middlewares=())
        assert server.seen == []


@pytest.mark.parametrize("own", [False, True], ids=["by the key", "by the URL"])
async def test_both_ways_to_name_an_endpoint_look_the_same(own: bool) -> None:
    """A connector of the user's knows only URLs; the mesh's own takes the endpoint from the connection key."""
    async with upstream(200, 503, 200, name="one") as one, upstream(200, name="two") as two:
        retry = RetryPolicy(attempts=3, conditions=frozenset({"5xx"}))
        runtime = runtime_for(one.port, two.port, retry=retry)
        connector = aiohttp.TCPConnector() if own else None
        async with governed_session(runtime, connector=connector) as session:
            for _ in range(6):
                async with session.get("http://reviews:9080/a?b=c", headers={"x-mine": "1"}) as reply:
                    assert (reply.status, str(reply.url)) == (200, "http://reviews:9080/a?b=c")
                    assert str(reply.request_info.url) == str(reply.request_info.real_url) == str(reply.url)
                    assert await reply.text()
        assert one.seen
        assert two.seen
        assert {host for _, _, host, _ in [*one.seen, *two.seen]} == {"reviews:9080"}
        assert counters(runtime) == AT_REST


async def test_a_dead_endpoint_is_named_by_the_error_of_its_connection() -> None:
    """The URL that was called stays that of the request; who wants to know where it went finds the endpoint."""
    port = closed_port()
    async with governed_session(runtime_for(port), raise_on_refusal=True) as session:
        with pytest.raises(aiohttp.ClientConnectionError) as caught:
            await session.get("http://reviews:9080/")
    assert f"127.0.0.1:{port}" in str(caught.value.__cause__)


async def test_a_session_is_of_aiohttps_own_class_and_leaves_nothing_to_the_collector() -> None:
    """Its methods are replaced in the instance; closing it restores them, and no cycle is left."""
    async with upstream() as server:
        session = governed_session(runtime_for(server.port))
        assert type(session) is aiohttp.ClientSession
        gone, connector_gone = weakref.ref(session), weakref.ref(session.connector)
        async with session.get("http://reviews:9080/") as reply:
            await reply.read()
        await session.close()
        gc.collect()
        gc.disable()
        try:
            del session, reply
            assert gone() is None
            assert connector_gone() is None
        finally:
            gc.enable()
