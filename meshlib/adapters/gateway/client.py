"""The client's side of a request: its body as it comes, kept as far as it may be sent again, and its going away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeAlias

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

__all__ = ["Client", "Message", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_REPLAYED: Final = 1 << 20
"""Bodies up to this size are kept, so that a retry can send them again: Envoy's limit for a connection's buffer."""


class Client:
    """One request's sender. As a context, it ends the task that serves the request when the client goes away."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[bytes] = []
        self._size = 0
        self._whole = asyncio.Event()
        self._served = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._is_gone = False
        self.is_cut = False
        """Parts of the body that were sent are not kept any more: it cannot be sent again."""

    async def __aenter__(self) -> Self:
        self._watch = asyncio.ensure_future(self._until_gone())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._watch is not None:
            self._watch.cancel()
        if self._is_gone and kind is asyncio.CancelledError and self._served is not None:
            self._served.uncancel()
            return True
        return False

    async def peek(self, limit: int) -> bytes:
        """The first bytes of the body, one more than ``limit`` if there are more; it still is sent whole."""
        while self._size <= limit and not self._whole.is_set():
            await self._take()
        return b"".join(self._kept)[: limit + 1]

    async def data(self, length: str | None) -> bytes | Payload | None:
        """The body for the next hop: None without one, bytes if it is small and its length declared, else a stream."""
        is_small = length is not None and length.isdecimal() and int(length) <= _REPLAYED
        while not self._whole.is_set() and (is_small or not self._kept):
            await self._take()
        if not self._whole.is_set() or self._size > _REPLAYED:
            return _Body(self)
        return b"".join(self._kept) or (b"" if length is not None else None)

    async def parts(self) -> AsyncIterator[bytes]:
        """The body from its beginning; what has been sent is kept up to a limit."""
        sent = 0
        while sent < len(self._kept) or not self._whole.is_set():
            if sent == len(self._kept):
                await self._take()
                continue
            sent += 1
            yield self._kept[sent - 1]
            if self._size > _REPLAYED:
                self.is_cut = True
                del self._kept[:sent]
                sent = 0

    async def _take(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            await self._leave()
        part = message.get("body", b"")
        if part:
            self._kept.append(part)
            self._size += len(part)
        if not message.get("more_body", False):
            self._whole.set()

    async def _until_gone(self) -> None:
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        await self._leave()

    async def _leave(self) -> NoReturn:
        """End the serving of the request; who asked for more of it waits until it is ended too."""
        if not self._is_gone and self._served is not None:
            self._is_gone = True
            self._served.cancel()
        await asyncio.get_running_loop().create_future()
        raise AssertionError


class _Body(Payload):
    """A streamed body, which can be sent again as long as all of it is kept."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._client = client

    @property
    def consumed(self) -> bool:
        """Whether it cannot be sent again."""
        return self._client.is_cut

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Not for a body that streams through."""
        raise TypeError("the body of a request that a gateway passes on is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send it from its beginning."""
        async for part in self._client.parts():
            await writer.write(part)
