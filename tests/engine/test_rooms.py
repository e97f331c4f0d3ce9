"""Seats of an application: as many requests at once as its limits say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib._engine.rooms import Room, Seat
from meshlib._random import system_chance
from meshlib._snapshot.clusters import ConnectionPool
from meshlib.testing import VirtualClock


def room(**limits: int) -> Room:
    return Room(8080, ConnectionPool(**limits), system_chance(1), VirtualClock())


def counts(one: Room) -> tuple[int, int, int]:
    state = one.live.state
    return state.active, state.connections, state.pending


def test_requests_beyond_the_limit_are_refused() -> None:
    """``http2MaxRequests``: there is no queue for it."""
    one = room(max_requests=2)
    seats = [one.enter() for _ in range(3)]
    assert [seat is not None for seat in seats] == [True, True, False]
    assert seats[0] is not None
    seats[0].leave()
    assert one.enter() is not None


def test_connections_are_handed_on_in_order() -> None:
    """``maxConnections`` serve, ``http1MaxPendingRequests`` wait, the next is refused."""
    one = room(max_connections=1, max_pending_requests=2)
    first, second, third = one.enter(), one.enter(), one.enter()
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.ticket, one.enter()) == (None, None)
    assert second.ticket is not None
    assert third.ticket is not None
    first.leave()
    assert (second.ticket.is_granted, third.ticket.is_granted) == (True, False)
    assert second.sit()
    third.leave()
    assert counts(one) == (1, 1, 0)
    second.leave()
    assert counts(one) == (0, 0, 0)


@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(1, 6),
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60),
)
def test_no_seat_is_lost(connections: int, pending: int, requests: int, script: list[tuple[bool, int]]) -> None:
    """Whoever comes and goes, also those who stop waiting: never too many, and none at the end."""
    one = room(max_connections=connections, max_pending_requests=pending, max_requests=requests)
    inside: list[Seat] = []
    for comes, which in script:
        if comes:
            seat = one.enter()
            inside += [] if seat is None else [seat]
        elif inside:
            inside.pop(which % len(inside)).leave()
        for seat in list(inside):
            if not seat.is_taken and seat.ticket is not None and seat.ticket.is_granted and not seat.sit():
                inside.remove(seat)
                seat.leave()
        active, held, waiting = counts(one)
        assert active == sum(seat.is_taken for seat in inside) <= min(connections, requests)
        assert (held, waiting) == (active, len(inside) - active)
    for seat in inside:
        seat.leave()
    assert counts(one) == (0, 0, 0)


def test_a_forked_child_gives_nothing_back() -> None:
    """Whoever was in when it was forked is in its parent: its counters stay at zero."""
    one = room(max_connections=1)
    served, waits = one.enter(), one.enter()
    assert served is not None
    assert waits is not None
    one.live.state.reset()
    served.leave()
    waits.leave()
    assert counts(one) == (0, 0, 0)
