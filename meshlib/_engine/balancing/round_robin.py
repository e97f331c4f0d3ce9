"""ROUND_ROBIN: plain rotation from a random start; weighted hosts by EDF."""

from __future__ import annotations

from typing import Generic

from meshlib._engine.balancing.base import HostT
from meshlib._random import Chance

__all__ = ["Rotation"]


class Rotation(Generic[HostT]):
    """Equal hosts in turn."""

    __slots__ = ("_hosts", "_next")

    def __init__(self, hosts: tuple[HostT, ...], chance: Chance) -> None:
        self._hosts = hosts
        self._next = int(chance.random() * len(hosts))

    def pick(self) -> HostT | None:
        """The host after the last one."""
        hosts = self._hosts
        if not hosts:
            return None
        index = self._next
        self._next = index + 1 if index + 1 < len(hosts) else 0
        return hosts[index]
