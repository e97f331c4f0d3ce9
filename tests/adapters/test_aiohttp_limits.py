"""Limits and timeouts of a DestinationRule through a governed session: real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from meshlib import Mesh
from meshlib._clock import SystemClock
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import ConnectionPool, OutlierDetection, TrafficPolicy
from meshlib._snapshot.routes import RetryPolicy
from meshlib.adapters.aiohttp import governed_session
from meshlib.testing import VirtualClock, VirtualLoop, run_virtual
from tests.adapters.servers import raw_server, upstream
from tests.conformance.outages import scripted_server
from tests.mesh_builders import AT_REST, counters, make_cluster, make_runtime, make_snapshot
from tests.patience import until

URL = "http://reviews:9080/"


def runtime_for(*ports: int, detection: OutlierDetection | None = None, route: dict[str, object] | None = None,
                **pool: object) -> Runtime:  # fmt: skip
    policy = TrafficPolicy(connection_pool=ConnectionPool(**pool), outlier=detection)  # type: ignore[arg-type]
    return make_runtime(make_snapshot(make_cluster(*ports, policy=policy), **(route or {})), clock=SystemClock())


class Gate:
    """A server whose answers wait until it is opened; tells how many are inside at once, and who connected."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside = self.most = 0
        self.peers: list[object] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.inside += 1
        self.most = max(self.most, self.inside)
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername"))
        await self.open.wait()
        self.inside -= 1
        return web.Response(text="ok")


@asynccontextmanager
async def gate() -> AsyncIterator[tuple[Gate, int]]:
    made = Gate()
    async with upstream(x=made.handle) as server:
        yield made, server.port
        made.open.set()


async def get(session: aiohttp.ClientSession, path: str = "x") -> tuple[int, str]:
    async with session.get(URL + path) as reply:
        return reply.status, reply.headers.get("x-envoy-overloaded", "")


async def test_requests_beyond_the_connections_wait_and_then_overflow() -> None:
    """Two connections, three pending: of eight, two go, three wait, three are refused at once."""
    async with gate() as (server, port):
        runtime = runtime_for(port, max_connections=2, max_pending_requests=3)
        state = next(iter(runtime.clusters().values())).state
        async with governed_session(runtime) as session:
            await asyncio.gather(*(get(session, "warm") for _ in range(2)))
            tasks = [asyncio.ensure_future(get(session)) for _ in range(8)]
            await until(lambda: sum(task.done() for task in tasks) == 3)
            assert (state.active, state.connections, state.pending) == (2, 2, 3)
            await until(lambda: server.inside == 2)
            server.open.set()
            answers = Counter(await asyncio.gather(*tasks))
        assert answers == {(200, ""): 5, (503, "true"): 3}
        assert server.most == 2
        assert counters(runtime) == AT_REST
        assert (state.connections, state.pending) == (0, 0)


async def test_a_burst_without_connections_is_pending_while_it_connects() -> None:
    """http1MaxPendingRequests counts requests whose connection is still being made, as Envoy does."""
    async with gate() as (server, port):
        server.open.set()
        runtime = runtime_for(port, max_pending_requests=2)
        async with governed_session(runtime) as session:
            answers = Counter(await asyncio.gather(*(get(session) for _ in range(6))))
            assert answers == {(200, ""): 2, (503, "true"): 4}
            # The two connections are there now: nothing is pending, and nothing overflows.
            assert await asyncio.gather(get(session), get(session)) == [(200, "")] * 2
        assert next(iter(runtime.clusters().values())).state.pending == 0


async def test_each_endpoint_may_have_one_connection() -> None:
    """maxConnections 1 with two endpoints: one request on each, the third waits."""
    async with gate() as (first, one), gate() as (second, two):
        runtime = runtime_for(one, two, max_connections=1)
        async with governed_session(runtime) as session:
            tasks = [asyncio.ensure_future(get(session)) for _ in range(12)]
            await until(lambda: first.inside + second.inside == 2)
            await asyncio.sleep(0.03)
            assert (first.most, second.most) == (1, 1)
            first.open.set()
            second.open.set()
            assert Counter(await asyncio.gather(*tasks)) == {(200, ""): 12}
        assert (first.most, second.most) == (1, 1)


@pytest.mark.parametrize("seed", range(6))
async def test_no_counter_leaks_when_those_who_wait_are_cancelled(seed: int) -> None:
    """Cancelled in the queue, at their turn or on their way: the others still get their connection."""
    async with gate() as (server, port):
        runtime = runtime_for(port, max_connections=2, max_pending_requests=50)
        state = next(iter(runtime.clusters().values())).state
        async with governed_session(runtime) as session:
            tasks = [asyncio.ensure_future(get(session)) for _ in range(20)]
            await until(lambda: server.inside == 2)
            for number, task in enumerate(tasks):
                if (number + seed) % 3 == 0:
                    task.cancel()
                    if number % 2:
                        server.open.set()
                    await asyncio.sleep(0)
            server.open.set()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = Counter(answer if isinstance(answer, tuple) else type(answer) for answer in answers)
        assert set(kinds) <= {(200, ""), asyncio.CancelledError}
        assert kinds[200, ""] >= 12
        await until(lambda: (state.active, state.connections, state.pending) == (0, 0, 0))
        assert counters(runtime) == AT_REST


async def test_the_routes_timeout_ends_a_wait_in_the_queue() -> None:
    """504 UT, and the place in the queue is free again."""
    async with gate() as (_server, port):
        runtime = runtime_for(port, max_connections=1, route={"timeout": 0.15})
        async with governed_session(runtime) as session:
            tasks = [asyncio.ensure_future(get(session)) for _ in range(3)]
            assert Counter(await asyncio.gather(*tasks)) == {(504, ""): 3}
        state = next(iter(runtime.clusters().values())).state
        assert (state.active, state.connections, state.pending) == (0, 0, 0)


async def test_waiting_threads_get_connections_that_others_leave() -> None:
    """One cluster, sessions of two threads: who waits in one is told by the other."""
    async with gate() as (server, port):
        runtime = runtime_for(port, max_connections=1)

        async def one() -> tuple[int, str]:
            async with governed_session(runtime) as session:
                return await get(session)

        threads = [asyncio.to_thread(asyncio.run, one()) for _ in range(4)]
        tasks = [asyncio.ensure_future(thread) for thread in threads]
        await until(lambda: next(iter(runtime.clusters().values())).state.pending == 3)
        server.open.set()
        assert Counter(await asyncio.gather(*tasks)) == {(200, ""): 4}
        assert server.most == 1


# -- connections ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "connections"), [(0, 1), (1, 6), (3, 2)])
async def test_requests_per_connection(most: int, connections: int) -> None:
    """Six requests one after the other."""
    async with gate() as (server, port):
        server.open.set()
        runtime = runtime_for(port, max_requests_per_connection=most, ends_connections=bool(most))
        async with governed_session(runtime) as session:
            for _ in range(6):
                assert await get(session) == (200, "")
        assert len(set(server.peers)) == connections


@pytest.mark.parametrize("limit", ["idle_timeout", "max_connection_duration"])
def test_a_connection_ends_when_its_time_is_over(limit: str) -> None:
    """Idle too long, or too old: the next request gets a new one."""

    async def main() -> None:
        async with gate() as (server, port):
            server.open.set()
            runtime = runtime_for(port, ends_connections=True, **{limit: 5.0})
            async with governed_session(runtime) as session:
                await get(session)
                await get(session)
                await asyncio.sleep(12)
                await get(session)
            assert len(set(server.peers)) == 2

    run_virtual(main())


def test_a_connection_that_is_too_old_is_not_cut_during_a_response() -> None:
    """It is closed after it."""

    async def main() -> None:
        async with gate() as (server, port):
            runtime = runtime_for(port, ends_connections=True, max_connection_duration=5.0)
            async with governed_session(runtime) as session:
                task = asyncio.ensure_future(get(session))
                await asyncio.sleep(10)
                server.open.set()
                assert await task == (200, "")
                await get(session)
            assert len(set(server.peers)) == 2

    run_virtual(main())


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system has other names for keep-alive")
async def test_keep_alive_is_set_on_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """tcpKeepalive: probes, time, interval."""
    async with upstream() as server:
        runtime = runtime_for(server.port, tcp_keepalive=(4, 30.0, 5.0))
        async with governed_session(runtime) as session, session.get(URL) as reply:
            assert reply.connection is None or reply.connection.transport is not None
            (made,) = [proto for pool in session.connector._conns.values() for proto, _ in pool]  # type: ignore[union-attr]
            sock = made.transport.get_extra_info("socket")
            options = (socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
            assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [4, 30, 5]


async def test_a_connect_timeout_is_a_connection_failure_of_the_attempt() -> None:
    """A listener whose backlog is full never answers: UF, retried as connect-failure."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        clients = [socket.socket() for _ in range(8)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        retry = RetryPolicy(attempts=1, conditions=frozenset({"connect-failure"}), backoff=0.001)
        runtime = runtime_for(port, connect_timeout=0.1, route={"retry": retry})
        async with governed_session(runtime) as session, session.get(URL) as reply:
            assert reply.status == 503
            assert await reply.text() == (
                "upstream connect error or disconnect/reset before headers. "
                "retried and the latest reset reason: connection timeout"
            )
            exchange = reply.mesh  # type: ignore[attr-defined]
            assert (exchange.attempts, exchange.flags) == (2, ("URX", "UF"))
        for client in clients:
            client.close()


# -- bodies --------------------------------------------------------------------------------------------


async def halves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause: float) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhello")
    await writer.drain()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reader.read(), pause)  # until the client goes away
    writer.write(b"world")
    writer.close()


def test_the_routes_timeout_covers_the_body() -> None:
    """Envoy 1.39: headers and the first half arrive, then the stream is reset (flag UT)."""

    async def main() -> None:
        async with raw_server(lambda r, w: halves(r, w, 20)) as port:
            runtime = runtime_for(port, route={"timeout": 5.0})
            async with governed_session(runtime) as session, session.get(URL) as reply:
                assert reply.status == 200
                assert await reply.content.readexactly(5) == b"hello"
                with pytest.raises(aiohttp.ClientPayloadError, match="timeout of the route"):
                    await reply.read()
                assert reply.mesh.flags == ("UT",)  # type: ignore[attr-defined]
            assert counters(runtime) == AT_REST

    run_virtual(main())


def test_a_per_try_timeout_does_not_cover_the_body() -> None:
    """Envoy 1.39: once the response has started it is ignored."""

    async def main() -> None:
        async with raw_server(lambda r, w: halves(r, w, 20)) as port:
            retry = RetryPolicy(attempts=1, conditions=frozenset({"5xx"}), per_try_timeout=5.0)
            runtime = runtime_for(port, route={"retry": retry})
            async with governed_session(runtime) as session, session.get(URL) as reply:
                assert await reply.text() == "helloworld"

    run_virtual(main())


async def test_a_reset_in_the_body_counts_for_outlier_detection() -> None:
    """After headers nothing is retried, but the endpoint is judged."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async with raw_server(cut) as port:
        detection = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
        runtime = runtime_for(port, detection=detection)
        async with governed_session(runtime) as session:
            async with session.get(URL) as reply:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await reply.read()
            assert (await get(session))[0] == 503
        assert next(iter(runtime.clusters().values())).endpoints[0].is_ejected


@pytest.mark.parametrize(("size", "calls"), [(2**20, 2), (2**20 + 1, 1)])
async def test_a_body_beyond_one_mebibyte_is_not_replayed(size: int, calls: int) -> None:
    """Envoy 1.39: 1,048,576 bytes are sent again, 1,500,000 are not, whatever failed."""
    async with scripted_server([503, 200]) as server:
        retry = RetryPolicy(attempts=2, conditions=frozenset({"5xx"}), backoff=0.001)
        async with governed_session(runtime_for(server.port, route={"retry": retry})) as session:
            async with session.post(URL, data=io.BytesIO(b"x" * size)) as reply:
                assert reply.status == (200 if calls == 2 else 503)
        assert server.calls == calls


def test_the_fields_of_a_rule_reach_the_session() -> None:
    """From YAML: one connection, one pending."""
    config = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: PORT}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews.example
  trafficPolicy:
    connectionPool:
      tcp: {maxConnections: 1, connectTimeout: 2s, tcpKeepalive: {time: 30s}}
      http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 2, idleTimeout: 5s}
"""
    clock = VirtualClock()

    async def main() -> Counter[int]:
        async with gate() as (server, port):
            mesh = Mesh.load(config.replace("PORT", str(port)), clock=clock)
            async with mesh.aiohttp() as session:
                async with session.get("http://reviews.example/warm") as reply:
                    assert reply.status == 200

                async def one() -> int:
                    async with session.get("http://reviews.example/x") as reply:
                        return reply.status

                tasks = [asyncio.ensure_future(one()) for _ in range(4)]
                await until(lambda: sum(task.done() for task in tasks) == 2)
                server.open.set()
                return Counter(await asyncio.gather(*tasks))

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        assert runner.run(main()) == {200: 2, 503: 2}
