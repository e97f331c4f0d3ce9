"""``/clusters``: clusters with their endpoints and figures, in the shape of Envoy's ``/clusters?format=json``."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib._engine.limits import retry_limit
from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._explain.explanation import Json
from meshlib._snapshot.clusters import UNLIMITED, Endpoint
from meshlib.admin.member import Member
from meshlib.admin.messages import Streamed
from meshlib.admin.tally import Calls, Counts

__all__ = ["clusters_view", "socket_address"]


def clusters_view(members: Iterable[Member], *, wanted: str = "", most: int) -> dict[str, Streamed]:
    """``cluster_statuses``, at most ``most``, of clusters whose name has ``wanted`` in it; ``total`` are all such."""
    total = 0
    shown: list[tuple[Member, Counts, list[LiveCluster]]] = []
    for member in members:
        found = [live for name, live in member.runtime.published.clusters.items() if wanted in name]
        shown.append((member, member.tally.read(), found[: max(most - total, 0)]))
        total += len(found)
    statuses = (_status(member, live, counts) for member, counts, found in shown for live in found)
    return {"cluster_statuses": statuses, "total": total}


def _status(member: Member, live: LiveCluster, counts: Counts) -> dict[str, Json]:
    cluster = live.cluster
    return {
        "member": member.name,
        "name": cluster.name,
        "added_via_api": True,
        "observability_name": cluster.name,
        "host_statuses": [_host(one, counts.attempts.get((cluster.name, one.key))) for one in live.endpoints],
        "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", **_thresholds(live)}]},
    }


def _thresholds(live: LiveCluster) -> dict[str, Json]:
    return {
        "max_connections": live.max_connections,
        "max_pending_requests": live.max_pending,
        "max_requests": live.max_requests,
        "max_retries": min(retry_limit(live), UNLIMITED),
    }


def _host(one: EndpointState, calls: Calls | None) -> dict[str, Json]:
    endpoint = one.endpoint
    health: dict[str, Json] = {"eds_health_status": "HEALTHY" if endpoint.healthy else "UNHEALTHY"}
    if one.is_ejected:
        health["failed_outlier_check"] = True
    total, failed = (0, 0) if calls is None else (calls.requests, calls.failed)
    return {
        "address": socket_address(endpoint),
        "stats": [
            _counter("rq_error", failed),
            _counter("rq_success", total - failed),
            _counter("rq_total", total),
            {"name": "rq_active", "value": str(one.active), "type": "GAUGE"},
        ],
        "health_status": health,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "locality": {
            "region": endpoint.locality.region,
            "zone": endpoint.locality.zone,
            "sub_zone": endpoint.locality.subzone,
        },
    }


def _counter(name: str, value: int) -> Json:
    return {"name": name, "value": str(value)}


def socket_address(endpoint: Endpoint) -> dict[str, Json]:
    """An address as Envoy writes it."""
    if endpoint.address.startswith("unix:"):
        return {"pipe": {"path": endpoint.address.removeprefix("unix://")}}
    return {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}}
