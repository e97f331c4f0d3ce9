"""Earliest deadline first: weighted picks without repetition of the heavy ones.

Rules (Envoy's EDF scheduler): what has weight w comes due every 1/w; what is due first
is picked and comes back 1/w later. Ties go in the order of insertion. The schedule
starts at a random point, so that many processes that start together do not all begin
with the same host.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

from meshlib._random import Chance

__all__ = ["EdfSchedule"]

T = TypeVar("T")


class EdfSchedule(Generic[T]):
    """A schedule over hosts or localities whose weight (above 0) is asked for anew at each pick."""

    __slots__ = ("_due", "_now", "_order", "_weight")

    def __init__(self, entries: tuple[T, ...], weight: Callable[[T], float], chance: Chance) -> None:
        self._weight = weight
        self._order = len(entries)
        self._now = 0.0
        self._due = [(1.0 / weight(entry), order, entry) for order, entry in enumerate(entries)]
        heapq.heapify(self._due)
        for _ in range(int(chance.random() * len(entries))):
            self.pick()

    def pick(self) -> T | None:
        """What is due first."""
        if not self._due:
            return None
        self._now, _, entry = self._due[0]
        self._order += 1
        heapq.heapreplace(self._due, (self._now + 1.0 / self._weight(entry), self._order, entry))
        return entry
