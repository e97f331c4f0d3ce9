"""Attempts: whose timeout ends a wait; connections: when their life is over."""

from __future__ import annotations

import socket
import time

import pytest

from meshlib._outbound.attempt import Attempt, Lifetime, set_keepalive
from meshlib._snapshot.clusters import ConnectionPool


def attempt(timeout: float | None, **pool: float) -> Attempt:
    return Attempt(None, ConnectionPool(**pool), timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("timeout", "own", "low", "high"),
    [
        (None, None, None, None),
        (None, 2.0, 2.0, 2.0),
        (900.0, 2.0, 2.0, 2.0),
        (200.0, 900.0, 100.0, 200.0),
        (200.0, None, 100.0, 200.0),
    ],
)
def test_the_shorter_timeout_bounds_a_wait(
    timeout: float | None, own: float | None, low: float | None, high: float | None
) -> None:
    """What is left of the attempt, or the caller's."""
    bound = attempt(timeout).bound(own)
    if low is None or high is None:
        assert bound is None
    else:
        assert bound is not None
        assert low <= bound <= high


def test_an_attempt_whose_time_is_over_does_not_wait() -> None:
    """Not even a little."""
    late = attempt(-1.0)
    with pytest.raises(TimeoutError):
        late.bound(None)
    assert late.is_expired


def test_an_attempt_whose_time_is_over_makes_no_connection() -> None:
    """It counts as cut off by the mesh, not as a connection that did not come in time."""
    late = attempt(-1.0)
    with pytest.raises(TimeoutError):
        late.connect_bound(5.0)
    late.connect_time_out()
    assert late.is_expired
    assert not late.is_impatient


@pytest.mark.parametrize(
    ("timeout", "own", "policy", "expired", "impatient"),
    [
        (50.0, None, 1000.0, True, False),
        (50.0, 200.0, 1000.0, True, False),
        (900.0, 200.0, 1000.0, False, True),
        (None, 200.0, 1000.0, False, True),
        (900.0, 900.0, 100.0, False, False),
        (None, None, 100.0, False, False),
    ],
)
def test_whose_timeout_ended_a_connect(
    timeout: float | None, own: float | None, policy: float, expired: bool, impatient: bool
) -> None:
    """That of the mesh, of the caller, or of the policy, which is a failed connection."""
    one = attempt(timeout, connect_timeout=policy)
    one.connect_bound(own)
    one.connect_time_out()
    assert (one.is_expired, one.is_impatient) == (expired, impatient)


def test_the_end_is_told_once() -> None:
    """However often a library closes what it closed."""
    told: list[int] = []
    one = attempt(None)
    one.on_end = lambda: told.append(1)
    one.end()
    one.end()
    assert told == [1]


LIVES = [
    (ConnectionPool(), 10**6, 10**5, False),
    (ConnectionPool(max_requests_per_connection=2), 0, 1, False),
    (ConnectionPool(max_requests_per_connection=2), 0, 2, True),
    (ConnectionPool(max_connection_duration=500.0), 400, 0, False),
    (ConnectionPool(max_connection_duration=500.0), 600, 0, True),
    (ConnectionPool(idle_timeout=500.0), 400, 0, False),
    (ConnectionPool(idle_timeout=500.0), 600, 0, True),
    (ConnectionPool(idle_timeout=None), 10**6, 0, False),
]


@pytest.mark.parametrize(("pool", "age", "requests", "is_over"), LIVES)
def test_lives(pool: ConnectionPool, age: float, requests: int, is_over: bool) -> None:
    """By requests, by age, by idleness."""
    life = Lifetime()
    life.born -= age
    life.idle_since -= age if pool.idle_timeout != 3600.0 else 0
    life.requests = requests
    assert life.is_over(pool) is is_over


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system has other names for keep-alive")
def test_keepalive_is_set_on_the_socket() -> None:
    """Probes, time and interval; what is unset stays the kernel's."""
    with socket.socket() as sock:
        before = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        set_keepalive(sock, ConnectionPool(tcp_keepalive=(None, 30.0, 5.0)))
        options = (socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
        assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [before, 30, 5]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_time_left_is_that_of_a_monotonic_clock() -> None:
    """A deadline is an instant."""
    before = time.monotonic()
    one = attempt(5.0)
    assert one.deadline is not None
    assert before + 5.0 <= one.deadline <= time.monotonic() + 5.0
