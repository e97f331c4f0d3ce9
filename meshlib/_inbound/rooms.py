"""The rooms of a server, one for each of its ports that has limits; they outlive a publish."""

from __future__ import annotations

import threading

from meshlib._drivers import take_turn
from meshlib._engine.commands import Wait
from meshlib._engine.rooms import Room, Seat
from meshlib._runtime import Runtime, forked

__all__ = ["Rooms"]


class Rooms:
    """Lets requests in as the limits of their ports say."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._rooms: dict[int, Room] = {}
        forked.watch(self)

    def find(self, number: int) -> Room | None:
        """The room of the port that a server listens on, by the limits in force; None: it has none."""
        inbound = self._runtime.published.snapshot.inbound
        if inbound is None:
            return None
        port = inbound.port(number)
        pool = inbound.pool(port)
        if pool is None:
            return None
        room = self._rooms.get(port)
        if room is not None and room.pool is pool:
            return room
        with self._lock:
            room = self._rooms.get(port)
            if room is None or room.pool != pool:
                state = room.live.state if room is not None else None
                room = self._rooms[port] = Room(port, pool, self._runtime.chance, self._runtime.clock, state)
            room.pool = pool  # an equal one of a later snapshot is found without the lock from now on
            return room

    def wait(self, seat: Seat) -> bool:
        """Wait for the turn of a seat; False if there is no room after all. Blocks."""
        if seat.ticket is None:
            return True
        turn = threading.Event()
        if seat.ticket.subscribe(turn.set):
            turn.wait()
        return seat.sit()

    async def wait_async(self, seat: Seat) -> bool:
        """As :meth:`wait`, for an event loop."""
        if seat.ticket is None:
            return True
        await take_turn(Wait(seat.ticket, None))
        return seat.sit()

    def reset_after_fork(self) -> None:
        """In a forked child: nobody is in."""
        self._lock = threading.Lock()
        for room in self._rooms.values():
            room.live.state.reset()

    def __repr__(self) -> str:
        return f"<Rooms {list(self._rooms.values())}>"
