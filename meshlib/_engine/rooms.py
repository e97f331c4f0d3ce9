"""How many requests an application serves at once: the limits of Envoy's inbound clusters (semantics 4.10).

A request that is let in takes a seat and keeps it until it is over. The rules are those
of limits.py, the application being the one endpoint: ``maxConnections`` serve at once,
``http1MaxPendingRequests`` wait for that, and above, or above ``http2MaxRequests``, it is
refused (503, flag UO). An application that would queue without end answers in time.
"""

from __future__ import annotations

from meshlib._clock import Clock
from meshlib._engine.commands import Ticket
from meshlib._engine.limits import leave_locked, take_locked, wait_locked, withdraw
from meshlib._engine.state import ClusterState, LiveCluster
from meshlib._random import Chance
from meshlib._snapshot.clusters import Cluster, ConnectionPool, Endpoint, TrafficPolicy

__all__ = ["Room", "Seat"]


class Room:
    """One port of the application."""

    __slots__ = ("_host", "live", "pool")

    def __init__(
        self, port: int, pool: ConnectionPool, chance: Chance, clock: Clock, state: ClusterState | None = None
    ) -> None:
        self.pool = pool
        endpoint = Endpoint(address="127.0.0.1", port=port)
        policy = TrafficPolicy(connection_pool=pool)
        cluster = Cluster(name=f"inbound|{port}||", host="", port=port, endpoints=(endpoint,), policy=policy)
        self.live = LiveCluster(cluster, state or ClusterState(), chance, clock)
        self._host = self.live.endpoints[0]

    def enter(self) -> Seat | None:
        """A seat, or a place in the queue for one (:attr:`Seat.ticket`); None if there is room for neither."""
        live = self.live
        with live.state.lock:
            if live.state.active >= live.max_requests:
                return None
            ticket = None
            if live.caps_connections and not take_locked(live, self._host):
                ticket = wait_locked(live, self._host)
                if ticket is None:
                    return None
            else:
                live.state.active += 1
        return Seat(self, ticket)

    def sit(self, seat: Seat) -> bool:
        """Take the seat whose turn has come; False if there are too many requests by now."""
        with self.live.state.lock:
            if self.live.state.active >= self.live.max_requests:
                return False
            self.live.state.active += 1
        seat.is_taken = True
        return True

    def leave(self, seat: Seat) -> None:
        """Give a seat back, or leave the queue."""
        state, heir = self.live.state, None
        if state.lock is not seat.lock:
            return  # a forked child, where nobody is in
        if not seat.is_taken:
            assert seat.ticket is not None
            withdraw(state, self._host, seat.ticket)
            return
        with state.lock:
            state.active -= 1
            if self.live.caps_connections:
                heir = leave_locked(state, self._host)
        if heir is not None:
            heir.tell()

    def __repr__(self) -> str:
        return f"<Room {self.live.cluster.name} active={self.live.state.active} pending={self.live.state.pending}>"


class Seat:
    """The place of one request; ``ticket`` is there if it has to wait."""

    __slots__ = ("_room", "is_taken", "lock", "ticket")

    def __init__(self, room: Room, ticket: Ticket | None) -> None:
        self._room = room
        self.lock = room.live.state.lock
        self.ticket = ticket
        self.is_taken = ticket is None

    def sit(self) -> bool:
        """Its turn has come; False if there is no room after all."""
        return self._room.sit(self)

    def leave(self) -> None:
        """The request is over, or does not wait any longer."""
        self._room.leave(self)
