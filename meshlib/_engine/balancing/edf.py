"""Earliest deadline first: weighted picks without repetition of the heavy hosts.

Rules (Envoy's EDF scheduler): a host of weight w comes due every 1/w; the host that
is due first is picked and comes back 1/w later. Ties go in the order of insertion.
The schedule starts at a random point, so that many processes that start together do
not all begin with the same host.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic

from meshlib._engine.balancing.base import HostT
from meshlib._random import Chance

__all__ = ["EdfSchedule"]


class EdfSchedule(Generic[HostT]):
    """A schedule over hosts whose weight is asked for anew at each pick."""

    __slots__ = ("_due", "_now", "_order", "_weight")

    def __init__(self, hosts: tuple[HostT, ...], weight: Callable[[HostT], float], chance: Chance) -> None:
        self._weight = weight
        self._order = len(hosts)
        self._now = 0.0
        self._due = [(1.0 / weight(host), order, host) for order, host in enumerate(hosts)]
        heapq.heapify(self._due)
        for _ in range(int(chance.random() * len(hosts))):
            self.pick()

    def pick(self) -> HostT | None:
        """The host that is due first."""
        if not self._due:
            return None
        self._now, _, host = self._due[0]
        self._order += 1
        heapq.heapreplace(self._due, (self._now + 1.0 / self._weight(host), self._order, host))
        return host
