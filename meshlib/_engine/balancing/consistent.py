"""Consistent hashing, pick for pick as Envoy does it: ring hash and Maglev (semantics 4.2).

Both tables are made when the hosts change, never while a request waits. A request
without a hash goes to a random entry. The hash is xxHash64; the weights of the hosts
are normalised to their sum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil
from typing import Final, Generic

from meshlib._engine.balancing.base import HostT
from meshlib._engine.xxh64 import xxh64
from meshlib._random import Chance

__all__ = ["HashTable", "maglev", "ring_hash"]

_MASK: Final = 2**64 - 1
_MAX_RING: Final = 8 * 1024 * 1024


class HashTable(Generic[HostT]):
    """Hosts by slot. ``bounds`` are the sorted hashes of a ring; without them the slot is the hash modulo the size."""

    __slots__ = ("_bounds", "_chance", "_slots")

    def __init__(self, slots: list[HostT], bounds: list[int] | None, chance: Chance) -> None:
        self._slots = slots
        self._bounds = bounds
        self._chance = chance

    def pick(self) -> HostT | None:
        """A host for a request that has no hash: any."""
        return self.pick_by(self._chance.getrandbits(64))

    def pick_by(self, value: int, attempt: int = 0) -> HostT | None:
        """The host of a hash; pick number ``attempt`` (from 0) finds others, for a retry that avoids hosts."""
        slots, bounds = self._slots, self._bounds
        if not slots:
            return None
        if bounds is None:
            # Envoy flips most bits, so that another pick is far away.
            return slots[(value ^ (-attempt & _MASK)) % len(slots)]
        return slots[(bisect_left(bounds, value) % len(slots) + attempt) % len(slots)]


def ring_hash(
    hosts: tuple[HostT, ...], minimum_size: int, chance: Chance, weights: Sequence[float] | None = None
) -> HashTable[HostT]:
    """A ring where a host of weight w stands about ``scale × w`` times, under ``<address>_<number>``.

    ``weights`` are those of the hosts in place of their own, normalised already.
    """
    if not hosts:
        return HashTable([], [], chance)
    weights = _normalised(hosts) if weights is None else weights
    least = min(weights)
    scale = min(ceil(least * minimum_size) / least, float(_MAX_RING))
    ring: list[tuple[int, int]] = []
    target = 0.0
    for index, host in enumerate(hosts):
        target += scale * weights[index]
        number = 0
        while len(ring) < target:
            ring.append((xxh64(f"{host.endpoint.key}_{number}".encode()), index))
            number += 1
    ring.sort()
    return HashTable([hosts[index] for _, index in ring], [value for value, _ in ring], chance)


def maglev(
    hosts: tuple[HostT, ...], size: int, chance: Chance, weights: Sequence[float] | None = None
) -> HashTable[HostT]:
    """A table of ``size`` (a prime) slots that the hosts fill in turn, each along its own permutation."""
    if not hosts:
        return HashTable([], None, chance)
    given = _normalised(hosts) if weights is None else weights
    pairs = sorted(zip(hosts, given, strict=True), key=lambda pair: pair[0].endpoint.key)
    ordered, weights = [host for host, _ in pairs], [weight for _, weight in pairs]
    heaviest = max(weights)
    keys = [host.endpoint.key.encode() for host in ordered]
    at = [xxh64(key) % size for key in keys]
    skip = [xxh64(key, 1) % (size - 1) + 1 for key in keys]
    targets = [0.0] * len(ordered)
    slots: list[HostT | None] = [None] * size
    filled, turn = 0, 1
    while filled < size:
        for index, host in enumerate(ordered):
            if filled == size:
                break
            if turn * weights[index] < targets[index]:
                continue  # it has had its share of this turn already
            targets[index] += heaviest
            slot = at[index]
            while slots[slot] is not None:
                slot = (slot + skip[index]) % size
            slots[slot] = host
            at[index] = (slot + skip[index]) % size
            filled += 1
        turn += 1
    return HashTable([host for host in slots if host is not None], None, chance)


def _normalised(hosts: tuple[HostT, ...]) -> list[float]:
    total = sum(host.endpoint.weight for host in hosts)
    return [host.endpoint.weight / total for host in hosts]
