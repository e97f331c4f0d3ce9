"""Earliest deadline first: weighted picks without repetition of the heavy ones.

Rules (Envoy's EDF scheduler): what has weight w comes due every 1/w; what is due first
is picked and comes back 1/w later. Ties go in the order of insertion. The schedule
starts at a random point, so that many processes that start together do not all begin
with the same host.

Time never goes back, so among entries of one weight who comes first is due first: a
queue for each weight that occurs, and a heap of the queues. A pick costs the same
however many entries there are, and goes through memory in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from typing import Generic, TypeAlias, TypeVar

from meshlib._random import Chance

__all__ = ["EdfSchedule"]

T = TypeVar("T")

Queue: TypeAlias = "deque[tuple[float, int, T]]"
"""Entries of one weight: when each is due, its number in the order of insertion, and what it is."""
Head: TypeAlias = "tuple[float, int, float, Queue[T]]"
"""When the first of a queue is due, its number, the weight of the queue, and the queue."""


class EdfSchedule(Generic[T]):
    """A schedule over hosts or localities whose weight (above 0) is asked for anew at each pick."""

    __slots__ = ("_heads", "_order", "_queues", "_weight")

    def __init__(self, entries: tuple[T, ...], weight: Callable[[T], float], chance: Chance) -> None:
        self._weight = weight
        self._order = len(entries)
        self._queues: dict[float, Queue[T]] = {}
        for order, entry in enumerate(entries):
            share = weight(entry)
            self._queues.setdefault(share, deque()).append((1.0 / share, order, entry))
        self._heads: list[Head[T]] = []
        for share, queue in self._queues.items():
            self._show(share, queue, heappush)
        for _ in range(int(chance.random() * len(entries))):
            self.pick()

    def pick(self) -> T | None:
        """What is due first."""
        heads = self._heads
        if not heads:
            return None
        now, _, before, queue = heads[0]
        entry = queue.popleft()[2]
        self._order = order = self._order + 1
        share = self._weight(entry)
        if share == before:
            queue.append((now + 1.0 / share, order, entry))
            due, first, _ = queue[0]
            heapreplace(heads, (due, first, share, queue))
        else:
            self._move(before, queue, share, (now + 1.0 / share, order, entry))
        return entry

    def _move(self, before: float, queue: Queue[T], share: float, item: tuple[float, int, T]) -> None:
        """What came first in its queue has another weight now: it goes to the end of the queue of that weight."""
        if queue:
            self._show(before, queue, heapreplace)
        else:
            heappop(self._heads)
            del self._queues[before]
        known = self._queues.get(share)
        if known is not None:
            known.append(item)
            return
        made = self._queues[share] = deque((item,))
        self._show(share, made, heappush)

    def _show(self, share: float, queue: Queue[T], put: Callable[[list[Head[T]], Head[T]], object]) -> None:
        due, order, _ = queue[0]
        put(self._heads, (due, order, share, queue))
