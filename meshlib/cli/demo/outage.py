"""A server that breaks and is repaired, again and again, so that retries and ejection have something to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Final

from meshlib.cli.demo.expectations import Promise
from meshlib.cli.demo.ledger import Ledger
from meshlib.cli.demo.servers import Server

__all__ = ["OutageDrill"]

_LONGEST: Final = 3.0
"""Seconds after which a broken server is repaired even if nobody ejected it."""
_SHOWN: Final = 0.3
"""Seconds that it stays broken while ejected, so that the others are seen to carry on without it."""


class OutageDrill:
    """Breaks a server of the busiest version of a service, awaits its ejection, repairs it, awaits its return."""

    def __init__(self, servers: Sequence[Server], promise: Promise, ledger: Ledger) -> None:
        share = max(promise.shares, key=lambda share: share.ratio, default=None)
        versions = () if share is None else share.versions
        self._servers = [one for one in servers if one.service == promise.service and one.version in versions]
        self._ledger = ledger
        outlier = promise.outlier
        self._out_for = 0.0 if outlier is None else outlier.base_ejection_time + 2 * outlier.interval
        self.outages: list[Server] = []
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self, *, start: float, pause: float, is_late: Callable[[], bool]) -> None:
        """Begin after ``start`` seconds; outages follow each other ``pause`` seconds apart until it is late."""
        await asyncio.sleep(start)
        for server in cycle(self._servers):
            if is_late():
                return
            self._idle.clear()
            await self._break(server)
            self._idle.set()
            await asyncio.sleep(pause)

    async def finish(self, longest: float) -> None:
        """Wait until the outage that has begun is over, at most ``longest`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), longest)

    async def _break(self, server: Server) -> None:
        ledger = self._ledger
        if server not in self.outages:
            self.outages.append(server)
        server.is_broken = True
        ledger.note(f"{server.name} breaks: 503 to everything", is_bad=True)
        await self._wait(lambda: server.address in ledger.ejected, _LONGEST)
        await asyncio.sleep(_SHOWN)
        server.is_broken = False
        ledger.note(f"{server.name} is repaired")
        await self._wait(lambda: server.address not in ledger.ejected, self._out_for)

    async def _wait(self, condition: Callable[[], bool], longest: float) -> None:
        """Wait until the condition on ejections holds, at most ``longest`` seconds."""
        moved = self._ledger.moved
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                while not condition():
                    moved.clear()
                    await moved.wait()
