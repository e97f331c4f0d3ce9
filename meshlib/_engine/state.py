"""Mutable counters of a running mesh, apart from its configuration.

State is keyed by identity (cluster name, endpoint address), so that a publish keeps
what it knows: a new :class:`LiveCluster` is made for each publish and shares the
:class:`ClusterState` and :class:`EndpointState` of the one before.

The lock of a cluster is held for a pick or a record only, never across I/O. It is
reentrant: what was thrown away gives its place back when the garbage collector finds
it, and that may run on a thread which holds the lock already.
"""

from __future__ import annotations

from collections import deque
from threading import RLock

from meshlib._clock import Clock, SystemClock
from meshlib._engine.attempt_window import AttemptWindow
from meshlib._engine.balancing import Balancer, HashTable, TieredBalancer, make_pools
from meshlib._engine.commands import Ticket
from meshlib._random import Chance
from meshlib._snapshot.clusters import UNLIMITED, Cluster, Discovery, Endpoint, Maglev, RingHash
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["ClusterState", "EndpointState", "LiveCluster", "State"]


class EndpointState:
    """Counters of one endpoint of one cluster.

    ``active`` counts requests on their way; the consecutive counters, ``ejected_at``
    (None: not ejected), ``backoff`` and ``last_uneject`` belong to outlier detection.
    ``connections`` are held by them where the cluster caps these, ``waiting`` the queue for them
    (None until the first one waits: there may be very many endpoints).
    ``added_at`` starts its warm-up; None if it was not healthy when it came.
    """

    __slots__ = (
        "active",
        "added_at",
        "backoff",
        "connections",
        "consecutive_5xx",
        "consecutive_gateway",
        "consecutive_local",
        "ejected_at",
        "endpoint",
        "key",
        "last_uneject",
        "waiting",
    )

    def __init__(self, endpoint: Endpoint, added_at: float | None = None) -> None:
        self.endpoint = endpoint
        self.added_at = added_at if endpoint.healthy else None
        self.key = endpoint.key
        self.active = 0
        self.connections = 0
        self.waiting: deque[Ticket] | None = None
        self.consecutive_5xx = 0
        self.consecutive_gateway = 0
        self.consecutive_local = 0
        self.ejected_at: float | None = None
        self.backoff = 0
        self.last_uneject = float("-inf")

    @property
    def is_ejected(self) -> bool:
        return self.ejected_at is not None

    def __repr__(self) -> str:
        return f"<EndpointState {self.endpoint.key} active={self.active} ejected={self.is_ejected}>"


class ClusterState:
    """Counters of one cluster that outlive a publish. Mutated under ``lock`` only.

    ``connections`` and ``pending`` are counted where the policy caps them; ``mirrored`` are the copies sent to it,
    ``recent`` the attempts of late, for a retry budget that is a share of them.
    """

    __slots__ = ("active", "connections", "endpoints", "lock", "mirrored", "next_sweep", "pending", "recent", "retries")

    def __init__(self) -> None:
        self.lock = RLock()
        self.active = 0
        self.retries = 0
        self.connections = 0
        self.pending = 0
        self.mirrored = 0
        self.endpoints: dict[str, EndpointState] = {}
        self.next_sweep: float | None = None
        self.recent: AttemptWindow | None = None

    def reset(self) -> None:
        """Forget what is on its way, with a new lock: in a forked child nothing is."""
        self.lock = RLock()
        self.active = self.retries = self.connections = self.pending = self.mirrored = 0
        for host in self.endpoints.values():
            host.active = host.connections = 0
            host.waiting = None


class LiveCluster:
    """A compiled cluster bound to its state, with the balancer over the endpoints that may be picked."""

    __slots__ = (
        "_chance", "_clock", "balancer", "caps_connections", "cluster", "endpoints", "has_rare_limits", "is_hashing",
        "is_original", "judges_success", "max_connections", "max_pending", "max_requests", "now", "state", "table",
        "tiers",
    )  # fmt: skip

    def __init__(self, cluster: Cluster, state: ClusterState, chance: Chance, clock: Clock) -> None:
        self.cluster = cluster
        self.state = state
        self._chance = chance
        self._clock = clock
        self.is_original = cluster.discovery in (Discovery.ORIGINAL, Discovery.DYNAMIC)
        pool = cluster.policy.connection_pool
        self.max_requests, self.max_pending = pool.max_requests, pool.max_pending_requests
        self.max_connections = pool.max_connections
        # HTTP/2 puts all its requests on one connection.
        self.caps_connections = pool.max_connections < UNLIMITED and not cluster.speaks_http2
        self.now = clock.monotonic
        self._bind_budget()
        self.has_rare_limits = self.caps_connections or state.recent is not None
        self.is_hashing = isinstance(cluster.policy.balancer, RingHash | Maglev)
        # A list of error codes may hold codes that are successes otherwise.
        self.judges_success = cluster.policy.outlier is not None and bool(cluster.policy.outlier.error_codes)
        now = clock.monotonic()
        self.endpoints = tuple(self._state_of(endpoint, now) for endpoint in cluster.endpoints)
        self.balancer: Balancer[EndpointState]
        self.table: HashTable[EndpointState] | TieredBalancer[EndpointState] | None
        self.tiers: TieredBalancer[EndpointState] | None
        self.rebuild_locked()

    def _bind_budget(self) -> None:
        """Attempts are counted on as long as the interval of the retry budget stays the same."""
        budget, recent = self.cluster.policy.retry_budget, self.state.recent
        interval = budget.interval if budget is not None else None
        if interval is None:
            self.state.recent = None
        elif recent is None or recent.seconds != interval:
            self.state.recent = AttemptWindow(interval)

    def _state_of(self, endpoint: Endpoint, now: float) -> EndpointState:
        known = self.state.endpoints.get(endpoint.key)
        if known is None:
            known = self.state.endpoints[endpoint.key] = EndpointState(endpoint, now)
        known.endpoint = endpoint
        return known

    def rebuild_locked(self) -> None:
        """Bring the balancer up to date with ejections; ``table`` picks by hash, ``tiers`` around those tried."""
        available = frozenset(one for one in self.endpoints if one.endpoint.healthy and one.ejected_at is None)
        made = self.balancer = make_pools(self.cluster, self.endpoints, available, self._chance, self._clock)
        self.tiers = made if isinstance(made, TieredBalancer) else None
        hashing = isinstance(made, HashTable) or (self.tiers is not None and self.tiers.is_hashing)
        self.table = made if hashing and isinstance(made, HashTable | TieredBalancer) else None

    def __repr__(self) -> str:
        ejected = sum(one.is_ejected for one in self.endpoints)
        return f"<LiveCluster {self.cluster.name} endpoints={len(self.endpoints)} ejected={ejected}>"


class State:
    """All counters of a running mesh, by cluster name."""

    __slots__ = ("_chance", "_clock", "clusters")

    def __init__(self, chance: Chance, clock: Clock | None = None) -> None:
        self._chance = chance
        self._clock = clock or SystemClock()
        self.clusters: dict[str, ClusterState] = {}

    def bind(self, snapshot: Snapshot, before: dict[str, LiveCluster], now: float) -> dict[str, LiveCluster]:
        """Live clusters for a snapshot; those whose configuration did not change are taken over from ``before``.

        State of clusters and endpoints that are gone is dropped; requests still on
        their way to them hold the objects themselves. ``now`` starts the sweeps of
        clusters that are new.
        """
        live = {
            name: self._bind_one(name, cluster, before.get(name), now) for name, cluster in snapshot.clusters.items()
        }
        self.clusters = {name: one.state for name, one in live.items()}
        return live

    def _bind_one(self, name: str, cluster: Cluster, before: LiveCluster | None, now: float) -> LiveCluster:
        if before is not None and (before.cluster is cluster or before.cluster == cluster):
            return before
        state = self.clusters.get(name) or ClusterState()
        detection = cluster.policy.outlier
        with state.lock:
            if detection is None:
                state.next_sweep = None
            elif state.next_sweep is None:
                state.next_sweep = now + detection.interval
            bound = LiveCluster(cluster, state, self._chance, self._clock)
            state.endpoints = {one.endpoint.key: one for one in bound.endpoints}
        return bound

    def __repr__(self) -> str:
        active = sum(cluster.active for cluster in self.clusters.values())
        return f"<State clusters={len(self.clusters)} active={active}>"
