"""Compiled snapshots without YAML, for tests of the engine and of what stands on it."""

from __future__ import annotations

from meshlib._clock import Clock
from meshlib._engine.exchange import Exchange
from meshlib._http import Headers, RequestHead
from meshlib._random import Chance, system_chance
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import Cluster, Endpoint, OutlierDetection, TrafficPolicy
from meshlib._snapshot.matchers import RouteMatch
from meshlib._snapshot.routes import Forward, HeaderOps, Route, RouteTable, VirtualHost, WeightedDestination
from meshlib._snapshot.snapshot import Snapshot
from meshlib.testing import VirtualClock

NAME = "outbound|9080||reviews.default.svc.cluster.local"


def make_cluster(*ports: int, policy: TrafficPolicy | None = None, name: str = NAME) -> Cluster:
    endpoints = tuple(Endpoint(address="127.0.0.1", port=port) for port in ports)
    return Cluster(
        name=name, host=name.rpartition("|")[2], port=9080, endpoints=endpoints, policy=policy or TrafficPolicy()
    )


def make_snapshot(*clusters: Cluster, response_levels: tuple[HeaderOps, ...] = (), **action: object) -> Snapshot:
    """Every path of ``http://reviews:9080`` goes to the clusters in equal shares; ``action`` as in Forward."""
    targets = tuple(
        WeightedDestination(cluster=one.name, host=one.host, port=one.port, response_levels=response_levels)
        for one in clusters
    )
    forward = Forward(destinations=targets, sums=tuple(range(1, len(targets) + 1)), **action)  # type: ignore[arg-type]
    route = Route(match=RouteMatch(), action=forward, name="all")
    host = VirtualHost(name="reviews", domains=("reviews",), routes=(route,))
    table = RouteTable(exact={"reviews": host})
    return Snapshot(tables={9080: table}, clusters={one.name: one for one in clusters})


def make_runtime(snapshot: Snapshot, *, clock: Clock | None = None, chance: Chance | None = None) -> Runtime:
    return Runtime(snapshot, clock=clock or VirtualClock(), chance=chance or system_chance(7))


def begin(runtime: Runtime, *, method: str = "GET", path: str = "/", replay: bool = True, **headers: str) -> Exchange:
    fields = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    head = RequestHead(method, "http", "reviews:9080", path, fields, port=9080)
    return runtime.begin(head, fields, lambda: replay)


def counters(runtime: Runtime) -> dict[str, int]:
    """Everything that must be 0 when nothing is on its way."""
    live = runtime.clusters()
    return {
        "cluster active": sum(one.state.active for one in live.values()),
        "retries": sum(one.state.retries for one in live.values()),
        "endpoint active": sum(host.active for one in live.values() for host in one.endpoints),
    }


AT_REST = {"cluster active": 0, "retries": 0, "endpoint active": 0}

EJECT_FIRST = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)
