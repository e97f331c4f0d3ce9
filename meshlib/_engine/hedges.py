"""When a second attempt is sent beside a slow first one (ClientPolicy ``hedging``).

Rules:

* The second attempt starts after ``delay`` seconds, or after the ``quantile`` of the
  last 200 latencies once there are 20 of them.
* Each call adds ``ratio`` of a hedge to the budget, at most ten; each hedge takes one.
* A hedge is a retry to the limits of its destination (``maxRetries``, ``retryBudget``).
* A request is hedged only if it may arrive twice: GET, HEAD, OPTIONS and TRACE, or with an
  ``Idempotency-Key``; never one that changes the protocol or waits for a 100.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from threading import Lock
from typing import Final

from meshlib._http import RequestHead
from meshlib._snapshot.client_policy import HedgeRules

__all__ = ["Hedges", "is_repeatable", "may_be_hedged"]

_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))

_REMEMBERED: Final = 200
_ENOUGH: Final = 20
_SAVED: Final = 10.0


class Hedges:
    """Latencies and budget of one host; shared by all threads. ``sent`` and ``won`` count hedges."""

    __slots__ = ("_budget", "_last", "_lock", "_sorted", "rules", "sent", "won")

    def __init__(self, rules: HedgeRules) -> None:
        self.rules = rules
        self._lock = Lock()
        self._budget = 1.0
        self._last: deque[float] = deque()
        self._sorted: list[float] = []
        self.sent = self.won = 0

    def delay(self) -> float | None:
        """Count a call; seconds until its hedge, None where nobody knows yet."""
        with self._lock:
            self._budget = min(self._budget + self.rules.ratio, _SAVED)
            if self.rules.quantile is None:
                return self.rules.delay
            if len(self._sorted) < _ENOUGH:
                return None
            return self._sorted[min(int(self.rules.quantile * len(self._sorted)), len(self._sorted) - 1)]

    def take(self) -> bool:
        """Whether the budget has a hedge left; takes it."""
        with self._lock:
            if self._budget < 1.0 - 1e-9:
                return False
            self._budget -= 1.0
            return True

    def send(self) -> None:
        """A hedge was sent."""
        with self._lock:
            self.sent += 1

    def win(self) -> None:
        """A hedge gave the answer."""
        with self._lock:
            self.won += 1

    def record(self, seconds: float) -> None:
        """A call was answered after ``seconds``."""
        if self.rules.quantile is None:
            return
        with self._lock:
            if len(self._last) == _REMEMBERED:
                del self._sorted[bisect_left(self._sorted, self._last.popleft())]
            self._last.append(seconds)
            insort(self._sorted, seconds)

    def reset_lock(self) -> None:
        """In a forked child: a new lock."""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Hedges budget={self._budget:.2f} latencies={len(self._last)}>"


def may_be_hedged(request: RequestHead) -> bool:
    """Whether a request may arrive twice although nothing went wrong."""
    headers = request.headers
    return is_repeatable(request) and "upgrade" not in headers and "expect" not in headers


def is_repeatable(request: RequestHead) -> bool:
    """Whether a request changes nothing when it arrives again: by its method, or because it says so."""
    return request.method in _SAFE or "idempotency-key" in request.headers
