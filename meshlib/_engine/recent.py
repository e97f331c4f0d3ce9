"""A bounded memory of what was used lately, without a lock and without a list to keep in order."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most ``most`` entries, in two halves: what is found in the older one moves to the newer one.

    When the newer half is full it becomes the older one, and what nobody has asked for
    since then is gone. Who is in a hurry looks into ``newer`` first. Threads may use it at
    the same time: each step is one operation of a dictionary, and the worst that can
    happen is that something is forgotten early.
    """

    __slots__ = ("_half", "_older", "newer")

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self.newer: dict[K, V] = {}
        self._older: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """What is remembered under a key; None if nothing is."""
        found = self.newer.get(key)
        return self.recover(key) if found is None and self._older else found

    def recover(self, key: K) -> V | None:
        """As :meth:`get`, of what is not in ``newer``."""
        found = self._older.get(key) if self._older else None
        if found is not None:
            self.keep(key, found)
        return found

    def keep(self, key: K, value: V) -> None:
        """Remember something."""
        newer = self.newer
        if len(newer) >= self._half:
            self._older, newer = newer, {}
            self.newer = newer
        newer[key] = value

    def drop(self, key: K) -> None:
        """Forget something, if it is remembered."""
        self.newer.pop(key, None)
        self._older.pop(key, None)

    def __len__(self) -> int:
        return len(self.newer) + len(self._older)

    def __repr__(self) -> str:
        return f"<Recent entries={len(self)}>"
