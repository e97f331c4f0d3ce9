"""Ten endpoints, five of them bad in five ways, called by 16 tasks and 16 threads over real sockets."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import aiohttp
import pytest

from meshlib._clock import SystemClock
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import ConnectionPool, OutlierDetection, RoundRobin, TrafficPolicy
from meshlib._snapshot.routes import RetryPolicy
from meshlib.adapters.aiohttp import governed_session
from meshlib.events import AttemptFinished, EndpointEjected, Event, ExchangeFinished, RetryScheduled
from tests.mesh_builders import AT_REST, counters, make_cluster, make_runtime, make_snapshot
from tests.patience import PACES
from tests.ports import closed_port

Manner = Literal["well", "slow", "broken", "cut", "hang"]

THRESHOLD = 5
CALLERS = 32
EACH = 90
POLICY = TrafficPolicy(
    balancer=RoundRobin(),
    connection_pool=ConnectionPool(max_pending_requests=10_000),
    outlier=OutlierDetection(consecutive_5xx=THRESHOLD, max_ejection_percent=50, base_ejection_time=300.0),
)


class Server(asyncio.Protocol):
    """One connection of an endpoint that behaves in its manner; ``calls`` is the endpoint's."""

    def __init__(self, manner: Manner, calls: Counter[str]) -> None:
        self._manner = manner
        self._calls = calls
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n")
        self._calls[self._manner] += 1
        loop = asyncio.get_running_loop()
        match self._manner:
            case "well":
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            case "slow":
                loop.call_later(0.02, self._transport.write, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            case "broken":
                self._transport.write(b"HTTP/1.1 503 X\r\ncontent-length: 4\r\n\r\ndown")
            case "cut":
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
                loop.call_later(0.001, self._transport.close)
            case "hang":
                pass


class World:
    """The endpoints by manner, what happened at them, and the events of the mesh."""

    def __init__(self, ports: dict[str, list[int]], calls: Counter[str], pace: float) -> None:
        self.calls = calls
        self.manner = {port: manner for manner, listed in ports.items() for port in listed}
        retry = RetryPolicy(attempts=6, conditions=frozenset({"5xx"}), per_try_timeout=pace, backoff=0.001)
        self.runtime: Runtime = make_runtime(
            make_snapshot(make_cluster(*self.manner, policy=POLICY), retry=retry), clock=SystemClock()
        )
        self.events: list[Event] = []
        self.runtime.observe(self.events.append)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if type(event) is kind]

    def failed(self) -> Counter[str]:
        """The attempts that failed, by the manner of their endpoint."""
        return Counter(
            self.manner_of(event.endpoint)
            for event in self.of(AttemptFinished)
            if isinstance(event, AttemptFinished) and event.status != 200
        )

    def keeps_up(self) -> bool:
        """Whether the machine was quick enough that nothing but what hangs ran out of time."""
        failed = self.failed()
        return failed.keys() <= {"refused", "broken", "hang"} and failed["hang"] == self.calls["hang"]

    def manner_of(self, endpoint: str) -> str:
        return self.manner[int(endpoint.rpartition(":")[2])]


@asynccontextmanager
async def world(pace: float) -> AsyncIterator[World]:
    """``pace`` is the time of an attempt, which only what hangs may use up."""
    loop = asyncio.get_running_loop()
    calls: Counter[str] = Counter()
    ports: dict[str, list[int]] = {"refused": [closed_port()]}
    servers = []
    manners: list[Manner] = ["well", "well", "well", "well", "well", "slow", "broken", "cut", "hang"]
    for manner in manners:
        server = await loop.create_server(lambda manner=manner: Server(manner, calls), "127.0.0.1", 0)  # type: ignore[misc]
        servers.append(server)
        ports.setdefault(manner, []).append(server.sockets[0].getsockname()[1])
    try:
        yield World(ports, calls, pace)
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


async def calls(session: aiohttp.ClientSession, times: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(times):
        async with session.get("http://reviews:9080/") as reply:
            try:
                text = await reply.text()
            except aiohttp.ClientPayloadError:
                text = "broken off"
            found[f"{reply.status} {text}"] += 1
    return found


async def one_thread(runtime: Runtime) -> Counter[str]:
    async with governed_session(runtime) as session:
        found = await calls(session, EACH)
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    return found


async def storm(runtime: Runtime) -> Counter[str]:
    """16 tasks of this loop and 16 threads with loops of their own, EACH calls each."""
    threads = [asyncio.to_thread(asyncio.run, one_thread(runtime)) for _ in range(CALLERS // 2)]
    async with governed_session(runtime) as session:
        found = await asyncio.gather(*threads, *(calls(session, EACH) for _ in range(CALLERS // 2)))
    return sum(found, Counter())


def sockets() -> int:
    gc.collect()
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - it changes meanwhile
    return sum(1 for link in links if link.is_symlink() and str(link.readlink()).startswith("socket:"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open sockets are counted in /proc")
async def test_chaos() -> None:
    """Answers, attempts and ejections add up, and nothing is left behind."""
    before, tasks = sockets(), asyncio.all_tasks()
    for pace in PACES[1:]:
        async with world(pace) as here:
            answers = await storm(here.runtime)
            if here.keeps_up() or pace == PACES[-1]:
                await adds_up(here, answers)
                break
    await asyncio.get_running_loop().shutdown_default_executor()
    assert sockets() == before
    assert asyncio.all_tasks() == tasks


async def adds_up(here: World, answers: Counter[str]) -> None:
    total = CALLERS * EACH
    state = next(iter(here.runtime.clusters().values())).state
    # Nobody sees a refusal: six retries find a good endpoint. Only what breaks off in its body cannot be retried.
    assert answers == {"200 ok": total - here.calls["cut"], "200 broken off": here.calls["cut"]}
    assert len(here.of(ExchangeFinished)) == total
    attempts, retries, failed = here.of(AttemptFinished), here.of(RetryScheduled), here.failed()
    assert len(attempts) == total + len(retries)
    assert failed.keys() == {"refused", "broken", "hang"}
    assert failed.total() == len(retries)
    assert (failed["broken"], failed["hang"]) == (here.calls["broken"], here.calls["hang"])
    # Ejected at the threshold; those already on their way then fail too, but no more than there are callers.
    assert all(THRESHOLD <= count <= THRESHOLD + CALLERS for count in failed.values())
    ejected = Counter(
        here.manner_of(event.endpoint) for event in here.of(EndpointEjected) if isinstance(event, EndpointEjected)
    )
    assert dict.fromkeys(failed, 1) == {name: n for name, n in ejected.items() if name != "cut"}
    assert ejected["cut"] <= 1
    assert counters(here.runtime) == AT_REST
    assert (state.pending, state.connections) == (0, 0)

    seen = len(attempts)
    more = await storm(here.runtime)
    assert len(here.of(AttemptFinished)) == seen + more.total()
    assert counters(here.runtime) == AT_REST
