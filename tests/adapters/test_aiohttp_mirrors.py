"""Mirrored copies: they reach the mirror, and never the application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from aiohttp import web

from meshlib._clock import SystemClock
from meshlib._runtime import Runtime
from meshlib._snapshot.routes import Mirror
from meshlib._snapshot.snapshot import Snapshot
from meshlib.adapters.aiohttp import governed_session
from tests.adapters.servers import raw_server, upstream
from tests.mesh_builders import AT_REST, counters, make_cluster, make_runtime, make_snapshot
from tests.patience import PATIENCE
from tests.ports import closed_port


def mirrored(port: int, mirror_port: int, ratio: float = 1.0) -> Runtime:
    cluster, shadow = make_cluster(port), make_cluster(mirror_port, name="outbound|9080||shadow")
    mirror = Mirror(cluster=shadow.name, host="shadow", port=9080, ratio=ratio)
    snapshot = make_snapshot(cluster, mirrors=(mirror,))
    every = {**snapshot.clusters, shadow.name: shadow}
    return make_runtime(Snapshot(tables=snapshot.tables, clusters=every), clock=SystemClock())


async def test_a_copy_carries_method_path_host_headers_and_body() -> None:
    """As the main request, without a suffix on the host."""
    arrived = asyncio.Event()
    seen: list[tuple[str, str, str, str, bytes]] = []

    async def record(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, request.host, request.headers["x-a"], await request.read()))
        arrived.set()
        return web.Response(status=500)

    async with upstream() as main, upstream(items=record) as shadow:
        runtime = mirrored(main.port, shadow.port)
        async with governed_session(runtime) as session:
            async with session.put("http://reviews:9080/items?a=1", data=b"hello", headers={"x-a": "b"}) as reply:
                assert reply.status == 200
            await asyncio.wait_for(arrived.wait(), PATIENCE)
    assert seen == [("PUT", "/items?a=1", "reviews:9080", "b", b"hello")]
    assert counters(runtime) == AT_REST


async def test_a_mirror_that_hangs_or_is_down_changes_nothing() -> None:
    """The call neither waits nor fails; closing the session ends the copy."""
    release = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with upstream() as main, upstream(x=hang) as shadow:
        for port in (shadow.port, closed_port()):
            async with governed_session(mirrored(main.port, port)) as session:
                async with session.get("http://reviews:9080/x") as reply:
                    assert reply.status == 200
        release.set()


async def test_a_mirror_that_hangs_up_gets_no_second_copy() -> None:
    """Where aiohttp would ask once more on a new connection."""
    methods: asyncio.Queue[str] = asyncio.Queue()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while b"GET /away" not in (head := await reader.readuntil(b"\r\n\r\n")):
                methods.put_nowait(head.split()[1].decode())
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            methods.put_nowait("/away")
        writer.close()

    async with upstream() as main, raw_server(hang_up) as port, governed_session(mirrored(main.port, port)) as session:
        for path in ("/", "/away", "/end"):
            async with session.get(f"http://reviews:9080{path}") as reply:
                assert reply.status == 200
            assert await asyncio.wait_for(methods.get(), PATIENCE) == path


async def test_a_streamed_body_is_not_mirrored() -> None:
    """It can be read once; the main request has it."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"abc"

    methods: asyncio.Queue[str] = asyncio.Queue()

    async def record(request: web.Request) -> web.Response:
        methods.put_nowait(request.method)
        return web.Response()

    async with upstream() as main, upstream(x=record) as shadow:
        async with governed_session(mirrored(main.port, shadow.port)) as session:
            async with session.post("http://reviews:9080/x", data=chunks()) as reply:
                assert (await reply.json())["body"] == "abc"
            async with session.get("http://reviews:9080/x") as reply:
                assert reply.status == 200
            assert await asyncio.wait_for(methods.get(), PATIENCE) == "GET"


@pytest.mark.parametrize("ratio", [0.0, 0.5])
async def test_the_share_is_drawn_for_each_request(ratio: float) -> None:
    """Half of 40 is about 20, a ratio of zero is none."""
    async with upstream() as main, upstream() as shadow:
        runtime = mirrored(main.port, shadow.port, ratio)
        async with governed_session(runtime) as session:
            for _ in range(40):
                async with session.get("http://reviews:9080/"):
                    pass
        assert len(main.seen) == 40
        assert len(shadow.seen) <= 40 * ratio * 1.7
