"""An asyncio event loop on virtual time: an idle wait becomes a jump to the next timer.

Three hours of back-off take a millisecond, in the same order every time. Loopback
sockets work: as long as any is open, they get a moment of real time to speak before
the clock jumps.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from meshlib.testing.clock import VirtualClock

__all__ = ["VirtualLoop", "run_virtual"]

T = TypeVar("T")

# Real seconds that open sockets get before a jump: far above a loopback round trip.
_GRACE = 0.02


class _JumpingSelector(selectors.BaseSelector):
    """Passes everything on, but lets virtual time pass instead of waiting."""

    def __init__(self, clock: VirtualClock) -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        # The loop's own self-pipe is always registered; more than that are sockets in use.
        if len(self.get_map()) > 1 or timeout is None:
            ready = self._real.select(_GRACE if timeout is not None else None)
            if ready:
                return ready
        if timeout is not None:
            self._clock.advance(timeout)
        return ready

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is ``clock``; give the same clock to ``Mesh.load``."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        super().__init__(_JumpingSelector(self.clock))

    def time(self) -> float:
        """The clock's."""
        return self.clock.monotonic()


def run_virtual(main: Coroutine[Any, Any, T], clock: VirtualClock | None = None) -> T:
    """Like :func:`asyncio.run`, on virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main)
