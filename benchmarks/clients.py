"""What governing costs the clients of httpx and requests, over loopback, in processor time of the calling process.

The service is eight endpoints in another process. The governed client calls it by name, under the rules of
``governed_call``; the bare one goes round the same endpoints by their addresses, so that both have the same
connections, and it has the timeout of the route, as httpx has one by itself. One call after the other for the
synchronous clients, 32 in flight for the asynchronous one: there httpx looks at all connections of its pool for each
request, and a pool for each endpoint is what the mesh makes of them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import requests
from prometheus_client import CollectorRegistry

from benchmarks.governed_call import CONFIG, GOVERNED_URL
from benchmarks.harness import (
    AsyncBody,
    Comparison,
    Median,
    SyncBody,
    arguments,
    compare,
    compare_async,
    emit,
    emit_figure,
)
from benchmarks.loopback_server import loopback_server
from meshlib import Mesh

__all__ = ["main"]

ENDPOINTS = 8
IN_FLIGHT = 32
BARE, AGAIN, GOVERNED = "httpx", "httpx again", "httpx, meshlib"
REQUESTS, GOVERNED_REQUESTS = "requests", "requests, meshlib"


def config(ports: Sequence[int]) -> str:
    """The rules of ``governed_call`` with the endpoints of this run."""
    head, _, rest = CONFIG.partition("  endpoints:\n")
    versions = itertools.cycle(("v1", "v1", "v2"))
    endpoints = "".join(
        f"  - {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{version: {next(versions)}}}}}\n"
        for port in ports
    )
    return f"{head}  endpoints:\n{endpoints}---{rest.partition('---')[2]}"


def round_trips(get: Callable[[str], object], urls: Sequence[str]) -> SyncBody:
    """A benchmark body: GET the URLs in turn."""
    turns = itertools.cycle(urls)

    def body(calls: int) -> None:
        for url in itertools.islice(turns, calls):
            get(url)

    return body


def in_flight(client: httpx.AsyncClient, urls: Sequence[str]) -> AsyncBody:
    """The same with :data:`IN_FLIGHT` at a time."""
    turns = itertools.cycle(urls)

    async def work(todo: Iterator[str]) -> None:
        for url in todo:
            await client.get(url)

    async def body(calls: int) -> None:
        todo = iter(list(itertools.islice(turns, calls)))
        await asyncio.gather(*(work(todo) for _ in range(IN_FLIGHT)))

    return body


def measure_sync(ports: Sequence[int], *, rounds: int, calls: int) -> Comparison:
    """httpx and requests, bare and governed."""
    mesh = Mesh.load(config(ports))
    metrics = mesh.metrics(CollectorRegistry())
    urls = [f"http://127.0.0.1:{port}/reviews/0" for port in ports]
    with ExitStack() as clients:
        variants = {
            BARE: round_trips(clients.enter_context(httpx.Client()).get, urls),
            AGAIN: round_trips(clients.enter_context(httpx.Client()).get, urls),
            GOVERNED: round_trips(clients.enter_context(mesh.httpx()).get, [GOVERNED_URL]),
            REQUESTS: round_trips(partial(clients.enter_context(requests.Session()).get, timeout=10), urls),
            GOVERNED_REQUESTS: round_trips(clients.enter_context(mesh.requests()).get, [GOVERNED_URL]),
        }
        comparison = compare("clients", variants, rounds=rounds, calls=calls, again=AGAIN)
    assert metrics.value("istio_requests_total") >= 2 * rounds * calls, "the governed clients did not govern"
    return comparison


async def measure_async(ports: Sequence[int], *, rounds: int, calls: int) -> Comparison:
    """httpx with 32 in flight, bare and governed."""
    mesh = Mesh.load(config(ports))
    metrics = mesh.metrics(CollectorRegistry())
    urls = [f"http://127.0.0.1:{port}/reviews/0" for port in ports]
    async with httpx.AsyncClient() as bare, httpx.AsyncClient() as again, mesh.httpx_async() as governed:
        variants: dict[str, Any] = {
            BARE: in_flight(bare, urls),
            AGAIN: in_flight(again, urls),
            GOVERNED: in_flight(governed, [GOVERNED_URL]),
        }
        comparison = await compare_async("clients, 32 in flight", variants, rounds=rounds, calls=calls, again=AGAIN)
    assert metrics.value("istio_requests_total") >= rounds * calls, "the governed client did not govern"
    return comparison


def times(comparison: Comparison, one: str, other: str) -> Median:
    """How many times as much processor time ``one`` takes as ``other``, round by round."""
    pairs = zip(comparison.timings[one].cpu, comparison.timings[other].cpu, strict=True)
    return Median.of([mine / its for mine, its in pairs])


def added(comparison: Comparison, governed: str, bare: str) -> Median:
    """What the governed client takes more than the bare one, in per cent of that."""
    found = times(comparison, governed, bare)
    return Median(*(100 * (value - 1) for value in (found.value, found.low, found.high)))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=60, calls=320, argv=argv)
    with loopback_server(ENDPOINTS) as ports:
        one_by_one = measure_sync(ports, rounds=options.rounds, calls=options.calls)
        at_once = asyncio.run(measure_async(ports, rounds=options.rounds, calls=options.calls))
    emit(one_by_one)
    emit(at_once)
    noise = abs(added(one_by_one, AGAIN, BARE).value)
    emit_figure("governed httpx added", added(one_by_one, GOVERNED, BARE), "%", noise=noise)
    emit_figure("governed requests added", added(one_by_one, GOVERNED_REQUESTS, REQUESTS), "%", noise=noise)
    emit_figure("bare httpx ÷ governed, 32 in flight", times(at_once, BARE, GOVERNED), "×")


if __name__ == "__main__":
    main()
