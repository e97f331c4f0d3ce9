"""How many attempts were started lately: what a retry budget with ``budgetInterval`` is a share of."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["AttemptWindow"]

_SLOTS: Final = 20


class AttemptWindow:
    """Counts over a window that slides by a twentieth of itself. Guarded by who owns it."""

    __slots__ = ("_slots", "_total", "_width", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._width = seconds / _SLOTS
        self._slots: deque[list[int]] = deque()  # number of the slot, how many
        self._total = 0

    def add(self, now: float) -> None:
        """One more."""
        number = self._forget(now)
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append([number, 0])
        self._slots[-1][1] += 1
        self._total += 1

    def count(self, now: float) -> int:
        """How many there were within the window."""
        self._forget(now)
        return self._total

    def _forget(self, now: float) -> int:
        """Let go of what is too old; the number of the slot that is current."""
        number = int(now / self._width)
        while self._slots and self._slots[0][0] <= number - _SLOTS:
            self._total -= self._slots.popleft()[1]
        return number

    def __repr__(self) -> str:
        return f"<AttemptWindow {self._total} in {self.seconds:g}s>"
