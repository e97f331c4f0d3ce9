"""Mirrored copies: sent in the background through the session's own connector, bounded, their replies dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from aiohttp.payload import BytesPayload
from multidict import CIMultiDict
from yarl import URL

from meshlib._engine.commands import Copy
from meshlib._outbound.mirrors import LONGEST_REPLY
from meshlib._outbound.tls import Handshake

__all__ = ["Mirrors"]

_MOST: Final = 128
_SECONDS: Final = 30.0  # a copy that nobody waits for must not stay for ever
_FRAMING: Final = ("Content-Length", "Transfer-Encoding", "Expect")
_AUTOMATIC: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Mirrors:
    """The copies of one session that are on their way; above a limit further ones are left out."""

    __slots__ = ("_session", "_tasks", "dropped")

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.dropped = 0

    def start(self, request: aiohttp.ClientRequest, copy: Copy, scheme: str, shake: Handshake | None = None) -> None:
        """Send a copy. One that cannot be made (a streamed body) or has no room is left out, as in Envoy."""
        body = request.body
        connector = request.session.connector
        if len(self._tasks) >= _MOST or connector is None or (body and not isinstance(body, BytesPayload)):
            self.dropped += 1
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
            )
            self._session._retry_connection = False  # a mirror that hangs up would get the copy a second time
        path, _, query = (copy.path or request.original_url.raw_path_qs).partition("?")
        url = URL.build(
            scheme=scheme,
            host=copy.endpoint.address,
            port=copy.endpoint.port,
            path=path,
            query_string=query,
            encoded=True,
        )
        headers = CIMultiDict(request.headers)
        for name in _FRAMING:
            headers.popall(name, None)
        headers.update(copy.headers)
        server_name = request.original_url.raw_host if scheme == "https" else None
        secured: dict[str, Any] = {"server_hostname": server_name}
        if shake is not None:
            secured = {"server_hostname": shake.server_name, "ssl": shake.context}
        send = self._send(self._session, request.method, url, headers, body, secured)
        task = asyncio.get_running_loop().create_task(send)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        headers: CIMultiDict[str],
        body: object,
        secured: Mapping[str, Any],
    ) -> None:
        data = await body.as_bytes() if isinstance(body, BytesPayload) else None
        try:
            async with session.request(
                method,
                url,
                headers=headers,
                data=data,
                allow_redirects=False,
                skip_auto_headers=_AUTOMATIC,
                **secured,
            ) as response:
                left = LONGEST_REPLY
                while left > 0 and (part := await response.content.readany()):
                    left -= len(part)
        except (aiohttp.ClientError, OSError):
            self.dropped += 1

    async def close(self) -> None:
        """End what is still on its way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._session is not None:
            await self._session.close()
