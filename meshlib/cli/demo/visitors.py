"""The traffic: visitors who ask for the page at a steady pace; every sixth of them is jason."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp

from meshlib.cli.demo.ledger import EVERYONE, JASON, Ledger

__all__ = ["PACE", "Visitors"]

PACE: Final = 80.0
"""Pages a second."""
_JASON_IS_EVERY: Final = 6
_URL: Final = "http://productpage:9080/productpage"
_CROWD: Final = 64
"""Visitors at the same time; a slow machine lowers the pace, it does not pile them up."""


class Visitors:
    """Asks for pages through ``session``, the governed session of a client workload, until ``closing`` is set."""

    def __init__(self, session: aiohttp.ClientSession, ledger: Ledger, closing: asyncio.Event) -> None:
        self._session = session
        self._ledger = ledger
        self._closing = closing
        self._crowd = asyncio.Semaphore(_CROWD)

    async def run(self) -> None:
        """Send visitors at the pace; returns when the last one has an answer."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            due = loop.time()
            while not self._closing.is_set():
                await self._crowd.acquire()
                group.create_task(self._visit())
                due = max(due + 1 / PACE, loop.time() - 1 / PACE)
                await asyncio.sleep(due - loop.time())

    async def _visit(self) -> None:
        ledger = self._ledger
        user = JASON if ledger.sent % _JASON_IS_EVERY == 0 else EVERYONE
        ledger.sent += 1
        try:
            status, page = await self._get_page({"end-user": JASON} if user == JASON else {})
            ledger.record_page(user, status, page)
        finally:
            self._crowd.release()

    async def _get_page(self, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        try:
            async with self._session.get(_URL, headers=headers) as response:
                return response.status, await response.json() if response.status == 200 else {}
        except (aiohttp.ClientError, TimeoutError) as error:
            self._ledger.note(f"a page was lost: {error}", is_bad=True)
            return 0, {}
