"""The circuit breaker of a ClientPolicy: closed, open, half-open.

Rules:

* Closed, every call passes and is counted when it ends. The breaker opens when the
  failures in a row, or the ratio of failed or slow calls in the window, reach their limit.
* Open, every call is refused until ``open_for`` seconds have passed.
* Then it is half-open: exactly one call passes as the probe, all others are refused. A
  good probe closes the breaker with an empty window, a bad one opens it again. A probe
  that is given up leaves its place to the next call.
* A call that began before the breaker opened says nothing any more when it ends.

A time window is kept in ten slots, so that it slides by a tenth of itself.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Final, Literal, Protocol, TypeAlias

from meshlib._snapshot.client_policy import BreakerRules

__all__ = ["Breaker", "BreakerState", "CountWindow", "TimeWindow"]

BreakerState: TypeAlias = Literal["closed", "open", "half-open"]

COUNTED: Final = 100
SLOTS: Final = 10


class Window(Protocol):
    """The last calls: how many, how many failed, how many were slow."""

    calls: int
    failures: int
    slow: int

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count a call that has just ended."""
        ...


class CountWindow:
    """The last hundred calls."""

    __slots__ = ("_last", "calls", "failures", "slow")

    def __init__(self) -> None:
        self._last: deque[tuple[bool, bool]] = deque()
        self.calls = self.failures = self.slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count a call, and forget the one before the last hundred."""
        if self.calls == COUNTED:
            old_failed, old_slow = self._last.popleft()
            self.failures -= old_failed
            self.slow -= old_slow
        else:
            self.calls += 1
        self._last.append((failed, slow))
        self.failures += failed
        self.slow += slow


class TimeWindow:
    """The calls of the last ``seconds``."""

    __slots__ = ("_seconds", "_slots", "calls", "failures", "slow")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds / SLOTS
        self._slots: deque[list[int]] = deque()  # number of the slot, calls, failures, slow
        self.calls = self.failures = self.slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Count a call, and forget the slots that are too old."""
        number = int(now // self._seconds)
        slots = self._slots
        while slots and slots[0][0] <= number - SLOTS:
            _, calls, failures, slows = slots.popleft()
            self.calls -= calls
            self.failures -= failures
            self.slow -= slows
        if not slots or slots[-1][0] != number:
            slots.append([number, 0, 0, 0])
        latest = slots[-1]
        latest[1] += 1
        latest[2] += failed
        latest[3] += slow
        self.calls += 1
        self.failures += failed
        self.slow += slow


class Breaker:
    """The state of one host; shared by all threads."""

    __slots__ = ("_generation", "_in_a_row", "_lock", "_open_until", "_probing", "_window", "rules", "state")

    def __init__(self, rules: BreakerRules) -> None:
        self.rules = rules
        self.state: BreakerState = "closed"
        self._lock = Lock()
        self._generation = 0
        self._open_until = 0.0
        self._probing = False
        self._in_a_row = 0
        self._window: Window = self._new_window()

    def enter(self, now: float) -> int | None:
        """A permit for a call, to be given back by :meth:`record` or :meth:`give_up`; None: refused."""
        with self._lock:
            if self.state == "closed":
                return self._generation
            if self.state == "open" and now >= self._open_until:
                self.state = "half-open"
                self._generation += 1
            if self.state == "open" or self._probing:
                return None
            self._probing = True
            return self._generation

    def record(self, permit: int, now: float, *, failed: bool, seconds: float) -> None:
        """The call of a permit has ended after ``seconds``."""
        slow = seconds >= self.rules.slow_seconds
        with self._lock:
            if permit != self._generation:
                return
            if self.state == "half-open":
                self._probing = False
                if failed or slow:
                    self._open(now)
                else:
                    self._close()
                return
            self._window.add(now, failed=failed, slow=slow)
            self._in_a_row = self._in_a_row + 1 if failed else 0
            if self._is_too_bad():
                self._open(now)

    def give_up(self, permit: int) -> None:
        """Nobody knows how the call of a permit would have ended."""
        with self._lock:
            if permit == self._generation and self.state == "half-open":
                self._probing = False

    def _is_too_bad(self) -> bool:
        rules, window = self.rules, self._window
        if rules.consecutive and self._in_a_row >= rules.consecutive:
            return True
        if window.calls < rules.minimum_calls:
            return False
        return (rules.failure_ratio is not None and window.failures >= rules.failure_ratio * window.calls) or (
            rules.slow_ratio is not None and window.slow >= rules.slow_ratio * window.calls
        )

    def _open(self, now: float) -> None:
        self.state = "open"
        self._generation += 1
        self._open_until = now + self.rules.open_for

    def _close(self) -> None:
        self.state = "closed"
        self._generation += 1
        self._in_a_row = 0
        self._window = self._new_window()

    def _new_window(self) -> Window:
        return CountWindow() if self.rules.window is None else TimeWindow(self.rules.window)

    def reset_lock(self) -> None:
        """In a forked child: a new lock, and no probe on its way."""
        self._lock = Lock()
        self._probing = False

    def __repr__(self) -> str:
        return f"<Breaker {self.state} calls={self._window.calls} failures={self._window.failures}>"
