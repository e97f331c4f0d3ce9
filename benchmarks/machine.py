"""How fast this machine runs Python, compared with the one that the budgets were set on.

A budget in microseconds is a promise about one machine. The same code takes twice as long on a slow one, so the table
of ``python -m benchmarks`` shows each time twice: as it was measured, and divided by the speed figure from here.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar

__all__ = ["slowness"]

REFERENCE_NS = {
    "function call": 24.0,
    "await": 84.0,
    "contextvar set and reset": 101.0,
    "lock": 149.0,
    "asyncio.timeout": 4100.0,
}
"""Nanoseconds of each probe on the machine that the budgets were set on (CPython 3.11)."""

VARIABLE: ContextVar[int] = ContextVar("VARIABLE", default=0)
LOCK = threading.Lock()


def slowness(*, repeats: int = 7) -> float:
    """How many times as long as on the reference machine: 1.0 is as fast, 2.0 takes twice the time."""
    return math.exp(statistics.fmean(math.log(ns / REFERENCE_NS[name]) for name, ns in _probe(repeats)))


def _probe(repeats: int) -> Iterable[tuple[str, float]]:
    probes: dict[str, Callable[[range], None]] = {
        "function call": _function_call,
        "contextvar set and reset": _contextvar,
        "lock": _lock,
    }
    empty = _median_ns(_empty, repeats)
    for name, probe in probes.items():
        yield name, max(_median_ns(probe, repeats) - empty, 1.0)
    for name, coroutine, count in (("await", _await, 2000), ("asyncio.timeout", _timeout, 200)):
        yield name, max(asyncio.run(_median_ns_async(coroutine, repeats, count)) - empty, 1.0)


def _median_ns(probe: Callable[[range], None], repeats: int, count: int = 2000) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        probe(range(count))
        times.append((time.perf_counter_ns() - start) / count)
    return statistics.median(times)


async def _median_ns_async(
    probe: Callable[[range], Coroutine[object, object, None]], repeats: int, count: int
) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        await probe(range(count))
        times.append((time.perf_counter_ns() - start) / count)
    return statistics.median(times)


def _nothing() -> None:
    return None


async def _anothing() -> None:
    return None


def _empty(times: range) -> None:
    for _ in times:
        pass


def _function_call(times: range) -> None:
    for _ in times:
        _nothing()


def _contextvar(times: range) -> None:
    for _ in times:
        VARIABLE.reset(VARIABLE.set(1))


def _lock(times: range) -> None:
    for _ in times:
        with LOCK:
            pass


async def _await(times: range) -> None:
    for _ in times:
        await _anothing()


async def _timeout(times: range) -> None:
    for _ in times:
        async with asyncio.timeout(10):  # noqa: ASYNC100 - it is what is measured
            pass
    await asyncio.sleep(0)
