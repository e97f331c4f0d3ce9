"""What an exchange runs on: one snapshot, bound to the state, with clock, chance and the way out for events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from meshlib._clock import Clock
from meshlib._engine.callers import Caller
from meshlib._engine.plans import HostPlans
from meshlib._engine.request_headers import RequestIds
from meshlib._engine.state import LiveCluster
from meshlib._http import RequestHead
from meshlib._random import Chance
from meshlib._snapshot.routes import VirtualHost
from meshlib._snapshot.snapshot import Snapshot
from meshlib.events import AttemptFinished, Event, ExchangeFinished, Observer, RequestServed

if TYPE_CHECKING:
    from meshlib._engine.exchange import Exchange

__all__ = ["Observers", "Published"]


class Observers(dict[type[Event], tuple[Observer, ...]]):
    """Who listens to which kind of event. An event that nobody wants is not even made.

    ``watches_calls`` is whether anybody listens to what every call does, ``watches_served``
    whether to every request that is served.
    """

    __slots__ = ("watches_calls", "watches_served")

    def __init__(self) -> None:
        super().__init__()
        self.watches_calls = self.watches_served = False

    def add(self, observer: Observer, kinds: Iterable[type[Event]]) -> None:
        """Deliver events of these kinds to it."""
        for kind in kinds:
            self[kind] = (*self.get(kind, ()), observer)
        self._look()

    def remove(self, observer: Observer, kinds: Iterable[type[Event]]) -> None:
        """Deliver no more."""
        for kind in kinds:
            left = tuple(one for one in self.get(kind, ()) if one is not observer)
            if left:
                self[kind] = left
            else:
                self.pop(kind, None)
        self._look()

    def _look(self) -> None:
        self.watches_calls = ExchangeFinished in self or AttemptFinished in self
        self.watches_served = RequestServed in self


_REMEMBERED_HOSTS: Final = 4096


class Published:
    """A snapshot in force. An exchange keeps the one it began with, whatever is published meanwhile.

    ``callers`` are the ClientPolicies by the name of their virtual host. ``observers`` is
    shared by all publishes of a runtime; ``on_observer_error`` takes what an observer
    raised, so that no call fails for its listener. ``hosts`` are the routes that were
    found before: look there, then ask :meth:`find_routes`. ``prepare`` is what
    exchanges need before anything else; None where they need nothing, which is usual.
    """

    __slots__ = (
        "_known", "callers", "chance", "clock", "clusters", "hosts", "now", "observers", "on_observer_error", "prepare",
        "request_ids", "snapshot",
    )  # fmt: skip

    def __init__(
        self,
        snapshot: Snapshot,
        clusters: dict[str, LiveCluster],
        clock: Clock,
        chance: Chance,
        request_ids: RequestIds,
        observers: Observers,
        on_observer_error: Callable[[Observer, Exception], None],
        callers: dict[str, Caller] | None = None,
        prepare: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.clusters = clusters
        self.clock = clock
        self.now = clock.monotonic
        self.chance = chance
        self.request_ids = request_ids
        self.observers = observers
        self.on_observer_error = on_observer_error
        self.callers = callers or {}
        self.prepare = prepare
        self.hosts: dict[tuple[int, str, str], HostPlans | None] = {}
        self._known: dict[int, HostPlans] = {}  # by the identity of the virtual host, which its plans keep alive

    def find_routes(self, request: RequestHead) -> HostPlans | None:
        """The routes for a request's host; remembered, since an application calls few hosts often."""
        key = (request.port, request.authority, request.host)
        hosts = self.hosts
        if key in hosts:
            return hosts[key]
        host = self.snapshot.find_host(request)
        if len(hosts) >= _REMEMBERED_HOSTS:
            hosts.clear()
            self._known.clear()
        found = None
        if host is not None:
            caller, told = self.callers.get(host.name), self.snapshot.peer_headers
            found = self._known.get(id(host)) or HostPlans(host, self.clusters, caller, told)
            self._known[id(host)] = found
        hosts[key] = found
        return found

    def find_host(self, request: RequestHead) -> VirtualHost | None:
        """The virtual host of a request."""
        found = self.find_routes(request)
        return None if found is None else found.host

    def notify(self, event: Event) -> None:
        """Hand an event to those who listen to its kind, in the order in which they subscribed."""
        for observer in self.observers.get(type(event), ()):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - an observer's fault must not become the caller's
                self.on_observer_error(observer, error)
