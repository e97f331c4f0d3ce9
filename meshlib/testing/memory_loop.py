"""An event loop on virtual time that owns no socket: what simulations run on.

Where :class:`meshlib.testing.VirtualLoop` still has a selector, so that loopback servers
work, this one has nothing to wait for but its own timers: an idle moment is a jump of the
clock. It waits in real time only for threads that have work of the simulation to do.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import Future
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

from meshlib.errors import MeshError
from meshlib.testing.clock import VirtualClock

__all__ = ["MemoryLoop", "StuckError"]


class StuckError(MeshError):
    """The simulation waits for something that nothing will bring about: a hanging upstream without a timeout, say."""


class MemoryLoop(asyncio.BaseEventLoop):
    """An event loop whose time is ``clock``. Connections, servers and signals do not exist in it."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self._selector = _Jumps(self)  # what BaseEventLoop asks for events
        self.blocking: object = None  # what joins blocking code with it

    run_blocking: Callable[[Callable[[], Any]], Coroutine[Any, Any, Any]]
    """Runs a function in a thread that takes part in virtual time."""

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Future[Any]:  # type: ignore[override]
        """A function for a pool of threads gets one of its own, so that the order of everything stays the same."""
        if executor is None or isinstance(executor, ThreadPoolExecutor):
            return self.create_task(self.run_blocking(partial(func, *args)))
        return super().run_in_executor(executor, func, *args)

    def time(self) -> float:
        """The clock's."""
        return self.clock.monotonic()

    @property
    def selector(self) -> _Jumps:
        """Where the clock jumps."""
        return self._selector

    def __del__(self) -> None:
        """It holds nothing of the system: one that was forgotten needs no warning."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no events but timers and callbacks."""

    def _write_to_self(self) -> None:
        """Another thread has something to do: wake up."""
        self._selector.alarm.set()


class _Jumps:
    """In place of a selector: lets virtual time pass instead of waiting."""

    def __init__(self, loop: MemoryLoop) -> None:
        self._clock = loop.clock
        self.alarm = threading.Event()
        self.busy_threads: Callable[[], int] = lambda: 0
        """How many threads do work of the simulation just now, so that its clock must stand still."""

    def select(self, timeout: float | None = None) -> tuple[()]:
        """Jump by ``timeout`` seconds; None: there is no timer to jump to."""
        if self.alarm.is_set():
            self.alarm.clear()
            return ()
        if timeout == 0:
            return ()
        if self.busy_threads():
            self.alarm.wait(_PATIENCE)
            self.alarm.clear()
        elif timeout is None:
            raise StuckError(
                "the simulation is stuck: every call waits, and no timer is set that could end that; "
                "an upstream that hangs needs a timeout in the configuration or in the caller"
            )
        else:
            self._clock.advance(timeout)
        return ()

    def close(self) -> None:
        """Nothing is held."""


# Real seconds after which a thread that works is looked at again; it wakes the loop itself when it is done.
_PATIENCE = 0.05
