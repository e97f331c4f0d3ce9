"""One attempt on its way through a client library, as far as the connection under it needs to know.

Client libraries hand a request down to a connection without saying whose it is. The
attempt is in a context variable meanwhile; connections of the mesh find it there.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, Protocol

from meshlib._engine.exchange import Exchange
from meshlib._snapshot.clusters import ConnectionPool

__all__ = ["Attempt", "Droppable", "Lifetime", "current_attempt", "cut_off", "set_keepalive"]

current_attempt: ContextVar[Attempt | None] = ContextVar("meshlib_attempt", default=None)
"""The attempt that the current thread or task is sending."""

_OPTIONS: Final = ("TCP_KEEPCNT", "TCP_KEEPIDLE", "TCP_KEEPINTVL")
_SHORTEST: Final = 1e-6  # a timeout of 0 would mean "do not wait at all" to a socket


class Carrier(Protocol):
    """What carries an attempt in a thread."""

    def cut(self) -> None:
        """End what it waits for; called on another thread."""
        ...


class Attempt:
    """``pool`` is the policy for connections, ``deadline`` the instant (monotonic) when the mesh cuts it off.

    Afterwards: ``is_sent`` whether a byte of the request may have left, ``is_expired``
    whether the mesh's deadline ended it, ``is_over`` whether its response is over, and
    ``is_broken`` whether that broke off in the middle. ``exchange`` is None for a mirrored copy.
    """

    is_raced = False
    carrier: Carrier | None  # of one that is raced, once it is on a connection

    __slots__ = (
        "_connect_limit", "carrier", "deadline", "exchange", "is_broken", "is_expired", "is_impatient", "is_over",
        "is_sent", "life", "on_end", "pool",
    )  # fmt: skip

    def __init__(self, exchange: Exchange | None, pool: ConnectionPool, timeout: float | None) -> None:
        self.exchange = exchange
        self.pool = pool
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.is_sent = False
        self.is_expired = False
        self.is_impatient = False  # the timeout of the caller ended it, before any of the mesh
        self.is_over = False
        self.is_broken = False
        self.life: Lifetime | None = None
        self.on_end: Callable[[], None] | None = None
        self._connect_limit = "policy"

    def bound(self, own: float | None) -> float | None:
        """What a socket may wait: what is left of the attempt, or the caller's ``own`` timeout if that is shorter."""
        if self.deadline is None:
            return own
        left = self.deadline - time.monotonic()
        if left <= 0.0:
            self.is_expired = True
            raise TimeoutError("the time of the attempt is over")
        return left if own is None else min(left, own)

    def time_out(self, own: float | None) -> None:
        """A wait of :meth:`bound` was in vain: note whose timeout it was."""
        if self.deadline is not None and (own is None or time.monotonic() >= self.deadline - 1e-3):
            self.is_expired = True
        else:
            self.is_impatient = True

    def look_at_clock(self) -> None:
        """Something timed out: note it if the time of the attempt is over."""
        if self.deadline is not None and time.monotonic() >= self.deadline - 1e-3:
            self.is_expired = True

    def connect_bound(self, own: float | None) -> float:
        """What making a connection may take; ``own`` is the caller's timeout for it. Raises as :meth:`bound`."""
        self._connect_limit = "deadline"
        self.bound(None)
        now = time.monotonic()
        limits = [(self.pool.connect_timeout, "policy")]
        if own is not None:
            limits.append((own, "caller"))
        if self.deadline is not None:
            limits.append((self.deadline - now, "deadline"))
        seconds, self._connect_limit = min(limits)
        return max(seconds, _SHORTEST)

    def connect_time_out(self) -> None:
        """A connection did not come in time: note whose timeout it was."""
        self.is_expired = self._connect_limit == "deadline"
        self.is_impatient = self._connect_limit == "caller"

    def expire_in(self, seconds: float) -> None:
        """Cut it off then, for a response that nobody wants."""
        self.deadline = time.monotonic() + seconds

    def begin_response(self, exchange: Exchange) -> None:
        """The caller gets the response: from now on only the timeout of the route counts, until its body is over."""
        left = exchange.time_left
        self.deadline = None if left is None else time.monotonic() + left

        def finish() -> None:
            if self.is_expired:
                exchange.flag("UT")
            elif self.is_broken:
                exchange.break_off()
            exchange.finish()

        if self.is_over:
            finish()
        else:
            self.on_end = finish

    def end(self) -> None:
        """The response is over, or dropped. Safe to call again."""
        if self.is_over:
            return
        self.is_over = True
        if self.life is not None:
            self.life.idle_since = time.monotonic()
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()

    def __repr__(self) -> str:
        return f"<Attempt sent={self.is_sent} over={self.is_over}>"


class RacedAttempt(Attempt):
    """One of two attempts at the same request, which may be aborted. It knows its connection until it is over."""

    __slots__ = ()
    is_raced = True

    def abort(self) -> None:
        """Have it end soon, on whichever thread it is: it does not wait any more from its next step on."""
        self.deadline = 0.0
        carrier, self.carrier = self.carrier, None
        if carrier is not None:
            carrier.cut()

    def end(self) -> None:
        """The response is over, or dropped. Safe to call again."""
        self.carrier = None  # its connection knows the response: no cycle is left to the collector
        super().end()


class Droppable:
    """What sends one attempt in a thread of its own, and can be told to drop it, also before it has begun."""

    _attempt: RacedAttempt | None = None
    _is_dropped = False

    @property
    def attempt(self) -> Attempt:
        """The one on its way, or done."""
        assert self._attempt is not None
        return self._attempt

    @attempt.setter
    def attempt(self, attempt: Attempt) -> None:
        attempt.__class__ = RacedAttempt
        assert isinstance(attempt, RacedAttempt)
        attempt.carrier = None
        self._attempt = attempt
        if self._is_dropped:
            attempt.abort()

    def abort(self) -> None:
        """Nobody waits for it any more."""
        self._is_dropped = True
        if self._attempt is not None:
            self._attempt.abort()


def cut_off(sock: socket.socket | None) -> None:
    """Wake who waits for a socket, on whichever thread. The connection cannot be used afterwards."""
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):  # not connected any more
            socket.socket.shutdown(
                sock, socket.SHUT_RDWR
            )  # that of an SSLSocket would take its TLS away under the reader


class Lifetime:
    """One connection: its age, its requests and since when it is idle."""

    __slots__ = ("born", "idle_since", "requests")

    def __init__(self) -> None:
        self.born = self.idle_since = time.monotonic()
        self.requests = 0

    def is_over(self, pool: ConnectionPool) -> bool:
        """Whether the policy wants another connection for the next request."""
        if pool.max_requests_per_connection and self.requests >= pool.max_requests_per_connection:
            return True
        now = time.monotonic()
        if pool.max_connection_duration is not None and now - self.born >= pool.max_connection_duration:
            return True
        return pool.idle_timeout is not None and now - self.idle_since >= pool.idle_timeout


def set_keepalive(sock: socket.socket | None, pool: ConnectionPool) -> None:
    """Set the kernel's keep-alive probes as the policy says: how many, after how long, how often."""
    if pool.tcp_keepalive is None or sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(_OPTIONS, pool.tcp_keepalive, strict=True):
        if value is not None and hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), max(int(value), 1))
