"""``/live``: everything the live page draws, small enough to be asked for each second.

Counts grow from the first look on; rates are the page's to make of two answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from meshlib._engine.limits import retry_limit
from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._explain.explanation import Json, fault_json
from meshlib._snapshot.clusters import UNLIMITED, Cluster
from meshlib.admin.member import Member, node_of_host
from meshlib.admin.tally import BOUNDS, Calls, Counts
from meshlib.admin.views.certificates import has_certificates

__all__ = ["live_view", "member_view"]

_MOST_CLUSTERS: Final = 200
_MOST_ENDPOINTS: Final = 50
_MOST_PEERS: Final = 100


def live_view(members: Iterable[Member], now: float, *, allows_control: bool) -> dict[str, Json]:
    """All members, with the bounds (ms) of their latency ranges."""
    return {
        "now": round(now, 3),
        "bounds": [*BOUNDS],
        "control": allows_control,
        "members": [member_view(member) for member in members],
    }


def member_view(member: Member) -> dict[str, Json]:
    """One mesh: who it is, its clusters with their endpoints, its breakers, what it has served."""
    counts, published = member.tally.read(), member.runtime.published
    shown, total = _clusters(member, counts)
    workload = member.mesh.workload
    return {
        "name": member.name,
        "since": round(member.tally.since, 3),
        "workload": {
            "namespace": workload.namespace,
            "labels": {**workload.labels},
            "service_account": workload.service_account,
            "spiffe_id": workload.spiffe_id,
            "locality": workload.locality,
            "gateway": workload.gateway,
        },
        "config": {
            "version": published.snapshot.version,
            "errors": sum(finding.level == "error" for finding in member.mesh.findings),
            "warnings": sum(finding.level == "warning" for finding in member.mesh.findings),
        },
        "peer_mode": published.snapshot.security.mode,
        "clusters": [*shown],
        "clusters_total": total,
        "unrouted": [*islice(_unrouted(counts), _MOST_PEERS)],
        "breakers": _breakers(member),
        "served": [
            {"principal": principal, "denied": counts.denied.get(principal, 0), **calls.to_json()}
            for principal, calls in [*counts.served.items()][:_MOST_PEERS]
        ],
        "faults": {
            "injected": {**counts.faults},
            "by_hand": {
                str(route): None if fault is None else fault_json(fault)
                for route, fault in member.faults.set_by_hand.items()
            },
        },
    }


def _unrouted(counts: Counts) -> Iterator[Json]:
    """Calls that went to no cluster: without a route, or answered by it."""
    for (cluster, route, host), calls in counts.exchanges.items():
        if not cluster:
            yield {"host": host, "route": route, **calls.to_json()}


def _breakers(member: Member) -> list[Json]:
    return [
        {"host": host, "node": node_of_host(host.rpartition(":")[0] or host), "state": caller.breaker.state,
         "origin": caller.policy.origin}
        for host, caller in member.runtime.published.callers.items()
        if caller.breaker is not None
    ]  # fmt: skip


def _clusters(member: Member, counts: Counts) -> tuple[list[dict[str, Json]], int]:
    """Those that were called or have something to show, then others up to the limit; and how many there are."""
    live = member.runtime.published.clusters
    calls: dict[str, Calls] = {}
    for (cluster, _, _), value in counts.exchanges.items():
        if cluster:
            calls.setdefault(cluster, Calls()).merge(value)
    names = [name for name in calls if name in live][:_MOST_CLUSTERS]
    if len(names) < _MOST_CLUSTERS:
        called = set(names)
        for name, one in live.items():
            if len(names) >= _MOST_CLUSTERS:
                break
            if name not in called and (one.endpoints or one.cluster.origin):
                names.append(name)
    is_known = has_certificates(member)
    return [_cluster(live[name], calls.get(name), counts, has_own=is_known) for name in names], len(live)


def _cluster(live: LiveCluster, calls: Calls | None, counts: Counts, *, has_own: bool) -> dict[str, Json]:
    cluster, state = live.cluster, live.state
    limit = retry_limit(live)
    return {
        "name": cluster.name,
        "node": node_of_host(cluster.host),
        "host": cluster.host,
        "port": cluster.port,
        "subset": cluster.subset,
        "external": cluster.external,
        "origin": cluster.origin,
        "security": transport_security(cluster, has_own=has_own),
        "balancer": type(cluster.policy.balancer).__name__,
        "detects_outliers": cluster.policy.outlier is not None,
        "active": state.active,
        "pending": state.pending,
        "mirrored": state.mirrored,
        "retries_active": state.retries,
        "retry_limit": None if limit >= UNLIMITED else limit,
        "limits": {
            name: value
            for name, value in (
                ("requests", live.max_requests), ("pending", live.max_pending), ("connections", live.max_connections)
            )
            if value < UNLIMITED
        },
        "endpoints": [_endpoint(one, counts.attempts.get((cluster.name, one.key))) for one in _shown(live)],
        "endpoints_total": len(live.endpoints),
        "ejected": sum(one.is_ejected for one in live.endpoints),
        "calls": None if calls is None else calls.to_json(),
    }  # fmt: skip


def _shown(live: LiveCluster) -> Iterable[EndpointState]:
    """All endpoints, or of very many the ejected ones and the first others."""
    if len(live.endpoints) <= _MOST_ENDPOINTS:
        return live.endpoints
    return sorted(live.endpoints, key=lambda one: not one.is_ejected)[:_MOST_ENDPOINTS]


def _endpoint(one: EndpointState, calls: Calls | None) -> dict[str, Json]:
    endpoint = one.endpoint
    return {
        "address": one.key,
        "healthy": endpoint.healthy,
        "ejected": one.is_ejected,
        "active": one.active,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "locality": str(endpoint.locality),
        "version": endpoint.labels.get("version", ""),
        "attempts": 0 if calls is None else calls.requests,
        "failed": 0 if calls is None else calls.failed,
    }


def transport_security(cluster: Cluster, *, has_own: bool) -> str:
    """``mtls``, ``tls`` or ``plaintext``, as calls are made; ``mixed`` where some endpoints have a sidecar."""
    mode = cluster.policy.tls.mode
    if mode in ("MUTUAL", "ISTIO_MUTUAL"):
        return "mtls"
    if mode == "SIMPLE":
        return "tls"
    if mode == "DISABLE" or not has_own:
        return "plaintext"
    speaking = sum(endpoint.mesh_tls for endpoint in cluster.endpoints)
    if not speaking:
        return "plaintext"
    return "mtls" if speaking == len(cluster.endpoints) else "mixed"
