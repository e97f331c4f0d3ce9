"""The total timeout of a governed aiohttp session: kept by the mesh, and seen as aiohttp's own.

Every case is played with a session of aiohttp itself as well, on virtual time, over real sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from meshlib._runtime import Runtime
from meshlib._snapshot.routes import Delay, Fault, RetryPolicy
from meshlib.adapters.aiohttp import governed_session
from meshlib.testing import VirtualClock, run_virtual
from tests.adapters.prepared_calls import prepare_calls
from tests.adapters.servers import Resolver, raw_server
from tests.mesh_builders import AT_REST, counters, make_cluster, make_runtime, make_snapshot

TOTAL = aiohttp.ClientTimeout(total=2.0)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Does what the paths say: ``/slow/3`` answers after 3 s, ``/stall/3`` does in the middle of the body, …"""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            _, what, number = head.split()[1].split("/")
            seconds = float(number)
            if what == "slow":
                await asyncio.sleep(seconds)
                writer.write(OK)
            elif what == "stall":
                writer.write(OK[:-2])
                await asyncio.sleep(seconds)
                writer.write(OK[-2:])
            elif what == "around":  # and again, one second later each
                await asyncio.sleep(1.0)
                there = f"/around/{seconds - 1}" if seconds > 1 else "/slow/0"
                writer.write(f"HTTP/1.1 302 Found\r\nlocation: {there}\r\ncontent-length: 0\r\n\r\n".encode())
            else:
                await asyncio.sleep(seconds)
                writer.write(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def get(session: aiohttp.ClientSession, path: str, **arguments: Any) -> str:
    async with session.get(f"http://reviews:9080{path}", **arguments) as reply:
        return f"{reply.status} {(await reply.read()).decode()}"


def play(
    make: Callable[[Runtime, int], aiohttp.ClientSession],
    body: Callable[[aiohttp.ClientSession], Awaitable[Any]],
    **action: Any,
) -> tuple[Any, float]:
    """What came of it, and after which time; nothing is left on its way."""
    clock = VirtualClock()

    async def main() -> tuple[Any, float]:
        async with raw_server(serve) as port:
            runtime = make_runtime(make_snapshot(make_cluster(port), **action), clock=clock)
            async with make(runtime, port) as session:
                began = clock.monotonic()
                try:
                    result: Any = await body(session)
                except (TimeoutError, asyncio.CancelledError, aiohttp.ClientError) as error:
                    result = type(error)
                seconds = round(clock.monotonic() - began, 1)
            assert counters(runtime) == AT_REST
        return result, seconds

    return run_virtual(main(), clock)


def bare(**arguments: Any) -> Callable[[Runtime, int], aiohttp.ClientSession]:
    def make(_: Runtime, port: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Resolver(port)), **arguments)

    return make


def governed(**arguments: Any) -> Callable[[Runtime, int], aiohttp.ClientSession]:
    return lambda runtime, _: governed_session(runtime, **arguments)


def read_later(path: str) -> Callable[[aiohttp.ClientSession], Awaitable[str]]:
    """The head in time, the body is not asked for until it is too late."""

    async def body(session: aiohttp.ClientSession) -> str:
        async with session.get(f"http://reviews:9080{path}") as reply:
            await asyncio.sleep(3.0)
            return (await reply.read()).decode()

    return body


async def cut_from_outside(session: aiohttp.ClientSession) -> str:
    async with asyncio.timeout(1.0):
        return await get(session, "/slow/9")


async def one_after_the_other(session: aiohttp.ClientSession) -> list[str]:
    """Each has all the time."""
    return [await get(session, "/slow/1.5") for _ in range(3)]


async def side_by_side(session: aiohttp.ClientSession) -> list[Any]:
    found = await asyncio.gather(*(get(session, path) for path in ("/slow/1", "/slow/3")), return_exceptions=True)
    return [one if isinstance(one, str) else type(one) for one in found]


CASES: dict[str, Callable[[aiohttp.ClientSession], Awaitable[Any]]] = {
    "in time": lambda session: get(session, "/slow/1.9"),
    "too late": lambda session: get(session, "/slow/2.1"),
    "body in time": lambda session: get(session, "/stall/1.9"),
    "body too late": lambda session: get(session, "/stall/2.1"),
    "body complete before it is read": read_later("/stall/1.5"),
    "body too late before it is read": read_later("/stall/2.5"),
    "redirects in time": lambda session: get(session, "/around/1"),
    "redirects too late": lambda session: get(session, "/around/3"),
    "cancelled before": cut_from_outside,
    "one after the other": one_after_the_other,
    "side by side": side_by_side,
    "a request's own, longer": lambda session: get(session, "/slow/3", timeout=aiohttp.ClientTimeout(total=4.0)),
    "a request's own, shorter": lambda session: get(session, "/slow/1", timeout=aiohttp.ClientTimeout(total=0.5)),
    "a request without": lambda session: get(session, "/slow/5", timeout=aiohttp.ClientTimeout()),
}


def prepared(**arguments: Any) -> Callable[[Runtime, int], aiohttp.ClientSession]:
    return lambda runtime, _: prepare_calls(governed_session(runtime, **arguments))


@pytest.mark.parametrize("name", CASES)
def test_as_aiohttps_own(name: str) -> None:
    """The same result after the same time."""
    expected = play(bare(timeout=TOTAL), CASES[name])
    for make in (governed, prepared):
        assert play(make(timeout=TOTAL), CASES[name]) == expected
        assert play(make(timeout=TOTAL), CASES[name], timeout=60.0) == expected  # of the route: longer


def test_the_default_is_aiohttps() -> None:
    """Five minutes."""
    expected = play(bare(), lambda session: get(session, "/slow/301"))
    assert expected == (TimeoutError, 300.0)
    assert play(governed(), lambda session: get(session, "/slow/301")) == expected


def test_a_shorter_timeout_of_the_route_comes_first() -> None:
    """It is the mesh's answer then."""
    late = "504 upstream request timeout"
    assert play(governed(timeout=TOTAL), lambda session: get(session, "/slow/3"), timeout=1.0) == (late, 1.0)


@pytest.mark.parametrize("per_try", [None, 0.9, 5.0])
def test_attempts_share_it(per_try: float | None) -> None:
    """Retries and their back-offs end with it."""
    retry = RetryPolicy(attempts=9, conditions=frozenset({"5xx"}), per_try_timeout=per_try, backoff=0.001)
    assert play(governed(timeout=TOTAL), lambda session: get(session, "/bad/0.8"), retry=retry) == (TimeoutError, 2.0)


def test_a_delay_is_within_it() -> None:
    fault = Fault(delay=Delay(seconds=3.0, ratio=1.0))
    assert play(governed(timeout=TOTAL), lambda session: get(session, "/slow/0"), fault=fault) == (TimeoutError, 2.0)


async def slow_middleware(request: Any, handler: Any) -> Any:
    await asyncio.sleep(3.0)
    return await handler(request)


async def slow_check(_: Any) -> None:
    await asyncio.sleep(3.0)


def slow_traces() -> list[aiohttp.TraceConfig]:
    config = aiohttp.TraceConfig()

    async def wait(*_: Any) -> None:
        await asyncio.sleep(3.0)

    config.on_request_start.append(wait)
    return [config]


@pytest.mark.parametrize(
    "arguments",
    [{"middlewares": [slow_middleware]}, {"trace_configs": slow_traces()}, {"raise_for_status": slow_check}],
    ids=["middleware", "trace", "check"],
)
def test_what_else_waits_is_within_it(arguments: dict[str, Any]) -> None:
    """The application's own code around the exchange."""
    expected = play(bare(timeout=TOTAL, **arguments), lambda session: get(session, "/slow/0"))
    assert play(governed(timeout=TOTAL, **arguments), lambda session: get(session, "/slow/0")) == expected
