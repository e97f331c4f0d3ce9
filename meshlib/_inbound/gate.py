"""The gate of a server: every request that arrives passes it or is refused.

An adapter says what it knows of a request (:class:`Arrival`), the gate asks the engine,
does what the engine cannot do by itself (ask an authorizer, wait for keys), and hands
back what the application gets (:class:`Admitted`) or what the client gets
(:class:`Refused`). An adapter that can tell equal requests (:class:`Memory`) has them
let in again without asking.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from meshlib._engine.decisions import Decision
from meshlib._engine.inbound import Authenticate, Inspection, decide_alone, inspect
from meshlib._engine.jwt import TokenCache, authenticate
from meshlib._engine.published import Published
from meshlib._inbound.arrivals import Admitted, Arrival, Refused
from meshlib._inbound.dry_runs import dry_run_counts
from meshlib._inbound.forwarded import TrustedProxies
from meshlib._inbound.key_managers import _managers as _managers  # noqa: PLC0414 - for tests with keys of their own
from meshlib._inbound.key_managers import key_manager
from meshlib._inbound.memory import Memory
from meshlib._inbound.rooms import Rooms
from meshlib._inbound.targets import Reading, one_slash
from meshlib._runtime import Runtime
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.snapshot import Snapshot
from meshlib.errors import MeshError

__all__ = ["Admitted", "Arrival", "Gate", "HasRuntime", "Refused"]


class HasRuntime(Protocol):
    """A :class:`meshlib.Mesh`, as far as a server needs it."""

    @property
    def runtime(self) -> Runtime:
        """Where the configuration in force is."""
        ...


class Gate:
    """Made once for a server; keys are read from then on."""

    checks_peer = True
    """Whether PeerAuthentication is applied; a gateway has the TLS settings of its servers instead."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        health_paths: Collection[str] = (),
        trusted_proxies: Iterable[str] = (),
        debug_headers: bool = False,
        forbid: Callable[[str], Exception] | None = None,
        now: Callable[[], float] | None = None,
        reading: Reading = one_slash,
    ) -> None:
        if isinstance(health_paths, str):
            health_paths = (health_paths,)
        self.runtime = runtime
        self.health_paths = frozenset(health_paths)
        for path in self.health_paths:
            if not path.startswith("/"):
                raise MeshError(f"health_paths: {path!r} does not begin with a slash; nothing would ever match it")
        self.proxies = TrustedProxies(trusted_proxies)
        self.debug_headers = debug_headers
        self.forbid = forbid
        self.reading = reading
        self.now = now or runtime.clock.time
        self.keys = key_manager(runtime)
        self.keys.prepare(runtime.published.snapshot.security.authentication)
        self.dry_runs = dry_run_counts(runtime)
        self._tokens = TokenCache()
        self.rooms = Rooms(runtime)
        self.memory = self._memory(runtime.published)

    def _memory(self, published: Published) -> Memory:
        trusts = bool(self.proxies)
        return Memory(published, trusts_proxies=trusts, health_paths=self.health_paths, reading=self.reading)

    def recall(self) -> Memory:
        """What was decided under the configuration in force."""
        memory, published = self.memory, self.runtime.published
        if memory.published is not published:
            snapshot = published.snapshot
            if not memory.is_of(snapshot):
                self.keys.prepare(snapshot.security.authentication)
                memory = self.memory = self._memory(published)
            memory.published = published
        return memory

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants to know of requests that are served."""
        runtime = self.runtime
        return runtime.recorder is not None or runtime.published.observers.watches_served

    def inspection(self, snapshot: Snapshot, request: InboundRequest) -> Inspection:
        """Begin to decide about a request on a snapshot."""
        return inspect(snapshot.security, request, self._check(snapshot), checks_peer=self.checks_peer)

    def decide(self, snapshot: Snapshot, request: InboundRequest) -> Decision | None:
        """Decide about a request at once; None where an authorizer may have to be asked."""
        security = snapshot.security
        if security.custom:
            return None
        return decide_alone(security, request, self._check(snapshot), checks_peer=self.checks_peer)

    def _check(self, snapshot: Snapshot) -> Authenticate | None:
        """What checks the tokens of a request now; None where there are no token rules."""
        rules = snapshot.security.authentication
        if rules is not self.keys.prepared and rules is self.runtime.published.snapshot.security.authentication:
            # Not for a request that began before a reload: the keys of new issuers would be forgotten.
            self.keys.prepare(rules)
        if rules is None:
            return None
        return partial(authenticate, rules, keys=self.keys, now=self.now(), cache=self._tokens)
