"""Visitors who ask for their account: with a token, with a forged one, and with none."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import Final

import aiohttp

from meshlib.cli.demo.issuer import Issuer
from meshlib.cli.demo.ledger import FORGED, NO_TOKEN, VALID, Ledger

__all__ = ["ACCOUNT", "Members"]

ACCOUNT: Final = "/account"
_URL: Final = f"http://productpage:9080{ACCOUNT}"
_PAUSE: Final = 0.1


class Members:
    """Asks again and again through ``session`` until ``closing`` is set."""

    def __init__(self, session: aiohttp.ClientSession, ledger: Ledger, closing: asyncio.Event, issuer: Issuer) -> None:
        self._session = session
        self._ledger = ledger
        self._closing = closing
        self._headers = {
            VALID: {"authorization": f"Bearer {issuer.token('jason')}"},
            FORGED: {"authorization": f"Bearer {issuer.token('jason', is_forged=True)}"},
            NO_TOKEN: {},
        }

    async def run(self) -> None:
        """One request after the other, of each kind in turn."""
        for kind in cycle(self._headers):
            if self._closing.is_set():
                return
            await self._ask(kind)
            await asyncio.sleep(_PAUSE)

    async def _ask(self, kind: str) -> None:
        try:
            async with self._session.get(_URL, headers=self._headers[kind]) as response:
                self._ledger.record_account(kind, response.status, await response.text())
        except (aiohttp.ClientError, TimeoutError) as error:
            self._ledger.record_account(kind, 0, str(error))
