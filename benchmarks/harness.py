"""Interleaved comparison of variants: each runs in turn in short rounds, and is judged against its neighbour in time.

The rules, and why:

* **In turn.** Every round runs each variant once, so that a slow second of the machine or a growing heap is shared by
  all of them. The order is drawn anew for each round (from a fixed seed): in a rotation each variant would always
  follow the same neighbour. A turn begins with some calls that are not measured and warm the caches up again.
* **Paired.** What a variant adds is the median over the rounds of *its time minus the base's time in the same round*.
  The interval beside it is the 95 % confidence interval of that median (order statistics: nothing is assumed about
  the shape of the noise).
* **A/A.** The base is measured twice, as two variants. What the second one "adds" is the noise of the run: no
  difference smaller than that means anything.
* **Garbage collection stays on while a variant runs**, at Python's thresholds: who makes cyclic garbage pays for it.
  Before the first round everything alive is frozen (``gc.freeze``), and before each variant's turn the collector runs
  outside the measured time, so that nobody pays for another's garbage.
* **Processor time is what is compared.** Nothing here waits for anything, so that on a quiet machine the clock on the
  wall says the same, and on a busy one it measures the neighbours (with two processes for one core it doubles every
  figure). The wall clock is taken too: a variant for which it runs ahead of the others' did wait, and that is said.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

__all__ = [
    "AsyncBody",
    "Comparison",
    "Median",
    "SelfTimed",
    "SyncBody",
    "Timing",
    "Unit",
    "arguments",
    "compare",
    "compare_async",
    "compare_processes",
    "emit",
    "emit_figure",
    "table",
]

SyncBody: TypeAlias = Callable[[int], object]
"""Does the measured thing the given number of times. The loop is the body's own, so that it costs all the same."""

AsyncBody: TypeAlias = Callable[[int], Awaitable[object]]
"""The same, as a coroutine function; it should give the event loop a turn before it ends."""

SelfTimed: TypeAlias = Callable[[], tuple[float, float]]
"""Does the thing once, usually in a process of its own, and says the seconds of wall clock and processor it took."""

Record: TypeAlias = dict[str, object]


class Unit(Enum):
    """What a comparison is told in; the value is how many of them a second has."""

    MICROSECONDS = 1e6
    MILLISECONDS = 1e3
    SECONDS = 1.0

    @property
    def symbol(self) -> str:
        """As it stands behind a figure."""
        return {1e6: "µs", 1e3: "ms", 1.0: "s"}[self.value]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds for each call in every round of one variant: by the clock on the wall, and of the processor."""

    wall: Sequence[float]
    cpu: Sequence[float]


@dataclass(frozen=True, slots=True)
class Median:
    """A median and the 95 % confidence interval around it."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Median:
        """Of the values, in any order."""
        ordered = sorted(values)
        count = len(ordered)
        # The rank of a median is binomial: count/2 ± 1.96 standard deviations of √count/2.
        reach = 0.98 * math.sqrt(count)
        low = max(math.floor(count / 2 - reach), 0)
        high = min(math.ceil(count / 2 + reach), count - 1)
        return cls(statistics.median(ordered), ordered[low], ordered[high])


@dataclass(frozen=True, slots=True)
class Comparison:
    """The timings of all variants of one run. The first is the base, the one named ``again`` is the base once more."""

    name: str
    calls: int
    timings: Mapping[str, Timing]
    again: str | None = None
    unit: Unit = Unit.MICROSECONDS

    @property
    def base(self) -> str:
        """The name of the variant that the others are measured against."""
        return next(iter(self.timings))

    def median(self, variant: str) -> float:
        """Processor time of a call, in the unit of the comparison, as all that follows."""
        return statistics.median(self.timings[variant].cpu) * self.unit.value

    def wall(self, variant: str) -> float:
        """The time of a call by the clock on the wall."""
        return statistics.median(self.timings[variant].wall) * self.unit.value

    def added(self, variant: str, *, over: str | None = None) -> Median:
        """What a call costs more than the call of the base, or of the variant ``over``, in the same round."""
        return self._paired(self.timings[variant].cpu, self.timings[over or self.base].cpu)

    def added_wall(self, variant: str) -> Median:
        """The same by the clock on the wall."""
        return self._paired(self.timings[variant].wall, self.timings[self.base].wall)

    @property
    def waiting(self) -> list[str]:
        """The variants for which the wall clock ran ahead of the processor's more than it did for the base."""
        base = self.wall(self.base) / self.median(self.base)
        return [name for name in self.timings if self.wall(name) / self.median(name) > 1.2 * base]

    @property
    def noise(self) -> float:
        """How much the base differs from itself: the larger end of the A/A interval; nan if not measured."""
        if self.again is None:
            return math.nan
        added = self.added(self.again)
        return max(abs(added.low), abs(added.high))

    def added_ratio(self, more: str, less: str) -> Median:
        """How many times as much ``more`` adds as ``less``, with the interval that both intervals allow."""
        top, bottom = self.added(more), self.added(less)
        return Median(
            _divide(top.value, bottom.value),
            _divide(max(top.low, 0.0), bottom.high),
            _divide(top.high, max(bottom.low, 0.0)),
        )

    def ratio(self, variant: str) -> Median:
        """How many times as long the variant takes as the base, round by round."""
        base = self.timings[self.base].cpu
        return Median.of([mine / its for mine, its in zip(self.timings[variant].cpu, base, strict=True)])

    def records(self) -> list[Record]:
        """One JSON-ready object for each variant."""
        return [self._record(variant) for variant in self.timings]

    def _record(self, variant: str) -> Record:
        added = self.added(variant)
        return {
            "benchmark": self.name,
            "variant": variant,
            "unit": self.unit.symbol,
            "median": _round(self.median(variant)),
            "added": _round(added.value),
            "added_low": _round(added.low),
            "added_high": _round(added.high),
            "wall": _round(self.wall(variant)),
            "added_wall": _round(self.added_wall(variant).value),
            "ratio": _round(self.ratio(variant).value),
            "noise": _round(self.noise),
            "rounds": len(self.timings[variant].wall),
            "calls": self.calls,
        }

    def _paired(self, mine: Sequence[float], base: Sequence[float]) -> Median:
        return Median.of([(one - other) * self.unit.value for one, other in zip(mine, base, strict=True)])


def compare(
    name: str, variants: Mapping[str, SyncBody], *, rounds: int, calls: int, again: str | None = None
) -> Comparison:
    """Measure the variants in turn. Each body is called with ``calls`` in each round, after one warm-up."""
    turns = _Turns(variants)
    for body in variants.values():
        body(calls)
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            for variant in turns.next_round():
                variants[variant](_warm_up(calls))
                gc.collect()
                wall, cpu = time.perf_counter(), time.process_time()
                variants[variant](calls)
                turns.record(variant, time.perf_counter() - wall, time.process_time() - cpu)
    finally:
        gc.unfreeze()
    return Comparison(name, calls, turns.timings(calls), again)


async def compare_async(
    name: str, variants: Mapping[str, AsyncBody], *, rounds: int, calls: int, again: str | None = None
) -> Comparison:
    """Measure coroutine bodies in turn, all in the running event loop."""
    turns = _Turns(variants)
    for body in variants.values():
        await body(calls)
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            for variant in turns.next_round():
                await variants[variant](_warm_up(calls))
                gc.collect()
                wall, cpu = time.perf_counter(), time.process_time()
                await variants[variant](calls)
                turns.record(variant, time.perf_counter() - wall, time.process_time() - cpu)
    finally:
        gc.unfreeze()
    return Comparison(name, calls, turns.timings(calls), again)


def compare_processes(
    name: str,
    variants: Mapping[str, SelfTimed],
    *,
    rounds: int,
    unit: Unit,
    again: str | None = None,
) -> Comparison:
    """Measure in turn what times itself, in a process of its own; nothing is warmed up but what it warms up itself."""
    turns = _Turns(variants)
    for _ in range(rounds):
        for variant in turns.next_round():
            turns.record(variant, *variants[variant]())
    return Comparison(name, 1, turns.timings(1), again, unit)


class _Turns:
    """Who goes when, and what was measured."""

    def __init__(self, variants: Mapping[str, object]) -> None:
        self._order = list(variants)
        self._chance = random.Random(1)
        self._wall: dict[str, list[float]] = {variant: [] for variant in variants}
        self._cpu: dict[str, list[float]] = {variant: [] for variant in variants}

    def next_round(self) -> list[str]:
        self._chance.shuffle(self._order)
        return list(self._order)

    def record(self, variant: str, wall: float, cpu: float) -> None:
        self._wall[variant].append(wall)
        self._cpu[variant].append(cpu)

    def timings(self, calls: int) -> dict[str, Timing]:
        return {
            variant: Timing([value / calls for value in wall], [value / calls for value in self._cpu[variant]])
            for variant, wall in self._wall.items()
        }


def arguments(
    description: str, *, rounds: int, calls: int, argv: Sequence[str] | None, most: int | None = None
) -> argparse.Namespace:
    """The options that every benchmark takes: ``--rounds`` and ``--calls``; ``--most`` if it compares sizes."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="times that each variant has its turn (%(default)s)")
    parser.add_argument("--calls", type=int, default=calls, help="calls in each turn (%(default)s)")
    if most is not None:
        parser.add_argument("--most", type=int, default=most, help="largest size that is compared (%(default)s)")
    return parser.parse_args(argv)


def emit(comparison: Comparison) -> None:
    """One JSON line for each variant on stdout; the table for people on stderr."""
    records = comparison.records()
    for record in records:
        print(json.dumps(record))
    shown = ("variant", "unit", "median", "added", "added_low", "added_high", "ratio", "wall", "added_wall")
    print(f"\n{comparison.name}: {records[0]['rounds']} rounds of {comparison.calls} calls", file=sys.stderr)
    print(table([[str(record[column]) for column in shown] for record in records], shown), file=sys.stderr)
    if comparison.again is not None:
        print(f"noise (A/A): {comparison.noise:.3g} {comparison.unit.symbol}", file=sys.stderr)
    for name in comparison.waiting:
        print(f"{name}: waited for something, or the machine was very busy in its turns", file=sys.stderr)


def emit_figure(name: str, value: float | Median, unit: str, *, noise: float | None = None) -> None:
    """One figure that a budget is set for, as a JSON line on stdout."""
    record: Record = {"figure": name, "unit": unit}
    if isinstance(value, Median):
        record |= {"value": _round(value.value), "low": _round(value.low), "high": _round(value.high)}
    else:
        record["value"] = _round(value)
    if noise is not None:
        record["noise"] = _round(noise)
    print(json.dumps(record), flush=True)


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """Aligned columns; the first is text, the others are figures."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = []
    for row in [heads, *rows]:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]))
    return "\n".join(lines)


def _warm_up(calls: int) -> int:
    return calls // 10 + 1


def _divide(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else math.inf


def _round(value: float) -> float | None:
    """Four significant digits; None for what JSON cannot say."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
