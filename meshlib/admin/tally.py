"""What the calls of one mesh add up to, counted from its events while somebody looks.

Nobody looks: no event is made and nothing costs anything. The first look begins to
count; five minutes after the last one the counting ends by itself, the counts stay.
Keys are bounded, whatever is called: what is beyond goes to one key for all the rest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from threading import Lock
from typing import Final, TypeAlias, TypeVar

from meshlib._clock import Clock
from meshlib._explain.explanation import Json
from meshlib.events import AttemptFinished, Event, ExchangeFinished, FaultInjected, RequestServed

__all__ = ["BOUNDS", "CallKey", "Calls", "Counts", "Tally"]

BOUNDS: Final = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)
"""Upper bounds of the latency ranges in milliseconds; the last range is open."""

_LASTS: Final = 300.0
_SECONDS: Final = tuple(bound / 1000.0 for bound in BOUNDS)
_TURNS: Final = 64
_MOST: Final = 2_000
_REST: Final = "(others)"

K = TypeVar("K")


CallKey: TypeAlias = tuple[str, str, str]
"""What calls are added up by: cluster, route, and the host where no cluster is known."""


class Calls:
    """Figures of one key. ``failed`` had a status from 500 on or no response, ``rejected`` one from 400 to 499."""

    __slots__ = ("buckets", "failed", "flags", "rejected", "requests", "retries", "seconds")

    def __init__(self) -> None:
        self.requests = self.failed = self.rejected = self.retries = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.flags: dict[str, int] = {}

    def add(self, status: int, seconds: float) -> None:
        """Count one that has ended."""
        self.requests += 1
        if status >= 500 or status == 0:
            self.failed += 1
        elif status >= 400:
            self.rejected += 1
        self.seconds += seconds
        self.buckets[bisect_left(_SECONDS, seconds)] += 1

    def merge(self, other: Calls) -> None:
        """Add what another has counted."""
        self.requests += other.requests
        self.failed += other.failed
        self.rejected += other.rejected
        self.retries += other.retries
        self.seconds += other.seconds
        self.buckets = [one + more for one, more in zip(self.buckets, other.buckets, strict=True)]
        for flag, count in other.flags.items():
            self.flags[flag] = self.flags.get(flag, 0) + count

    def copy(self) -> Calls:
        """The figures as they are now."""
        made = Calls()
        made.merge(self)
        return made

    def to_json(self) -> dict[str, Json]:
        """All figures; ``latency`` are the counts of the ranges of :data:`BOUNDS`."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "rejected": self.rejected,
            "retries": self.retries,
            "seconds": round(self.seconds, 6),
            "latency": [*self.buckets],
            "flags": {**self.flags},
        }

    def __repr__(self) -> str:
        return f"<Calls requests={self.requests} failed={self.failed}>"


class Counts:
    """What a tally has counted: ``attempts`` by cluster and endpoint, ``served`` by principal, ``faults`` by kind."""

    __slots__ = ("attempts", "denied", "exchanges", "faults", "served")

    def __init__(self) -> None:
        self.exchanges: dict[CallKey, Calls] = {}
        self.attempts: dict[tuple[str, str], Calls] = {}
        self.served: dict[str, Calls] = {}
        self.denied: dict[str, int] = {}
        self.faults: dict[str, int] = {}


class Tally:
    """Counts while it is looked at. ``observe`` delivers events; ``since`` is the Unix time of the first look, or 0."""

    def __init__(self, observe: Callable[..., Callable[[], None]], clock: Clock) -> None:
        self._observe = observe
        self._clock = clock
        self._end: Callable[[], object] | None = None
        self._looked = 0.0
        self._lock = Lock()
        self._counts = Counts()
        self._turns = 0
        self.since = 0.0

    def look(self) -> None:
        """Somebody looks: count from now on."""
        self._looked = self._clock.monotonic()
        with self._lock:
            if self._end is not None:
                return
            self.since = self.since or self._clock.time()
            ends = [
                self._observe(self._on_exchange, ExchangeFinished),
                self._observe(self._on_attempt, AttemptFinished),
                self._observe(self._on_served, RequestServed),
                self._observe(self._on_fault, FaultInjected),
            ]
            self._end = lambda: [end() for end in ends]

    def stop(self) -> None:
        """End counting until the next look."""
        with self._lock:
            end, self._end = self._end, None
        if end is not None:
            end()

    @property
    def is_counting(self) -> bool:
        """Whether events are listened to."""
        return self._end is not None

    def read(self) -> Counts:
        """The counts as they are now."""
        found, mine = Counts(), self._counts
        with self._lock:
            found.exchanges = {key: calls.copy() for key, calls in mine.exchanges.items()}
            found.attempts = {key: calls.copy() for key, calls in mine.attempts.items()}
            found.served = {key: calls.copy() for key, calls in mine.served.items()}
            found.denied, found.faults = dict(mine.denied), dict(mine.faults)
        return found

    def reset_after_fork(self) -> None:
        """In a forked child: from zero, with a new lock."""
        self._lock = Lock()
        self._counts = Counts()
        self.since = self._clock.time() if self._end is not None else 0.0

    def _on_exchange(self, event: Event) -> None:
        assert isinstance(event, ExchangeFinished)
        key = (event.cluster, event.route, "" if event.cluster else event.host)
        with self._lock:
            calls = _of(self._counts.exchanges, key, ("", "", _REST))
            calls.add(event.status, event.duration)
            if event.attempts > 1:
                calls.retries += event.attempts - 1
            for flag in event.flags:
                calls.flags[flag] = calls.flags.get(flag, 0) + 1
            self._turns += 1
        if self._turns >= _TURNS:
            self._look_back()

    def _on_attempt(self, event: Event) -> None:
        assert isinstance(event, AttemptFinished)
        with self._lock:
            _of(self._counts.attempts, (event.cluster, event.endpoint), ("", _REST)).add(event.status, event.duration)

    def _on_served(self, event: Event) -> None:
        assert isinstance(event, RequestServed)
        with self._lock:
            counts = self._counts
            peer = event.principal if event.principal in counts.served or len(counts.served) < _MOST else _REST
            _of(counts.served, peer, _REST).add(event.status, event.duration)
            if event.decision == "deny":
                counts.denied[peer] = counts.denied.get(peer, 0) + 1
            self._turns += 1
        if self._turns >= _TURNS:
            self._look_back()

    def _on_fault(self, event: Event) -> None:
        assert isinstance(event, FaultInjected)
        with self._lock:
            self._counts.faults[event.kind] = self._counts.faults.get(event.kind, 0) + 1

    def _look_back(self) -> None:
        """Now and then: stop if nobody has looked for long."""
        self._turns = 0
        if self._clock.monotonic() - self._looked > _LASTS:
            self.stop()

    def __repr__(self) -> str:
        return f"<Tally counting={self.is_counting} keys={len(self._counts.exchanges)}>"


def _of(calls: dict[K, Calls], key: K, rest: K) -> Calls:
    """The figures of a key; those of ``rest`` once the keys are too many."""
    found = calls.get(key)
    if found is None:
        key = key if len(calls) < _MOST else rest
        found = calls.setdefault(key, Calls())
    return found
