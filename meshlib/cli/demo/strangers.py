"""Callers that the mesh does not let in: one without mutual TLS, and one whose identity no policy names."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import aiohttp

from meshlib.cli.demo.ledger import PLAINTEXT, WRONG_ACCOUNT, Ledger
from meshlib.cli.demo.servers import Server

__all__ = ["Strangers"]

_PAUSE: Final = 0.5
_PATIENCE: Final = 30.0


class Strangers:
    """Tries the door of ``server`` again and again until ``closing`` is set.

    Without TLS, as somebody outside of the mesh would, and with the certificate in
    ``context``, which is of the mesh but not of an account that may come in. Neither has
    a mesh of its own: no rule of the demo changes what they send.
    """

    def __init__(self, ledger: Ledger, closing: asyncio.Event, server: Server, context: ssl.SSLContext) -> None:
        self._ledger = ledger
        self._closing = closing
        self._server = server
        self._context = context

    async def run(self) -> None:
        """One try after the other."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE)) as session:
            while not self._closing.is_set():
                await self._ask(session, PLAINTEXT, "http")
                await self._ask(session, WRONG_ACCOUNT, "https")
                await asyncio.sleep(_PAUSE)

    async def _ask(self, session: aiohttp.ClientSession, kind: str, scheme: str) -> None:
        try:
            url = f"{scheme}://{self._server.address}/ratings/0"
            async with session.get(url, ssl=self._context) as response:
                self._ledger.record_stranger(kind, response.status, await response.text())
        except (aiohttp.ClientError, TimeoutError):
            self._ledger.record_stranger(kind, 0, "the connection is closed")
