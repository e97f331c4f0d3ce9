"""RANDOM: uniform over the hosts, whatever their weights (Envoy's random balancer ignores them)."""

from __future__ import annotations

from typing import Generic

from meshlib._engine.balancing.base import HostT
from meshlib._random import Chance

__all__ = ["RandomPicks"]


class RandomPicks(Generic[HostT]):
    """Independent uniform draws."""

    __slots__ = ("_draw", "_hosts")

    def __init__(self, hosts: tuple[HostT, ...], chance: Chance) -> None:
        self._hosts = hosts
        self._draw = chance.random

    def pick(self) -> HostT | None:
        """Any host."""
        hosts = self._hosts
        return hosts[int(self._draw() * len(hosts))] if hosts else None
