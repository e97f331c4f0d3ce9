"""Counters and histograms that cost a few dozen nanoseconds: each thread has its own, a reading adds them up.

No label is looked up while a request waits, and no lock is taken that another request could hold:
a thread only ever writes to its own :class:`Shard`, which holds for interpreters without a GIL as well.
Shards of threads that have ended are added to a common base, so that threads that come
and go cost nothing. A reading may see a request in one metric and not yet in another.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

__all__ = ["BOUNDS", "Counter", "Histogram", "Labels", "SeriesKey", "Shard", "Store", "Tally", "Total"]

BOUNDS: Final = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0, 60000.0,
    300000.0, 600000.0, 1800000.0, 3600000.0,
)  # fmt: skip
"""Upper bounds of Istio's histograms, for milliseconds and bytes alike (semantics 7.1)."""

Labels: TypeAlias = tuple[tuple[str, str], ...]


class SeriesKey(NamedTuple):
    """A metric and the labels of one of its series."""

    metric: str
    labels: Labels


class Counter:
    """How often, or how much."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def __repr__(self) -> str:
        return f"<Counter {self.value}>"


class Histogram:
    """How often in each range of :data:`BOUNDS`, the last one open, and the sum."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(BOUNDS, value)] += times
        self.sum += value * times

    def add_all(self, values: list[float]) -> None:
        """Count many values: sorted, they take one search for each bound instead of one each."""
        values.sort()
        self.sum += sum(values)
        counts, before = self.counts, 0
        for place, bound in enumerate(BOUNDS):
            if before == len(values):
                return
            upto = bisect_right(values, bound, before)
            counts[place] += upto - before
            before = upto
        counts[-1] += len(values) - before

    def __repr__(self) -> str:
        return f"<Histogram count={sum(self.counts)} sum={self.sum}>"


Total: TypeAlias = float | tuple[tuple[int, ...], float]
"""The value of a counter, or the counts and the sum of a histogram."""


class Tally(Protocol):
    """Values that were put down as they came, and are still to be counted."""

    def count(self) -> None:
        """Add them to the series of the shard, under its lock."""
        ...


class Shard:
    """The series of one thread.

    ``cache`` belongs to who counts: from what it sees of a request to its series;
    ``context`` is what that holds for, ``prepared`` what was made ready for it. ``lock``
    is held by who counts the ``tallies``: the thread now and then, and who reads.
    """

    __slots__ = (
        "__weakref__", "_is_alive", "cache", "context", "counters", "histograms", "lock", "prepared", "tallies",
    )  # fmt: skip

    def __init__(self, is_alive: Callable[[], object]) -> None:
        self._is_alive = is_alive
        self.counters: dict[SeriesKey, Counter] = {}
        self.histograms: dict[SeriesKey, Histogram] = {}
        self.cache: dict[Any, Any] = {}
        self.context: object = None
        self.prepared: Any = None
        self.tallies: dict[Any, Any] = {}
        # A finalizer may end a request on a thread that is counting.
        self.lock = threading.RLock()

    def settle(self) -> None:
        """Count what was only put down."""
        with self.lock:
            for _, tally in _settled(self.tallies):
                tally.count()

    def drop_tallies(self) -> None:
        """Count what was put down, and forget where; what a finalizer puts down meanwhile is in the new ones."""
        with self.lock:
            before, self.tallies = self.tallies, {}
            for tally in before.values():
                tally.count()

    def counter(self, metric: str, labels: Labels) -> Counter:
        """The counter with these labels, made on first use."""
        key = SeriesKey(metric, labels)
        found = self.counters.get(key)
        if found is None:
            found = self.counters[key] = Counter()
        return found

    def histogram(self, metric: str, labels: Labels) -> Histogram:
        """The histogram with these labels, made on first use."""
        key = SeriesKey(metric, labels)
        found = self.histograms.get(key)
        if found is None:
            found = self.histograms[key] = Histogram()
        return found

    @property
    def is_over(self) -> bool:
        """Whether its thread has ended."""
        return self._is_alive() is None

    def add(self, other: Shard) -> None:
        """Take over what another shard has counted."""
        other.settle()
        for key, counter in other.counters.items():
            self.counter(*key).value += counter.value
        for key, histogram in other.histograms.items():
            mine = self.histogram(*key)
            mine.sum += histogram.sum
            mine.counts = [one + more for one, more in zip(mine.counts, histogram.counts, strict=True)]

    def __repr__(self) -> str:
        return f"<Shard counters={len(self.counters)} histograms={len(self.histograms)}>"


class _Life:
    """Ends with its thread."""

    __slots__ = ("__weakref__",)


_FOLD_AT: Final = 64


class Store:
    """All series of a process. ``local.shard`` is that of the current thread; AttributeError: :meth:`open` one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start at zero, with a new lock: in a forked child, whose counts its parent keeps."""
        self._lock = threading.Lock()
        self._base = Shard(object)
        self._shards: list[Shard] = []
        self.local = threading.local()

    @property
    def shard(self) -> Shard:
        """The series of the current thread."""
        try:
            mine: Shard = self.local.shard
        except AttributeError:
            return self.open()
        return mine

    def open(self) -> Shard:
        """A shard for a thread that has none."""
        life = _Life()
        shard = Shard(weakref.ref(life))
        self.local.life, self.local.shard = life, shard
        with self._lock:
            self._shards.append(shard)
            if len(self._shards) >= _FOLD_AT:
                self._fold_locked()
        return shard

    def _fold_locked(self) -> None:
        ended = [shard for shard in self._shards if shard.is_over]
        for shard in ended:
            self._base.add(shard)
        if ended:
            self._shards = [shard for shard in self._shards if shard not in ended]

    def totals(self) -> dict[SeriesKey, Total]:
        """Everything counted so far, by series; a moment's view while others go on counting."""
        with self._lock:
            self._fold_locked()
            shards = [self._base, *self._shards]
            counters: dict[SeriesKey, float] = {}
            histograms: dict[SeriesKey, tuple[tuple[int, ...], float]] = {}
            for shard in shards:
                with shard.lock:
                    shard.settle()
                    _add_totals(shard, counters, histograms)
        return {**counters, **histograms}

    @property
    def size(self) -> int:
        """How many series there are, those of several threads counted once."""
        return len(self.totals())

    def __repr__(self) -> str:
        return f"<Store threads={len(self._shards)} series={self.size}>"


def _add_totals(
    shard: Shard, counters: dict[SeriesKey, float], histograms: dict[SeriesKey, tuple[tuple[int, ...], float]]
) -> None:
    for key, counter in _settled(shard.counters):
        counters[key] = counters.get(key, 0) + counter.value
    for key, histogram in _settled(shard.histograms):
        counts, total = tuple(histogram.counts), histogram.sum
        known = histograms.get(key)
        if known is not None:
            counts = tuple(one + more for one, more in zip(known[0], counts, strict=True))
            total += known[1]
        histograms[key] = counts, total


def _settled(series: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The entries of a dictionary to which another thread may be adding."""
    while True:
        try:
            return iter(list(series.items()))
        except RuntimeError:  # it grew meanwhile
            continue
