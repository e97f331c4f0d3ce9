"""Time as an input. The engine never asks the system for it."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What the engine needs to know of time."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences have a meaning."""
        ...

    def time(self) -> float:
        """Seconds since the Unix epoch, for token expiry and log lines."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    # Bound to the C functions: a call through a Python method would cost twice as much.
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def __repr__(self) -> str:
        return "<SystemClock>"
