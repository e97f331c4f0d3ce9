"""LEAST_REQUEST: the less busy of two random hosts (the same one may be drawn twice, as in Envoy).

Weighted hosts go by EDF with the weight ``weight / (active + 1)`` (active request bias 1.0).
"""

from __future__ import annotations

from typing import Generic

from meshlib._engine.balancing.base import Host, HostT
from meshlib._random import Chance

__all__ = ["TwoChoices", "weight_by_activity"]


class TwoChoices(Generic[HostT]):
    """Power of two choices over equal hosts."""

    __slots__ = ("_count", "_draw", "_hosts")

    def __init__(self, hosts: tuple[HostT, ...], chance: Chance) -> None:
        self._hosts = hosts
        self._count = len(hosts)
        self._draw = chance.random

    def pick(self) -> HostT | None:
        """The less busy of two draws; the first wins a tie."""
        count = self._count
        if count <= 1:
            return self._hosts[0] if count else None
        draw = self._draw
        first = self._hosts[int(draw() * count)]
        index = int(draw() * count)
        if not first.active:  # nobody is less busy: the second one need not even be looked at
            return first
        second = self._hosts[index]
        return second if second.active < first.active else first


def weight_by_activity(host: Host) -> float:
    """A host's weight, lowered by what it is busy with."""
    return host.endpoint.weight / (host.active + 1)
