"""A uvicorn that stops although clients keep TLS connections open."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import uvicorn

__all__ = ["Server"]

_GOODBYE: Final = 2.0
"""Seconds that a client has to answer the end of a connection that has nothing left to carry."""


class Server(uvicorn.Server):
    """Closes connections for good.

    A TLS connection that is closed waits for the client's own goodbye, for half a minute in asyncio. Clients that keep
    idle connections send none until they use them again, and Kubernetes kills what has not stopped after half a minute.
    """

    goodbye = _GOODBYE

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does: requests are answered to their end."""
        cutting = asyncio.ensure_future(self._cut_off())
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    async def _cut_off(self) -> None:
        """Give up the connections that had nothing to carry when the server began to stop."""
        transports = [getattr(one, "transport", None) for one in self.server_state.connections]
        closing = [one for one in transports if one is not None and one.is_closing()]
        await asyncio.sleep(self.goodbye)
        for transport in closing:
            transport.abort()
