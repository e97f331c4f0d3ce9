"""The admin interface on a port of its own, with nothing but aiohttp: for commands, and for processes without ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from meshlib.admin.asgi import Interface

__all__ = ["serve_admin"]


@asynccontextmanager
async def serve_admin(app: Interface, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve ``app`` on the running loop while the context is open; gives the URL of its page.

    ``port`` 0 takes a free one. Raises OSError if the port is taken.
    """
    # A stream whose client goes away is cancelled at once; one that is open holds up the end for half a second.
    server = web.Server(_Handler(app), access_log=None, handler_cancellation=True)
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address = runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        yield f"http://{shown}:{address[1]}/"
    finally:
        await runner.cleanup()


class _Handler:
    """Speaks ASGI to the application, as far as it needs."""

    def __init__(self, app: Interface) -> None:
        self._app = app

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = _Exchange(request)
        await self._app(_scope(request), exchange.receive, exchange.send)
        assert exchange.response is not None
        return exchange.response


def _scope(request: web.BaseRequest) -> dict[str, Any]:
    transport = request.transport
    return {
        "type": "http",
        "method": request.method,
        "path": request.rel_url.path,
        "query_string": request.rel_url.raw_query_string.encode(),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": None if transport is None else transport.get_extra_info("peername"),
    }


class _Exchange:
    """One request and its response."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._is_read = False
        self.response: web.StreamResponse | None = None

    async def receive(self) -> dict[str, Any]:
        if not self._is_read:
            self._is_read = True
            parts = self._request.content
            body = b"" if not self._request.body_exists else await parts.readany()
            more = self._request.body_exists and not parts.at_eof()
            self._is_read = not more
            return {"type": "http.request", "body": body, "more_body": more}
        await asyncio.Future()  # aiohttp cancels the handler when the client goes away
        raise AssertionError

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
            self.response = web.StreamResponse(status=message["status"], headers=dict(headers))
            await self.response.prepare(self._request)
            return
        assert self.response is not None
        if message.get("body"):
            await self.response.write(message["body"])
        if not message.get("more_body", False):
            await self.response.write_eof()
