"""Connections that keep to the policy and the deadline of the attempt they carry.

urllib3 gives each socket operation its timeout anew, so an upstream that sends a byte
now and then could hold a thread for ever. Here a response is read through a file that
knows the instant when its attempt, and later its route, is over.
"""

from __future__ import annotations

import http.client
import io
import socket
import weakref
from typing import Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from meshlib._outbound.attempt import Attempt, Lifetime, current_attempt, cut_off, set_keepalive
from meshlib._outbound.contexts import MeshContext
from meshlib.adapters.urllib3.errors import PendingOverflowError
from meshlib.errors import MeshError

__all__ = ["MeshHTTPConnectionPool", "MeshHTTPSConnectionPool"]

_CLOSE: Final = 0.005  # seconds that a socket may wait beyond the deadline


class BoundedReader(io.RawIOBase):
    """What a response is read from: never waits beyond the deadline of its attempt, and tells when it is over."""

    def __init__(self, sock: socket.socket, attempt: Attempt) -> None:
        self._sock = sock
        self._own = self._wait = sock.gettimeout()  # the caller's
        self._file = sock.makefile("rb", buffering=0)
        self._attempt = attempt
        self.response: weakref.ref[http.client.HTTPResponse] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        attempt = self._attempt
        wait = attempt.bound(self._own)
        if wait is None or self._wait is None or not 0.0 <= self._wait - wait <= _CLOSE:  # settimeout is a system call
            self._sock.settimeout(wait)
            self._wait = wait
        try:
            count = self._file.readinto(buffer)
        except TimeoutError:
            attempt.time_out(self._own)
            raise
        except OSError:
            attempt.is_broken = True
            raise
        if count == 0 and self._is_unfinished():
            attempt.is_broken = True
        return count

    def _is_unfinished(self) -> bool:
        """Whether the upstream went away in the middle of the body."""
        response = self.response() if self.response is not None else None
        return response is not None and (bool(response.chunked) or bool(response.length))

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()
            self._attempt.end()


class _Readable:
    """Stands for the socket where http.client makes a file of it."""

    def __init__(self, reader: BoundedReader) -> None:
        self._reader = reader

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader)


class BoundedResponse(http.client.HTTPResponse):
    """http.client's response, read through a :class:`BoundedReader`."""

    attempt: Attempt | None = None

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        attempt = self.attempt = current_attempt.get()
        if attempt is None:
            super().__init__(sock, *args, **kwargs)
            return
        reader = BoundedReader(sock, attempt)
        super().__init__(_Readable(reader), *args, **kwargs)  # type: ignore[arg-type]
        reader.response = weakref.ref(self)


class _Governed(HTTPConnection):
    """What both kinds of connections do for the mesh."""

    response_class = BoundedResponse
    life: Lifetime | None = None

    def connect(self) -> None:
        attempt = current_attempt.get()
        if attempt is None:
            raise MeshError(
                f"{self.host} would be called without passing the mesh; make requests only with urlopen() and "
                "request() of the pool manager"
            )
        own = self.timeout
        exchange = attempt.exchange
        if exchange is not None and not exchange.connecting():
            raise PendingOverflowError("too many requests wait for a connection")
        try:
            self.timeout = attempt.connect_bound(own)
            super().connect()
        except urllib3.exceptions.NewConnectionError:  # is a ConnectTimeoutError, for old callers' sake
            raise
        except (TimeoutError, urllib3.exceptions.ConnectTimeoutError):
            attempt.connect_time_out()
            raise
        finally:
            self.timeout = own
            if exchange is not None:
                exchange.connected()
        self.life = Lifetime()
        set_keepalive(self.sock, attempt.pool)

    def request(self, *args: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        attempt = current_attempt.get()
        if self.sock is None:
            self.connect()
        if attempt is not None:
            attempt.life = self.life
            if attempt.is_raced:
                attempt.carrier = self
            if self.life is not None:
                self.life.requests += 1
            own = self.timeout
            self.timeout = attempt.bound(own)  # urllib3 sets it on the socket, for sending
            attempt.is_sent = True
            try:
                super().request(*args, **kwargs)
            except TimeoutError:
                attempt.time_out(own)
                raise

    def cut(self) -> None:
        """End what the attempt on it waits for."""
        cut_off(self.sock)

    @property
    def is_connected(self) -> bool:
        attempt = current_attempt.get()
        if attempt is not None and self.life is not None and self.life.is_over(attempt.pool):
            return False
        return super().is_connected


class MeshHTTPConnection(_Governed):
    """A plaintext connection to an endpoint."""


class MeshHTTPSConnection(_Governed, HTTPSConnection):
    """A TLS connection to an endpoint."""

    def connect(self) -> None:
        super().connect()
        if isinstance(self.ssl_context, MeshContext):
            self.is_verified = True  # by the context, or as the DestinationRule wants it: nothing to warn of


class MeshHTTPConnectionPool(urllib3.HTTPConnectionPool):
    """Plaintext connections to one endpoint."""

    ConnectionCls = MeshHTTPConnection  # pyright: ignore[reportAssignmentType]


class MeshHTTPSConnectionPool(urllib3.HTTPSConnectionPool):
    """TLS connections to one endpoint under one identity."""

    ConnectionCls = MeshHTTPSConnection  # pyright: ignore[reportAssignmentType]
