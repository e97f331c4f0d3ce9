"""Chance as an input. Weights, faults, jitter, picks and ids draw from one injected generator."""

from __future__ import annotations

import random
from typing import Protocol

__all__ = ["Chance", "branch", "reseed", "system_chance"]


class Chance(Protocol):
    """A source of uniform draws; :class:`random.Random` is one."""

    def random(self) -> float:
        """Uniform in [0.0, 1.0)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """``k`` uniform bits, for request ids."""
        ...


def system_chance(seed: int | None = None) -> Chance:
    """A generator of its own, seeded by the operating system unless ``seed`` is given."""
    return random.Random(seed)


def branch(chance: Chance) -> Chance:
    """A generator of its own, seeded by ``chance``: what is drawn from one does not move the draws of the other."""
    return random.Random(chance.getrandbits(64))


def reseed(chance: Chance) -> None:
    """Give a generator of :func:`system_chance` a new state: a forked child draws what its parent draws otherwise."""
    if isinstance(chance, random.Random):
        chance.seed()
