"""What is left of aiohttp's throughput with 32 requests in flight over loopback, governed and hand-made.

The client has one core to itself at most, the upstream is another process. The share that is kept is that of the
requests a second of processor time allows: on a busy machine the clock on the wall would measure the neighbours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
from prometheus_client import CollectorRegistry

from benchmarks.governed_call import CONFIG, GOVERNED_URL
from benchmarks.handmade import hand_made
from benchmarks.harness import Comparison, Median, arguments, compare_async, emit, emit_figure
from benchmarks.loopback_server import loopback_server
from benchmarks.memory_client import gets
from meshlib import Mesh

__all__ = ["config_for", "main"]

IN_FLIGHT = 32
BARE, AGAIN, HAND_MADE, GOVERNED = "bare", "bare again", "hand-made", "meshlib"

Body = Callable[[int], Awaitable[object]]


def config_for(ports: Sequence[int]) -> str:
    """The configuration of ``governed_call``, with its three endpoints on loopback."""
    config = CONFIG
    for number, port in enumerate(ports, start=1):
        config = config.replace(f"address: 10.0.0.{number},", f"address: 127.0.0.1, ports: {{http: {port}}},")
    return config


def in_flight(body: Body) -> Body:
    """The calls of a body, shared out among tasks that run at the same time."""

    async def shared(calls: int) -> None:
        await asyncio.gather(*(body(max(calls // IN_FLIGHT, 1)) for _ in range(IN_FLIGHT)))

    return shared


async def measure(ports: Sequence[int], *, rounds: int, calls: int) -> Comparison:
    """All variants in turn."""
    mesh = Mesh.load(config_for(ports))
    mesh.metrics(CollectorRegistry())
    url = f"http://127.0.0.1:{ports[0]}/reviews/0"
    async with (
        aiohttp.ClientSession() as bare,
        aiohttp.ClientSession() as again,
        aiohttp.ClientSession() as stacked,
        mesh.aiohttp() as governed,
    ):
        variants = {
            BARE: in_flight(gets(bare, url)),
            AGAIN: in_flight(gets(again, url)),
            HAND_MADE: in_flight(hand_made(stacked, url, service="reviews")),
            GOVERNED: in_flight(gets(governed, GOVERNED_URL)),
        }
        return await compare_async("loopback", variants, rounds=rounds, calls=calls, again=AGAIN)


def kept(comparison: Comparison, variant: str) -> Median:
    """The share of the bare client's requests for the same processor time, in percent."""
    ratio = comparison.ratio(variant)
    return Median(100.0 / ratio.value, 100.0 / ratio.high, 100.0 / ratio.low)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=40, calls=640, argv=argv)
    with loopback_server(3) as ports:
        comparison = asyncio.run(measure(ports, rounds=options.rounds, calls=options.calls))
    emit(comparison)
    emit_figure("loopback, kept share", kept(comparison, GOVERNED), "%")


if __name__ == "__main__":
    main()
