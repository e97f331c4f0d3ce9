"""For asyncio: ``open_connection`` as in the standard library, to an endpoint that the mesh picks."""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
from collections.abc import Iterable
from typing import Any

from meshlib._engine.connections import Connection, Refused, Target
from meshlib._outbound.attempt import set_keepalive
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import ConnectionPool
from meshlib.adapters.connections.errors import failed, refused
from meshlib.adapters.connections.proxy_protocol import header_for
from meshlib.adapters.connections.securing import Securing, securings
from meshlib.adapters.connections.tunnels import END, check_quiet, check_reply, request_of
from meshlib.errors import MeshError

__all__ = ["open_connection"]


async def open_connection(
    runtime: Runtime,
    host: str,
    port: int,
    *,
    ssl: tls.SSLContext | bool | None = None,
    server_hostname: str | None = None,
    limit: int = 2**16,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As :func:`asyncio.open_connection`; see :meth:`meshlib.Mesh.open_connection`."""
    own = tls.create_default_context() if ssl is True else ssl or None
    connection = Connection(runtime.use(), host, port, (server_hostname or host) if own else "")
    target = connection.open()
    if isinstance(target, Refused):
        raise refused(connection, target)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = _Protocol(reader, connection, loop)
    pool = connection.cluster.policy.connection_pool
    try:
        (secure, inner), wanted = securings(runtime, connection, own), request_of(connection)
        arguments: dict[str, Any] = {}
        if secure is not None:
            arguments = {"ssl": secure.context, "server_hostname": secure.server_name}
        async with asyncio.timeout(pool.connect_timeout):
            if connection.cluster.policy.proxy_protocol is not None:
                arguments["sock"] = await _introduced(loop, connection, target)
            else:
                arguments |= target._asdict()
            transport, _ = await loop.create_connection(lambda: protocol, **arguments)
            writer = _Writer(transport, protocol, reader, loop)
            await _prepare(writer, reader, protocol, wanted, inner, pool)
    except (OSError, MeshError, asyncio.LimitOverrunError) as error:
        raise failed(connection, error) from error
    except BaseException:
        connection.abandon()
        raise
    connection.establish()
    protocol.watch(writer.transport, pool.tcp_idle_timeout, pool.max_connection_duration)
    return reader, writer


async def _introduced(loop: asyncio.AbstractEventLoop, connection: Connection, target: Target) -> socket.socket:
    """A connected socket over which the PROXY header has gone: before anything else, TLS too."""
    family, kind, number, _, address = (await loop.getaddrinfo(*target, type=socket.SOCK_STREAM))[0]
    made = socket.socket(family, kind, number)
    try:
        made.settimeout(0)
        await loop.sock_connect(made, address)
        await loop.sock_sendall(made, header_for(connection.cluster.policy, made))
    except BaseException:
        made.close()
        raise
    return made


async def _prepare(
    writer: asyncio.StreamWriter,
    reader: asyncio.StreamReader,
    protocol: _Protocol,
    wanted: bytes | None,
    inner: Securing | None,
    pool: ConnectionPool,
) -> None:
    """Before the application's bytes: set the kernel's probes, have a proxy connect on, and start TLS behind it."""
    transport = writer.transport
    try:
        set_keepalive(transport.get_extra_info("socket"), pool)
        if wanted is not None:
            transport.write(wanted)
            try:
                reply = await reader.readuntil(END)
            except asyncio.IncompleteReadError as error:
                reply = error.partial
            protocol.received -= len(reply)
            check_reply(reply)
        if inner is not None:
            check_quiet(protocol.received)
            await writer.start_tls(inner.context, server_hostname=inner.server_name)
    except BaseException:
        transport.close()
        raise


class _Protocol(asyncio.StreamReaderProtocol):
    """Counts bytes, ends the connection when the policy says so, and tells the mesh when it is over."""

    def __init__(self, reader: asyncio.StreamReader, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._connection = connection
        self._clock = loop
        self._timers: list[asyncio.TimerHandle] = []
        self._used = 0.0
        self._is_watched = self._is_lost = False
        self.sent = self.received = 0

    def watch(self, transport: asyncio.WriteTransport, idle: float | None, duration: float | None) -> None:
        """End it after so many seconds without a byte, or since its beginning; None: never."""
        self._is_watched = True
        if self._is_lost:  # the other end was faster
            self._connection.close(self.sent, self.received)
            return
        self.use()
        if duration is not None:
            self._timers.append(self._clock.call_later(duration, transport.close))
        if idle is not None:
            self._look_again(transport, idle, idle)

    def _look_again(self, transport: asyncio.WriteTransport, idle: float, seconds: float) -> None:
        self._timers.append(self._clock.call_later(seconds, self._look, transport, idle))

    def _look(self, transport: asyncio.WriteTransport, idle: float) -> None:
        self._timers = [one for one in self._timers if one.when() > self._clock.time()]
        left = self._used + idle - self._clock.time()
        if left <= 0.0:
            transport.close()
        else:
            self._look_again(transport, idle, left)

    def use(self) -> None:
        """Something goes over it."""
        self._used = self._clock.time()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.use()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        for timer in self._timers:
            timer.cancel()
        self._is_lost = True
        if self._is_watched:
            self._connection.close(self.sent, self.received)
        super().connection_lost(exc)  # type: ignore[arg-type]


class _Writer(asyncio.StreamWriter):
    """The standard library's, which counts what is sent."""

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: _Protocol,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, protocol, reader, loop)
        self._counting = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._counting.sent += memoryview(data).nbytes
        self._counting.use()
        super().write(data)

    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(data))
