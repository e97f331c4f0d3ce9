"""Tier, then locality, then endpoint: how a pick comes about where failover tiers or locality weights exist.

All arithmetic is done when the health of an endpoint changes; a pick draws a slot of
a hundred, which names the tier, asks its localities in turn by their weights, and lets
the balancer of the locality choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from meshlib._engine.balancing.base import Balancer, HostT
from meshlib._engine.balancing.consistent import HashTable
from meshlib._engine.balancing.edf import EdfSchedule
from meshlib._engine.balancing.loads import TierSize, avoid_tiers
from meshlib._random import Chance

__all__ = ["TieredBalancer", "WeightedLocalities"]


class WeightedLocalities(Generic[HostT]):
    """Localities of one tier by weight (Envoy schedules them by EDF), each with a balancer of its own."""

    __slots__ = ("_schedule",)

    def __init__(self, localities: Sequence[tuple[float, Balancer[HostT]]], chance: Chance) -> None:
        # A locality whose weight is 0 has nobody available: it is not scheduled.
        scheduled = tuple(entry for entry in localities if entry[0] > 0.0)
        self._schedule: EdfSchedule[tuple[float, Balancer[HostT]]] = EdfSchedule(scheduled, _weight, chance)

    def pick(self) -> HostT | None:
        """An endpoint of the locality whose turn it is."""
        entry = self._schedule.pick()
        return entry[1].pick() if entry is not None else None


def _weight(entry: tuple[float, object]) -> float:
    return entry[0]


class TieredBalancer(Generic[HostT]):
    """Failover tiers by load. With hash tables below it, a request's hash chooses its tier too."""

    __slots__ = ("_avoided", "_draw", "_sizes", "_slots", "_tiers", "is_hashing")

    def __init__(
        self, tiers: Sequence[Balancer[HostT]], sizes: Sequence[TierSize], loads: Sequence[int], chance: Chance
    ) -> None:
        self._tiers = tuple(tiers)
        self._sizes = tuple(sizes)
        self._slots = self._fill(loads)
        self._avoided: dict[frozenset[int], tuple[Balancer[HostT], ...]] = {}
        self._draw = chance.random
        self.is_hashing = any(isinstance(tier, HashTable) for tier in self._tiers)

    def _fill(self, loads: Sequence[int]) -> tuple[Balancer[HostT], ...]:
        """A hundred slots; none if nothing is available."""
        return tuple(tier for tier, load in zip(self._tiers, loads, strict=True) for _ in range(load))

    def pick(self) -> HostT | None:
        """An endpoint of the tier that the draw hits."""
        slots = self._slots
        return slots[int(self._draw() * 100)].pick() if slots else None

    def pick_by(self, value: int, attempt: int = 0) -> HostT | None:
        """The endpoint of a hash, which names the tier as well (``hash % 100``)."""
        if not self._slots:
            return None
        tier = self._slots[value % 100]
        return tier.pick_by(value, attempt) if isinstance(tier, HashTable) else tier.pick()

    def pick_beyond(self, tried: frozenset[int]) -> HostT | None:
        """An endpoint outside the tiers that were ``tried``; of any if nothing is available outside them."""
        slots = self._avoided.get(tried)
        if slots is None:
            loads = avoid_tiers(self._sizes, tried)
            slots = self._avoided[tried] = self._slots if loads is None else self._fill(loads)
        return slots[int(self._draw() * 100)].pick() if slots else None
