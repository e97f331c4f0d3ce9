"""Connections that keep to the policy of the attempt they carry, under httpx's own handling of HTTP.

A backend is where httpcore gets its sockets from; it is part of its public interface.
"""

# ruff: noqa: ASYNC109, D102 - the methods are those of httpcore's interface

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any

from meshlib._outbound.attempt import Attempt, Lifetime, current_attempt, cut_off, set_keepalive
from meshlib._outbound.tls import Handshake

__all__ = ["AsyncBackend", "PendingOverflowError", "SyncBackend"]


class PendingOverflowError(Exception):
    """Too many requests wait for a connection (http1MaxPendingRequests)."""


class _Stream:
    """What the streams of both kinds know: the attempt on them, and how long they live."""

    attempt: Attempt | None = None

    def __init__(self, stream: Any, core: Any, handshake: Handshake | None, life: Lifetime | None = None) -> None:
        self._stream = stream
        self._core = core
        self._handshake = handshake
        self._life = life or Lifetime()
        self._is_shared = False

    def _begin(self) -> Attempt | None:
        """Bytes of a request are about to be sent: whose?"""
        attempt = current_attempt.get()
        if attempt is not None and attempt is not self.attempt:
            self.attempt = attempt
            self._life.requests += 1
            attempt.life = self._life
            if attempt.is_raced:
                attempt.carrier = self
        if attempt is not None:
            attempt.is_sent = True
        return attempt

    def cut(self) -> None:
        """End what the attempt on it waits for, unless others are on it too."""
        if not self._is_shared:
            cut_off(self._stream.get_extra_info("socket"))

    def _secured(self, ssl_context: ssl.SSLContext, server_hostname: str | None) -> dict[str, Any]:
        shake = self._handshake
        if shake is None:
            return {"ssl_context": ssl_context, "server_hostname": server_hostname}
        return {"ssl_context": shake.context, "server_hostname": shake.server_name}

    def _upgraded(self, stream: Any) -> _Stream:
        found = type(self)(stream, self._core, self._handshake, self._life)
        tls = stream.get_extra_info("ssl_object")
        found._is_shared = tls is not None and tls.selected_alpn_protocol() == "h2"
        return found

    def get_extra_info(self, info: str) -> Any:
        """As httpcore's. A connection that the policy ends looks as if the upstream had closed it."""
        return (info == "is_readable" and self._is_ended()) or self._stream.get_extra_info(info)

    def _is_ended(self) -> bool:
        """Whether the policy wants no more requests on it."""
        attempt = current_attempt.get() or self.attempt
        return attempt is not None and self._life.is_over(attempt.pool)


def plain_socket(stream: Any) -> socket.socket | None:
    """The socket of a stream of httpcore that does nothing but read and write it; None where there is more to it."""
    found = stream.get_extra_info("socket") if type(stream).__name__ == "SyncStream" else None
    return found if isinstance(found, socket.socket) else None


class SyncStream(_Stream):
    """A connection that never waits beyond the deadline of its attempt."""

    def __init__(self, stream: Any, core: Any, handshake: Handshake | None, life: Lifetime | None = None) -> None:
        super().__init__(stream, core, handshake, life)
        self._socket = plain_socket(stream)  # read and written without httpcore's layers, which cost as much again
        self._poll: Any = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        attempt, sock = self.attempt, self._socket
        data: bytes
        if attempt is None or self._is_shared:
            data = self._stream.read(max_bytes, timeout)
            return data
        try:
            bound = attempt.bound(timeout)
            if sock is None:
                data = self._stream.read(max_bytes, bound)
            else:
                sock.settimeout(bound)
                data = sock.recv(max_bytes)
        except (TimeoutError, self._core.ReadTimeout) as error:
            attempt.time_out(timeout)
            raise self._core.ReadTimeout(str(error)) from error
        except OSError as error:
            raise self._core.ReadError(str(error)) from error
        attempt.is_broken = not data
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return  # as the end of a body, where its length was told
        attempt, sock = self._begin(), self._socket
        if attempt is None:
            self._stream.write(buffer, timeout)
            return
        try:
            bound = attempt.bound(timeout)
            if sock is None:
                self._stream.write(buffer, bound)
                return
            sock.settimeout(bound)
            sent = sock.send(buffer)
            while sent < len(buffer):
                sock.settimeout(attempt.bound(timeout))  # an upstream that takes a little at a time is late as well
                sent += sock.send(memoryview(buffer)[sent:])
        except (TimeoutError, self._core.WriteTimeout) as error:
            attempt.time_out(timeout)
            raise self._core.WriteTimeout(str(error)) from error
        except OSError as error:
            raise self._core.WriteError(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        """As httpcore's. A connection that the policy ends looks as if the upstream had closed it."""
        if info != "is_readable" or self._socket is None or not hasattr(select, "poll"):
            return super().get_extra_info(info)
        return self._is_ended() or self._is_readable(self._socket)

    def _is_readable(self, sock: socket.socket) -> bool:
        """Whether an idle connection has something to say: that it is over, as a rule."""
        number = sock.fileno()
        if number < 0:
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(number, select.POLLIN)
        return bool(self._poll.poll(0))

    def close(self) -> None:
        """Close it."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        attempt = current_attempt.get()
        try:
            bound = timeout if attempt is None else attempt.connect_bound(timeout)
            stream = self._stream.start_tls(**self._secured(ssl_context, server_hostname), timeout=bound)
        except self._core.ConnectTimeout:
            if attempt is not None:
                attempt.connect_time_out()
            raise
        except TimeoutError as error:  # of connect_bound; httpcore would forget the socket
            self._stream.close()
            raise self._core.ConnectTimeout(str(error)) from error
        return self._upgraded(stream)


class AsyncStream(_Stream):
    """The same for asyncio, where attempts are cut off from outside."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = await self._stream.read(max_bytes, timeout)
        if self.attempt is not None:
            self.attempt.is_broken = not data
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._begin()
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> _Stream:
        attempt = current_attempt.get()
        bound = timeout if attempt is None else attempt.connect_bound(timeout)
        try:
            stream = await self._stream.start_tls(**self._secured(ssl_context, server_hostname), timeout=bound)
        except self._core.ConnectTimeout:
            if attempt is not None:
                attempt.connect_time_out()
            raise
        return self._upgraded(stream)


class _Backend:
    def __init__(self, inner: Any, core: Any, handshake: Handshake | None) -> None:
        self._inner = inner
        self._core = core
        self._handshake = handshake


class SyncBackend(_Backend):
    """Makes connections as the policy of the current attempt says."""

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> SyncStream:  # fmt: skip
        attempt = current_attempt.get()
        options = {"local_address": local_address, "socket_options": socket_options}
        if attempt is None:
            stream = self._inner.connect_tcp(host, port, timeout, **options)
            return SyncStream(stream, self._core, self._handshake)
        exchange = attempt.exchange
        if exchange is not None and not exchange.connecting():
            raise PendingOverflowError
        try:
            stream = self._inner.connect_tcp(host, port, attempt.connect_bound(timeout), **options)
        except self._core.ConnectTimeout:
            attempt.connect_time_out()
            raise
        except TimeoutError as error:
            raise self._core.ConnectTimeout(str(error)) from error
        except UnicodeError as error:  # a name that DNS cannot have
            raise self._core.ConnectError(str(error)) from error
        finally:
            if exchange is not None:
                exchange.connected()
        set_keepalive(stream.get_extra_info("socket"), attempt.pool)
        return SyncStream(stream, self._core, self._handshake)

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> SyncStream:
        stream = self._inner.connect_unix_socket(path, timeout, socket_options)
        return SyncStream(stream, self._core, self._handshake)

    def sleep(self, seconds: float) -> None:
        """As httpcore's."""
        self._inner.sleep(seconds)


class AsyncBackend(_Backend):
    """The same for asyncio."""

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncStream:  # fmt: skip
        attempt = current_attempt.get()
        options = {"local_address": local_address, "socket_options": socket_options}
        if attempt is None:
            stream = await self._inner.connect_tcp(host, port, timeout, **options)
            return AsyncStream(stream, self._core, self._handshake)
        exchange = attempt.exchange
        if exchange is not None and not exchange.connecting():
            raise PendingOverflowError
        try:
            stream = await self._inner.connect_tcp(host, port, attempt.connect_bound(timeout), **options)
        except self._core.ConnectTimeout:
            attempt.connect_time_out()
            raise
        except UnicodeError as error:
            raise self._core.ConnectError(str(error)) from error
        finally:
            if exchange is not None:
                exchange.connected()
        set_keepalive(stream.get_extra_info("socket"), attempt.pool)
        return AsyncStream(stream, self._core, self._handshake)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Any = None,
    ) -> AsyncStream:
        stream = await self._inner.connect_unix_socket(path, timeout, socket_options)
        return AsyncStream(stream, self._core, self._handshake)

    async def sleep(self, seconds: float) -> None:
        """As httpcore's."""
        await self._inner.sleep(seconds)
