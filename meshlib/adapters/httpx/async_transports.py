"""The governed transport for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from meshlib._drivers import agovern
from meshlib._engine.commands import Copy, Send
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib._outbound.attempt import Attempt, current_attempt
from meshlib._outbound.mirrors import LONGEST_REPLY
from meshlib._outbound.tls import CredentialError, HasRuntime
from meshlib._timers import Timers
from meshlib.adapters.httpx.bodies import start_tape
from meshlib.adapters.httpx.exchanges import Beside, Head, failure
from meshlib.adapters.httpx.network import PendingOverflowError
from meshlib.adapters.httpx.packages import Package, default_package
from meshlib.adapters.httpx.pools import Target
from meshlib.adapters.httpx.shared import COPY_SECONDS, DRAIN_SECONDS, Shared, is_short, outcome

if TYPE_CHECKING:
    from httpx import AsyncBaseTransport
else:
    AsyncBaseTransport = default_package().api.AsyncBaseTransport

__all__ = ["AsyncMeshTransport"]

_MOST_COPIES: Final = 128


class AsyncMeshTransport(AsyncBaseTransport):
    """The same for :class:`httpx.AsyncClient`, on asyncio."""

    def __init__(
        self,
        mesh: HasRuntime,
        wrapped: Any = None,
        *,
        raise_on_refusal: bool = False,
        package: Package | None = None,
        **options: Any,
    ) -> None:
        self._shared = Shared(mesh, wrapped, package, raise_on_refusal=raise_on_refusal, is_async=True, **options)
        self._timers: tuple[asyncio.AbstractEventLoop, Timers] | None = None
        self._copies: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: Any) -> Any:
        """One exchange."""
        shared = self._shared
        head = shared.begin(request)
        sender = _AsyncSender(shared, head, self._copies)
        reply = await agovern(head.exchange, sender, self._loop_timers())
        if type(reply) is not Response and not start_tape(reply):
            return shared.local(reply, head.exchange)
        body = shared.package.async_body(shared.package, reply.handle.stream, head.attempt, head.exchange)
        response = shared.response(reply, head.exchange, body)
        head.attempt.begin_response(head.exchange)
        return response

    def _loop_timers(self) -> Timers:
        loop = asyncio.get_running_loop()
        if self._timers is None or self._timers[0] is not loop:
            self._timers = loop, Timers()
        return self._timers[1]

    async def aclose(self) -> None:
        """Close the connections, and the wrapped transport."""
        for task in self._copies:
            task.cancel()
        if self._copies:
            await asyncio.wait(self._copies)
        for pool in self._shared.pools.take_all():
            await pool.aclose()
        if self._shared.wrapped is not None:
            await self._shared.wrapped.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:  # fmt: skip
        await self.aclose()


class _AsyncSender:
    """Sends the attempts of one exchange; the driver cuts them off."""

    def __init__(self, shared: Shared, head: Head, copies: set[asyncio.Task[None]]) -> None:
        self._shared = shared
        self._head = head
        self._copies = copies

    async def send(self, send: Send) -> Outcome:
        shared, head = self._shared, self._head
        attempt = head.attempt_for(send, is_bounded=False)
        token = current_attempt.set(attempt)
        try:
            target = head.target(shared.originator, send.cluster, send.endpoint)
            if shared.wraps(target):
                handle = await shared.wrapped.handle_async_request(head.outer_request(target, send.path, None))
            else:
                pool = await self._pool(target)
                handle = await pool.handle_async_request(head.core_request(target, send.path, None))
        except CredentialError as error:
            return Failure(FailureKind.CONNECT_FAILURE, sent=False, error=error, detail=str(error))
        except (*shared.package.core_errors, shared.package.api.TransportError, PendingOverflowError) as error:
            return failure(shared.package, error, attempt)
        finally:
            current_attempt.reset(token)
        return outcome(handle)

    async def discard(self, response: Response) -> None:
        package, stream = self._shared.package, response.handle.stream
        try:
            if is_short(response):
                with contextlib.suppress(TimeoutError, *package.core_errors, package.api.TransportError):
                    async with asyncio.timeout(DRAIN_SECONDS):
                        async for _ in stream:  # if it fails it is closed
                            pass
        finally:
            await stream.aclose()

    def beside(self, headers: Headers) -> _AsyncSender | None:
        """For an attempt at the same time; None if the body is a stream."""
        head = self._head
        return _AsyncSender(self._shared, Beside(head, headers), self._copies) if head.is_bytes else None

    def adopt(self, winner: _AsyncSender) -> None:
        """Go on with the attempt that another has sent."""
        self._head.attempt = winner._head.attempt

    def mirror(self, copy: Copy) -> None:
        """Send a copy in the background. One of a streamed body is left out, as in Envoy."""
        if not self._head.is_bytes or len(self._copies) >= _MOST_COPIES:
            return
        target = self._head.target(self._shared.originator, copy.cluster, copy.endpoint)
        request = self._head.core_copy(target, copy)
        task = asyncio.get_running_loop().create_task(self._copy(copy, target, request))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _copy(self, copy: Copy, target: Target, request: Any) -> None:
        current_attempt.set(Attempt(None, copy.cluster.policy.connection_pool, None))
        with contextlib.suppress(TimeoutError, OSError, *self._shared.package.core_errors):
            async with asyncio.timeout(COPY_SECONDS):
                response = await (await self._pool(target)).handle_async_request(request)
                try:
                    left = LONGEST_REPLY
                    async for part in response.aiter_stream():
                        left -= len(part)
                        if left <= 0:
                            break
                finally:
                    await response.aclose()

    async def _pool(self, target: Target) -> Any:
        pool, spare = self._shared.pools.get(target)
        for other in spare:
            await other.aclose()
        return pool
