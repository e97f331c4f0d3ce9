"""Calls that are put down and counted later: the figures are those of counting each at once."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from meshlib.telemetry.counters import BOUNDS, Counter, Histogram, SeriesKey, Store
from meshlib.telemetry.targets import RequestTally, Targets

VALUES = st.one_of(st.floats(0.0, 4e6), st.sampled_from(BOUNDS))


def targets() -> Targets:
    return Targets(Counter(), Histogram(), Histogram(), Histogram(), 100, 200, Counter())


@given(st.lists(VALUES))
def test_many_values_at_once_are_counted_as_one_by_one(values: list[float]) -> None:
    one, many = Histogram(), Histogram()
    for value in values:
        one.add(value)
    many.add_all(list(values))
    assert many.counts == one.counts
    assert abs(many.sum - one.sum) <= 1e-9 * max(one.sum, 1.0)


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.integers(-1, 5000))), st.integers(0, 20))
def test_a_tally_counts_what_counting_at_once_does(calls: list[tuple[float, int]], more: int) -> None:
    at_once, later = targets(), targets()
    tally = RequestTally(later)
    for number, (seconds, length) in enumerate(calls):
        assert at_once.attempts is not None
        at_once.attempts.value += 1
        at_once.count_one(seconds * 1000.0, 0, length, None)
        tally.seconds.append(seconds)
        tally.lengths.append(length if length % 2 else str(length))
        if number == more:
            tally.count()
    tally.count()
    tally.count()  # nothing is left
    for one, other in zip(at_once[:4], later[:4], strict=True):
        if isinstance(one, Histogram) and isinstance(other, Histogram):
            assert other.counts == one.counts
            assert abs(other.sum - one.sum) <= 1e-9 * max(one.sum, 1.0)
        elif isinstance(one, Counter) and isinstance(other, Counter):
            assert other.value == one.value
    assert later.attempts is not None
    assert later.attempts.value == len(calls)


def test_readings_while_others_count_never_go_back() -> None:
    """Four threads put down and count, a fifth reads: each reading is at least the one before, the last is exact."""
    store, threads, calls = Store(), 4, 5_000
    begin, over = threading.Barrier(threads + 1), threading.Event()
    key = SeriesKey("requests", (("a", "b"),))

    def work() -> None:
        shard = store.open()
        series = targets()._replace(requests=shard.counter(*key), duration=shard.histogram("took", key.labels))
        tally = shard.tallies["any"] = RequestTally(series)
        begin.wait()
        for number in range(calls):
            tally.seconds.append(0.001)
            tally.lengths.append(str(number % 7))
            if len(tally.lengths) >= 50:
                with shard.lock:
                    tally.count()

    readings: list[float] = []

    def read() -> None:
        begin.wait()
        while not over.is_set():
            total = store.totals().get(key, 0.0)
            assert isinstance(total, float | int)
            readings.append(total)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    reader = threading.Thread(target=read)
    for one in (*workers, reader):
        one.start()
    for one in workers:
        one.join()
    over.set()
    reader.join()
    assert readings == sorted(readings)
    assert store.totals()[key] == threads * calls
    took = store.totals()[SeriesKey("took", key.labels)]
    assert isinstance(took, tuple)
    assert sum(took[0]) == threads * calls
