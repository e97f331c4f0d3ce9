"""A clock that moves only when told."""

from __future__ import annotations

__all__ = ["VirtualClock"]


class VirtualClock:
    """A :class:`meshlib._clock.Clock` for tests; starts at 0.0 seconds and at ``epoch`` (Unix time)."""

    def __init__(self, *, epoch: float = 1_767_225_600.0) -> None:
        self._now = 0.0
        self._epoch = epoch

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._now

    def time(self) -> float:
        """Unix time: ``epoch`` plus what has passed."""
        return self._epoch + self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass. Raises ValueError for a negative step: time does not go back."""
        if seconds < 0:
            raise ValueError(f"cannot advance by {seconds} s: time does not go back")
        self._now += seconds

    def __repr__(self) -> str:
        return f"<VirtualClock {self._now:.3f}s>"
