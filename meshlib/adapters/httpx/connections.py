"""Connections of asyncio as httpcore wants them: what httpcore does through anyio, without its layers.

anyio enters a cancel scope for each read and each write and asks which library runs the
loop; that is a good part of what a call costs. A backend is part of httpcore's public
interface.
"""

# ruff: noqa: ASYNC109, D102 - the methods are those of httpcore's interface

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Awaitable, Iterable
from typing import Any, Final, TypeVar, cast

from meshlib._timers import Timers

__all__ = ["AsyncioBackend"]

T = TypeVar("T")

_MOST: Final = 2**18  # bytes that are kept before the upstream has to wait
_EYEBALLS: Final = 0.25  # RFC 8305: how long one address of a name may keep the next one waiting
_INFO: Final = {"client_addr": "sockname", "server_addr": "peername"}


class _Connection(asyncio.Protocol):
    """One connection: what has come and was not read yet, and who waits for it, or for room to write."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.came = bytearray()
        self.is_secure = False
        self.is_over = False  # nothing more comes
        self.is_lost = False  # nothing can be sent either
        self.error: Exception | None = None
        self._is_held = self._is_full = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.came += data
        _wake(self._reader)
        if len(self.came) > _MOST and not self._is_held:
            self._is_held = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.is_over = True
        _wake(self._reader)
        return not self.is_secure  # the rest of a request may be on its way; TLS ends both ways at once

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = self.is_lost = True
        self.error = exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._writer)

    def take(self, most: int) -> bytes:
        """What has come, at most so much."""
        data = bytes(self.came if len(self.came) <= most else self.came[:most])
        del self.came[:most]
        if self._is_held and len(self.came) <= _MOST // 2:
            self._is_held = False
            self.transport.resume_reading()
        return data

    async def something(self) -> None:
        """Wait until something has come, or nothing more will."""
        while not (self.came or self.is_over):
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader

    @property
    def is_full(self) -> bool:
        """Whether more was written than the upstream takes for now."""
        return self._is_full and not self.is_lost

    async def room(self) -> None:
        """Wait until the upstream has taken enough of it."""
        while self.is_full:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


class _Stream:
    """A connection with the methods of httpcore's AsyncNetworkStream."""

    def __init__(self, connection: _Connection, core: Any, timers: Timers) -> None:
        self._connection = connection
        self._core = core
        self._timers = timers
        self._poll: Any = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        connection = self._connection
        if not (connection.came or connection.is_over):
            await _in_time(connection.something(), timeout, self._timers, self._core.ReadTimeout)
        if connection.error is not None and not connection.came:
            raise self._core.ReadError(str(connection.error)) from connection.error
        return connection.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        connection = self._connection
        if buffer and not connection.is_lost:
            connection.transport.write(buffer)
            if connection.is_full:
                await _in_time(connection.room(), timeout, self._timers, self._core.WriteTimeout)
        if buffer and connection.is_lost:
            raise self._core.WriteError(str(connection.error or "the connection is closed")) from connection.error

    async def aclose(self) -> None:
        transport = self._connection.transport
        if not transport.is_closing():  # asyncio cannot abort one with TLS that is closed twice
            transport.close()
        try:
            await asyncio.sleep(0)
        finally:
            transport.abort()  # nobody waits for the upstream's goodbye

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        connection = self._connection
        connection.is_secure = True
        shake = asyncio.get_running_loop().start_tls(
            connection.transport, connection, ssl_context, server_hostname=server_hostname
        )
        try:
            secured = await _in_time(shake, timeout, self._timers, self._core.ConnectTimeout)
        except BaseException as error:  # also when it is cancelled, by a timeout of the mesh for one
            connection.transport.abort()
            if isinstance(error, OSError):  # as an SSLError is
                raise self._core.ConnectError(str(error)) from error
            raise
        connection.transport = cast("asyncio.Transport", secured)
        return _Stream(connection, self._core, self._timers)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._is_readable()
        return self._connection.transport.get_extra_info(_INFO.get(info, info))

    def _is_readable(self) -> bool:
        """Whether an idle connection has something to say: that it is over, as a rule.

        The kernel is asked, because the loop may not have come to hear of it yet.
        """
        connection = self._connection
        if connection.came or connection.is_over or connection.transport.is_closing():
            return True
        sock = connection.transport.get_extra_info("socket")
        if not hasattr(select, "poll"):
            return bool(select.select([sock.fileno()], [], [], 0)[0])
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))


async def _in_time(work: Awaitable[T], timeout: float | None, timers: Timers, late: type[Exception]) -> T:
    """What comes of ``work``; ``late`` is raised where it takes longer."""
    if timeout is None:
        return await work
    entry = timers.start(timeout)
    try:
        found = await work
    except asyncio.CancelledError as error:
        if timers.stop(entry):
            raise late from error
        raise
    except BaseException:
        timers.stop(entry)
        raise
    timers.stop(entry)
    return found


class AsyncioBackend:
    """Makes connections for httpcore on the running event loop."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self._timers: tuple[asyncio.AbstractEventLoop, Timers] | None = None

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> _Stream:  # fmt: skip
        is_name = ":" not in host and not host.replace(".", "").isdecimal()
        work = asyncio.get_running_loop().create_connection(
            _Connection, host, port,
            local_addr=None if local_address is None else (local_address, 0),
            happy_eyeballs_delay=_EYEBALLS if is_name else None,
        )  # fmt: skip
        return await self._connect(work, timeout, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> _Stream:
        work = asyncio.get_running_loop().create_unix_connection(_Connection, path)
        return await self._connect(work, timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _connect(
        self, work: Awaitable[tuple[asyncio.Transport, _Connection]], timeout: float | None, options: Any
    ) -> _Stream:
        timers = self._loop_timers()
        try:
            transport, connection = await _in_time(work, timeout, timers, self._core.ConnectTimeout)
        except TimeoutError as error:  # of the kernel
            raise self._core.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise self._core.ConnectError(str(error)) from error
        for option in options or ():
            transport.get_extra_info("socket").setsockopt(*option)
        return _Stream(connection, self._core, timers)

    def _loop_timers(self) -> Timers:
        loop = asyncio.get_running_loop()
        if self._timers is None or self._timers[0] is not loop:
            self._timers = loop, Timers()
        return self._timers[1]
