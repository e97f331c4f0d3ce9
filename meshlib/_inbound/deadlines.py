"""How long an answer from outside may still take: all of it has one deadline, however the time is spent."""

from __future__ import annotations

import time

__all__ = ["time_left"]


def time_left(deadline: float) -> float:
    """Seconds until a deadline of the monotonic clock; raises :class:`TimeoutError` when it is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer takes too long")
    return left
