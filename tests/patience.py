"""How long tests wait: for what has to come as long as it takes, and never for a machine to be quick.

What is waited for has ``PATIENCE`` seconds, which nothing but a hang uses up. Where a timeout of the
mesh has to run out *after* something else has happened, no one figure is right for every machine:
such a test goes through ``PACES``, from short to long, until the machine kept up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

__all__ = ["PACES", "PATIENCE", "until", "wait_until"]

PATIENCE = 100.0
PACES = (0.3, 3.0, 30.0)


async def until(condition: Callable[[], object]) -> None:
    """Until other tasks, threads or processes have brought something about."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody could set an event
            await asyncio.sleep(0.002)


def wait_until(condition: Callable[[], object]) -> None:
    """The same for code without a loop."""
    turns = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        turns.wait(0.005)
    message = "it did not come to that"
    raise TimeoutError(message)
