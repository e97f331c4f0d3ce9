"""For threads: ``create_connection`` as in the standard library, to an endpoint that the mesh picks."""

from __future__ import annotations

import socket
import ssl as tls
import time
import weakref
from typing import Any

from meshlib._engine.connections import Connection, Refused, Target
from meshlib._outbound.attempt import set_keepalive
from meshlib._runtime import Runtime
from meshlib.adapters.connections.errors import failed, refused
from meshlib.adapters.connections.proxy_protocol import header_for
from meshlib.adapters.connections.securing import Securing, securings
from meshlib.adapters.connections.tunnels import END, LONGEST, check_reply, request_of
from meshlib.errors import MeshError

__all__ = ["create_connection"]


def create_connection(
    runtime: Runtime,
    address: tuple[str, int],
    timeout: float | None = None,
    *,
    ssl: tls.SSLContext | bool | None = None,
    server_hostname: str | None = None,
) -> socket.socket:
    """As :func:`socket.create_connection`; see :meth:`meshlib.Mesh.create_connection`."""
    host, port = address
    own = tls.create_default_context() if ssl is True else ssl or None
    connection = Connection(runtime.use(), host, port, (server_hostname or host) if own else "")
    target = connection.open()
    if isinstance(target, Refused):
        raise refused(connection, target)
    pool = connection.cluster.policy.connection_pool
    wait = pool.connect_timeout if timeout is None else min(timeout, pool.connect_timeout)
    try:
        secure, inner = securings(runtime, connection, own)
        _check_nesting(secure, inner)
        made = _connected(connection, target, wait, secure, inner)
    except (OSError, MeshError) as error:
        raise failed(connection, error) from error
    except BaseException:
        connection.abandon()
        raise
    made.settimeout(timeout)
    made.watch(connection)
    connection.establish()
    return made


def _check_nesting(secure: Securing | None, inner: Securing | None) -> None:
    if secure is not None and inner is not None:
        raise MeshError("the standard library's sockets have no TLS inside TLS; use mesh.open_connection")


def _connected(
    connection: Connection, target: Target, seconds: float, secure: Securing | None, inner: Securing | None
) -> CountingSocket:
    """Everything up to the first byte of the application, which takes ``seconds`` at most.

    ``secure`` is the handshake with the endpoint, ``inner`` that with the end of a tunnel.
    """
    policy, wanted, end = connection.cluster.policy, request_of(connection), time.monotonic() + seconds
    made = socket.create_connection(target, seconds)
    try:
        introduction = header_for(policy, made)
        if introduction:
            made.sendall(introduction)
        if secure is not None:
            made = _secured(made, secure, end)
        if wanted is not None:
            _lead_on(wanted, made, end)
        if inner is not None:
            made = _secured(made, inner, end)
        if not isinstance(made, CountingSocket):
            made = MeshSocket(made.family, made.type, made.proto, made.detach())
        set_keepalive(made, policy.connection_pool)
    except BaseException:
        made.close()
        raise
    return made


def _secured(raw: socket.socket, secure: Securing, end: float) -> socket.socket:
    _hurry(raw, end)  # the handshake takes no more, in whatever pieces it comes
    context = secure.context
    kind = context.sslsocket_class  # read once: other threads exchange it too
    if not issubclass(kind, CountingSocket):
        # On top of the class that is there: that of the mesh checks the names of the peer.
        context.sslsocket_class = type("MeshTlsSocket", (CountingSocket, kind), {})
    return context.wrap_socket(raw, server_hostname=secure.server_name or None)


def _hurry(made: socket.socket, end: float) -> None:
    """Give the next step what is left of the time."""
    left = end - time.monotonic()
    if left <= 0.0:
        raise TimeoutError
    made.settimeout(left)


def _lead_on(wanted: bytes, made: socket.socket, end: float) -> None:
    """Have the proxy at the other end connect on. Byte by byte: what follows its answer is the application's."""
    _hurry(made, end)
    made.sendall(wanted)
    head = bytearray()
    while not head.endswith(END) and len(head) < LONGEST and (more := made.recv(1)):
        head += more
        _hurry(made, end)
    check_reply(bytes(head))


class CountingSocket(socket.socket):
    """Counts its bytes, and tells the mesh when it is closed or thrown away."""

    _bytes: list[int]
    _finalizer: weakref.finalize[Any, Any] | None = None

    def watch(self, connection: Connection) -> None:
        """Tell ``connection`` of the end."""
        self._bytes = counts = [0, 0]
        self._finalizer = weakref.finalize(self, lambda: connection.close(*counts))

    def _count(self, sent: int, received: int) -> None:
        if self._finalizer is not None:
            self._bytes[0] += sent
            self._bytes[1] += received

    def send(self, data: Any, flags: int = 0) -> int:
        sent = super().send(data, flags)
        self._count(sent, 0)
        return sent

    def recv(self, *arguments: Any) -> bytes:
        data = super().recv(*arguments)
        self._count(0, len(data))
        return data

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        received = super().recv_into(*arguments, **named)
        self._count(0, received)
        return received

    def close(self) -> None:
        super().close()
        # What makefile made of it keeps it open, and closes it once more in the end.
        if self._finalizer is not None and self.fileno() < 0:
            self._finalizer()


class MeshSocket(CountingSocket):
    """A plain one; the standard library's secured sockets send everything through :meth:`send`."""

    def sendall(self, data: Any, flags: int = 0) -> None:
        super().sendall(data, flags)
        self._count(memoryview(data).nbytes, 0)

    def sendmsg(self, *arguments: Any) -> int:
        sent = super().sendmsg(*arguments)
        self._count(sent, 0)
        return sent

    def sendfile(self, *arguments: Any, **named: Any) -> int:
        before = self._bytes[0]
        sent = super().sendfile(*arguments, **named)
        self._count(sent - (self._bytes[0] - before), 0)  # where the kernel cannot, it goes through send
        return sent

    def recvmsg(self, *arguments: Any) -> Any:
        received = super().recvmsg(*arguments)
        self._count(0, len(received[0]))
        return received
