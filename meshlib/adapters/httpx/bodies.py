"""Bodies in both directions: requests that know whether they were read, responses that tell when they are over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

from meshlib._engine.commands import Reply
from meshlib._engine.exchange import Exchange
from meshlib._engine.good_responses import Tape, Taped
from meshlib._http import Response
from meshlib._outbound.attempt import Attempt

if TYPE_CHECKING:
    from meshlib.adapters.httpx.packages import Package

__all__ = ["AsyncBody", "Body", "Tracked", "start_tape"]


class Tracked:
    """The stream of a request; ``is_begun`` once a part of it was read."""

    __slots__ = ("_stream", "is_begun")

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.is_begun = True
        return iter(self._stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.is_begun = True
        iterator: AsyncIterator[bytes] = self._stream.__aiter__()
        return iterator


class _TapedStream:
    """A response's body, of which a tape is made as it is read."""

    def __init__(self, stream: Any, tape: Tape) -> None:
        self._stream = stream
        self._tape = tape

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._tape.feed(part)
            yield part
        self._tape.keep()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._tape.feed(part)
            yield part
        self._tape.keep()

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def start_tape(reply: Reply) -> TypeGuard[Response]:
    """Take down the body of a response that may have to stand in for a later one; False where there is none."""
    if not isinstance(reply, Taped):
        return False
    reply.handle.stream = _TapedStream(reply.handle.stream, reply.tape)
    return True


class Body:
    """A response's body on its way; the request counts until it is over or closed."""

    def __init__(self, package: Package, stream: Any, attempt: Attempt) -> None:
        self._package = package
        self._stream = stream
        self._attempt = attempt

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except Exception as error:
            self._attempt.is_broken = not self._attempt.is_impatient
            found = self._package.translate(error)
            if found is error:
                raise
            raise found from error
        self._attempt.end()

    def close(self) -> None:
        """Let go of it."""
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()
        self._attempt.end()

    def __del__(self) -> None:
        self._attempt.end()


class AsyncBody:
    """The same for asyncio. The timeout of the route ends it in the middle."""

    def __init__(self, package: Package, stream: Any, attempt: Attempt, exchange: Exchange) -> None:
        self._package = package
        self._stream = stream
        self._attempt = attempt
        left = exchange.time_left
        self._deadline = None if left is None else asyncio.get_running_loop().time() + left

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts = self._stream if self._deadline is None else self._in_time()
        try:
            async for part in parts:
                yield part
        except Exception as error:
            self._fail(error)
            raise
        self._attempt.end()

    async def _in_time(self) -> AsyncIterator[bytes]:
        iterator = self._stream.__aiter__()
        while True:
            limit = asyncio.timeout_at(self._deadline)
            try:
                async with limit:
                    part = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if not limit.expired():
                    raise
                self._attempt.is_expired = True
                text = "the timeout of the route ended before the response's body"
                raise self._package.api.ReadTimeout(text) from error
            yield part

    def _fail(self, error: Exception) -> None:
        """Raise what httpx's users know, unless that is what was raised."""
        self._attempt.is_broken = not isinstance(error, self._package.core.TimeoutException)
        found = self._package.translate(error)
        if found is not error:
            raise found from error

    async def aclose(self) -> None:
        """Let go of it."""
        try:
            close = getattr(self._stream, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._attempt.end()

    def __del__(self) -> None:
        self._attempt.end()
