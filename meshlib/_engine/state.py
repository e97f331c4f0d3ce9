"""Mutable counters of a running mesh, apart from its configuration.

State is keyed by identity (cluster name, endpoint address), so that a publish keeps
what it knows: a new :class:`LiveCluster` is made for each publish and shares the
:class:`ClusterState` and :class:`EndpointState` of the one before.

The lock of a cluster is held for a pick or a record only, never across I/O.
"""

from __future__ import annotations

from threading import Lock

from meshlib._engine.balancing import Balancer, HashTable, make_balancer
from meshlib._random import Chance
from meshlib._snapshot.clusters import Cluster, Discovery, Endpoint
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["ClusterState", "EndpointState", "LiveCluster", "State"]


class EndpointState:
    """Counters of one endpoint of one cluster.

    ``active`` counts requests on their way; the consecutive counters, ``ejected_at``
    (None: not ejected), ``backoff`` and ``last_uneject`` belong to outlier detection.
    """

    __slots__ = (
        "active",
        "backoff",
        "consecutive_5xx",
        "consecutive_gateway",
        "consecutive_local",
        "ejected_at",
        "endpoint",
        "key",
        "last_uneject",
    )

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.key = endpoint.key
        self.active = 0
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
    """Counters of one cluster that outlive a publish. Mutated under ``lock`` only."""

    __slots__ = ("active", "endpoints", "lock", "next_sweep", "retries")

    def __init__(self) -> None:
        self.lock = Lock()
        self.active = 0
        self.retries = 0
        self.endpoints: dict[str, EndpointState] = {}
        self.next_sweep: float | None = None


class LiveCluster:
    """A compiled cluster bound to its state, with the balancer over the endpoints that may be picked."""

    __slots__ = (
        "_chance", "balancer", "cluster", "endpoints", "is_original", "judges_success", "max_requests", "state", "table"
    )  # fmt: skip

    def __init__(self, cluster: Cluster, state: ClusterState, chance: Chance) -> None:
        self.cluster = cluster
        self.state = state
        self._chance = chance
        self.is_original = cluster.discovery is Discovery.ORIGINAL
        self.max_requests = cluster.policy.connection_pool.max_requests
        # A list of error codes may hold codes that are successes otherwise.
        self.judges_success = cluster.policy.outlier is not None and bool(cluster.policy.outlier.error_codes)
        self.endpoints = tuple(self._state_of(endpoint) for endpoint in cluster.endpoints)
        self.balancer: Balancer[EndpointState]
        self.table: HashTable[EndpointState] | None
        self.rebuild_locked()

    def _state_of(self, endpoint: Endpoint) -> EndpointState:
        known = self.state.endpoints.get(endpoint.key)
        if known is None:
            known = self.state.endpoints[endpoint.key] = EndpointState(endpoint)
        known.endpoint = endpoint
        return known

    def rebuild_locked(self) -> None:
        """Bring the balancer up to date with ejections: first failover tier with an available endpoint."""
        available = [one for one in self.endpoints if one.endpoint.healthy and one.ejected_at is None]
        tier = min((one.endpoint.priority for one in available), default=0)
        hosts = tuple(one for one in available if one.endpoint.priority == tier)
        self.balancer = make_balancer(self.cluster.policy.balancer, hosts, self._chance)
        self.table = self.balancer if isinstance(self.balancer, HashTable) else None

    def __repr__(self) -> str:
        ejected = sum(one.is_ejected for one in self.endpoints)
        return f"<LiveCluster {self.cluster.name} endpoints={len(self.endpoints)} ejected={ejected}>"


class State:
    """All counters of a running mesh, by cluster name."""

    __slots__ = ("_chance", "clusters")

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
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
            bound = LiveCluster(cluster, state, self._chance)
            state.endpoints = {one.endpoint.key: one for one in bound.endpoints}
        return bound

    def __repr__(self) -> str:
        active = sum(cluster.active for cluster in self.clusters.values())
        return f"<State clusters={len(self.clusters)} active={active}>"
