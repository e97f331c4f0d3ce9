"""What joins configuration and requests: the snapshot in force, the state, clock, chance and observers."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Protocol, cast, get_args

from meshlib._clock import Clock, SystemClock
from meshlib._context import deadline, entered, serving
from meshlib._engine.callers import Caller, bind_callers
from meshlib._engine.exchange import Exchange
from meshlib._engine.path_normalization import path_changer, plain_path
from meshlib._engine.published import Observers, Published
from meshlib._engine.recording import Recorder, View
from meshlib._engine.request_headers import RequestIds
from meshlib._engine.state import LiveCluster, State
from meshlib._http import Headers, RequestHead
from meshlib._random import Chance, branch, reseed, system_chance
from meshlib._snapshot.snapshot import Snapshot
from meshlib.errors import MeshError
from meshlib.events import Event, EventT, Observer

__all__ = ["Runtime", "forked", "runtime_of"]


def runtime_of(mesh: object, user: str) -> Runtime:
    """What the adapter ``user`` works with. Raises :class:`MeshError` for what is no mesh, as its directory."""
    found: Runtime | None = getattr(mesh, "runtime", None)
    if found is None:
        shown = f"the class {mesh.__name__}" if isinstance(mesh, type) else f"an object of type {type(mesh).__name__}"
        raise MeshError(f"{user} takes a mesh, not {shown}; give it what Mesh.load(...) returns")
    return found


class Runtime:
    """Shared by all threads and event loops of the process.

    A publish swaps one reference: an exchange that has begun goes on with the
    snapshot it began with, the next one sees the new. A forked child starts with
    fresh locks and without the requests of its parent.
    """

    exchange_type: Callable[..., Exchange] = Exchange
    """What :meth:`begin` makes; simulations have their own, which does the same on virtual time."""

    def __init__(self, snapshot: Snapshot, *, clock: Clock | None = None, chance: Chance | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.chance: Chance = chance or system_chance()
        self._has_own_chance = chance is None
        self.id_chance = branch(self.chance)
        """For ids and for what is traced, so that a request that brings its own does not change what others get."""
        self._request_ids = RequestIds(self.id_chance)
        self._observers = Observers()
        self._failed_observers: set[Observer] = set()
        self.recorder: Recorder | None = None
        self.views: list[View] = []  # parts of the mesh that have figures of their own for the metrics
        self.certificates: str | None = None  # where those of the workload lie; None: where Istio puts them
        self.originator: object = None  # of TLS, made by the first client that needs it
        self.on_use: Callable[[], None] | None = None  # called once, when a request begins
        self._lock = threading.Lock()
        self._state = State(self.chance, self.clock)
        self.compiled = snapshot
        self._resolved: Callable[[Snapshot], Snapshot] | None = None
        self.published = self._bind(snapshot, {})
        if hasattr(os, "register_at_fork"):
            forked.watch(self)

    def publish(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force. State survives, keyed by cluster and endpoint."""
        with self._lock:
            self.compiled = snapshot
            self._rebind()

    def resolve_by(self, resolved: Callable[[Snapshot], Snapshot]) -> None:
        """Put in force, now and at each publish, what ``resolved`` makes of the snapshot as compiled."""
        with self._lock:
            self._resolved = resolved
            self._rebind()

    def _rebind(self) -> None:
        snapshot = self.compiled if self._resolved is None else self._resolved(self.compiled)
        if snapshot is not self.published.snapshot:
            self.published = self._bind(snapshot, self.published.clusters, self.published.callers)

    def use(self) -> Published:
        """The snapshot in force, for a request or a connection that begins now."""
        if self.on_use is not None:
            on_use, self.on_use = self.on_use, None
            on_use()
        return self.published

    def begin(self, request: RequestHead, headers: Headers, can_replay: Callable[[], bool]) -> Exchange:
        """Start an exchange on the snapshot in force, with what the request being served hands on."""
        published = self.published if self.on_use is None else self.use()
        served = serving.get()
        if served is not None:
            for name, value in served.carried.items():
                headers.setdefault(name, value)
        exchange = self.exchange_type(published, request, headers, can_replay)
        if published.prepare is not None:
            published.prepare(exchange)
        if exchange.published.callers:
            exchange.deadline = deadline.get()
        if self.recorder is not None:
            self.recorder.begin(exchange)
        return exchange

    def plain_path(self, path: str) -> str:
        """The path as a sidecar would have it: for clients whose library leaves more in it than ``/..``."""
        return plain_path(path, self.published.snapshot.security.normalization)

    def observe(self, observer: Callable[[EventT], None], *kinds: type[EventT]) -> Callable[[], None]:
        """Deliver events of these kinds (default: all) to ``observer``; returns the function that ends it."""
        wanted = cast("tuple[type[Event], ...]", kinds or get_args(Event))
        listener = cast("Observer", observer)  # it hears only what it wants
        with self._lock:
            self._observers.add(listener, wanted)
        return lambda: self._forget(listener, wanted)

    def notify(self, event: Event) -> None:
        """Deliver an event that did not come from an exchange."""
        self.published.notify(event)

    def clusters(self) -> dict[str, LiveCluster]:
        """The live clusters by name, for views and tests."""
        return self.published.clusters

    def _bind(
        self, snapshot: Snapshot, before: dict[str, LiveCluster], callers: dict[str, Caller] | None = None
    ) -> Published:
        clusters = self._state.bind(snapshot, before, self.clock.monotonic())
        bound = bind_callers(snapshot.client_policies, callers or {})
        return Published(
            snapshot, clusters, self.clock, self.chance, self._request_ids, self._observers, self._on_observer_error,
            bound, _enter if snapshot.unlisted is None else path_changer(snapshot.security.normalization),
        )  # fmt: skip

    def _forget(self, observer: Observer, kinds: tuple[type[Event], ...]) -> None:
        with self._lock:
            self._observers.remove(observer, kinds)

    def _on_observer_error(self, observer: Observer, error: Exception) -> None:
        if observer in self._failed_observers:
            return
        self._failed_observers.add(observer)
        warnings.warn(
            f"the mesh observer {observer!r} raised {error!r}; it goes on being called, this is said once",
            RuntimeWarning,
            stacklevel=2,
        )

    def reset_after_fork(self) -> None:
        """In a forked child: new locks, draws of its own, counters of requests on their way back to zero."""
        self._lock = threading.Lock()
        if self._has_own_chance:
            reseed(self.chance)
            reseed(self.id_chance)
        self.originator = None
        self.published.request_ids = self._request_ids = RequestIds(self.id_chance)
        if self.recorder is not None:
            self.recorder.reset_after_fork()
        for live in self.published.clusters.values():
            live.state.reset()
        for caller in self.published.callers.values():
            caller.reset_after_fork()

    def __repr__(self) -> str:
        return f"<Runtime {self.published.snapshot!r} {self._state!r}>"


def _enter(exchange: Exchange) -> None:
    """Show the routes of a gateway how the request came in, where the client library only knows the next hop."""
    arrival, request = entered.get(), exchange.request
    if arrival is not None:
        request.scheme = arrival.scheme
        request.host = arrival.server_name or request.authority
        request.claims = arrival.claims
        request.source, request.source_port = arrival.source, arrival.source_port


class HasLocks(Protocol):
    """What a fork leaves in a state that only its parent could end."""

    def reset_after_fork(self) -> None:
        """Make it usable in the child."""


class _Forks:
    """Tells living objects that the process has forked; one hook for the process, since hooks cannot be removed."""

    def __init__(self) -> None:
        self._watched: weakref.WeakSet[HasLocks] = weakref.WeakSet()
        self._registered = False

    def watch(self, one: HasLocks) -> None:
        """Reset it in every child from now on, as long as it lives."""
        self._watched.add(one)
        if not self._registered:
            self._registered = True
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        for one in list(self._watched):
            one.reset_after_fork()


forked = _Forks()
