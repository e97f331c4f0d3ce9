"""What an exchange runs on: one snapshot, bound to the state, with clock, chance and the way out for events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from meshlib._clock import Clock
from meshlib._engine.callers import Caller
from meshlib._engine.plans import Plan
from meshlib._engine.request_headers import RequestIds
from meshlib._engine.state import LiveCluster
from meshlib._http import RequestHead
from meshlib._random import Chance
from meshlib._snapshot.routes import Forward, Route, VirtualHost
from meshlib._snapshot.snapshot import Snapshot
from meshlib.events import Event, Observer

if TYPE_CHECKING:
    from meshlib._engine.exchange import Exchange

__all__ = ["Observers", "Published"]

Observers: TypeAlias = dict[type[Event], tuple[Observer, ...]]
"""Who listens to which kind of event. An event that nobody wants is not even made."""

_REMEMBERED_HOSTS: Final = 4096


class Published:
    """A snapshot in force. An exchange keeps the one it began with, whatever is published meanwhile.

    ``callers`` are the ClientPolicies by the name of their virtual host. ``observers`` is
    shared by all publishes of a runtime; ``on_observer_error`` takes what an observer
    raised, so that no call fails for its listener. ``hosts`` and ``plans`` are what was
    found before: look there, then ask :meth:`find_host` and :meth:`plan`. ``prepare`` is what
    exchanges need before anything else; None where they need nothing, which is usual.
    """

    __slots__ = (
        "callers", "chance", "clock", "clusters", "hosts", "now", "observers", "on_observer_error", "plans", "prepare",
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
        self.hosts: dict[tuple[int, str, str], VirtualHost | None] = {}
        self.plans: dict[int, Plan] = {}  # by the identity of the route, which the plan keeps alive

    def find_host(self, request: RequestHead) -> VirtualHost | None:
        """The virtual host of a request; remembered, since an application calls few hosts often."""
        key = (request.port, request.authority, request.host)
        hosts = self.hosts
        if key in hosts:
            return hosts[key]
        found = self.snapshot.find_host(request)
        if len(hosts) >= _REMEMBERED_HOSTS:
            hosts.clear()
        hosts[key] = found
        return found

    def plan(self, route: Route, action: Forward) -> Plan:
        """The plan of a route, whose action it is."""
        plan = self.plans.get(id(route))
        if plan is None:
            plan = self.plans[id(route)] = Plan(route, action, self.clusters)
        return plan

    def notify(self, event: Event) -> None:
        """Hand an event to those who listen to its kind, in the order in which they subscribed."""
        for observer in self.observers.get(type(event), ()):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - an observer's fault must not become the caller's
                self.on_observer_error(observer, error)
