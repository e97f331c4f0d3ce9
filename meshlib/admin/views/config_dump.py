"""``/config_dump``: the snapshot in force in the shape of Envoy's, as far as there is a shape.

What an Envoy would be told for the same rules, from what this process really decides
by. Field names are Envoy's; what it has no field for stands under ``metadata``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

from meshlib._explain.explanation import Json, fault_json
from meshlib._explain.policy_view import policy_view
from meshlib._snapshot.clusters import (
    Cluster,
    Discovery,
    LeastRequest,
    Maglev,
    OutlierDetection,
    Passthrough,
    RandomPick,
    RingHash,
)
from meshlib._snapshot.routes import DirectResponse, Forward, Origin, Redirect, Route, RouteTable, VirtualHost
from meshlib._snapshot.security import Policy
from meshlib._snapshot.snapshot import Snapshot
from meshlib.admin.member import Member
from meshlib.admin.messages import Streamed
from meshlib.admin.views.clusters import socket_address
from meshlib.admin.views.route_table import conditions, origin_json, virtual_hosts

__all__ = ["LEVELS", "RESOURCES", "config_dump_view"]

_TYPE: Final = "type.googleapis.com/envoy.admin.v3."
RESOURCES: Final = ("bootstrap", "clusters", "routes", "security")
"""The parts that ``?resource=`` can ask for."""
LEVELS: Final = 6
"""How deep the iterators stand: under configs[], dynamic_route_configs[] and route_config."""

_DISCOVERY: Final = {
    Discovery.STATIC: "EDS",
    Discovery.DNS: "STRICT_DNS",
    Discovery.LOGICAL_DNS: "LOGICAL_DNS",
    Discovery.ORIGINAL: "ORIGINAL_DST",
    Discovery.DYNAMIC: "LOGICAL_DNS",
}


def config_dump_view(members: Iterable[Member], *, resource: str = "", wanted: str = "") -> Streamed:
    """``configs`` of all members; ``resource`` is one of :data:`RESOURCES`, ``wanted`` a part of the names."""
    configs: list[Streamed] = []
    for member in members:
        snapshot = member.runtime.published.snapshot
        updated = datetime.fromtimestamp(member.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        parts: dict[str, Callable[[], Mapping[str, Streamed]]] = {
            "bootstrap": partial(_bootstrap, member, updated),
            "clusters": partial(_clusters, snapshot, wanted),
            "routes": partial(_routes, snapshot, wanted),
            "security": partial(_security, snapshot),
        }
        configs += [{"member": member.name, **make()} for name, make in parts.items() if resource in ("", name)]
    return {"configs": configs}


def _bootstrap(member: Member, updated: str) -> dict[str, Json]:
    workload = member.mesh.workload
    region, _, rest = workload.locality.partition("/")
    zone, _, subzone = rest.partition("/")
    node: dict[str, Json] = {
        "id": workload.name or member.name,
        "cluster": member.name,
        "metadata": {
            "NAMESPACE": workload.namespace,
            "LABELS": {**workload.labels},
            "SERVICE_ACCOUNT": workload.service_account,
            "CLUSTER_ID": workload.cluster,
            "NETWORK": workload.network,
        },
        "locality": {"region": region, "zone": zone, "sub_zone": subzone},
        "user_agent_name": "meshlib",
    }
    return {"@type": f"{_TYPE}BootstrapConfigDump", "bootstrap": {"node": node}, "last_updated": updated}


def _clusters(snapshot: Snapshot, wanted: str) -> Mapping[str, Streamed]:
    return {
        "@type": f"{_TYPE}ClustersConfigDump",
        "version_info": snapshot.version,
        "dynamic_active_clusters": (
            {"version_info": snapshot.version, "cluster": _cluster(cluster)}
            for name, cluster in snapshot.clusters.items()
            if wanted in name
        ),
    }


def _cluster(cluster: Cluster) -> dict[str, Json]:
    pool, policy = cluster.policy.connection_pool, cluster.policy
    entry: dict[str, Json] = {
        "name": cluster.name,
        "type": _DISCOVERY[cluster.discovery],
        "connect_timeout": f"{pool.connect_timeout:g}s",
        "lb_policy": _balancer(cluster),
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": pool.max_connections,
                    "max_pending_requests": pool.max_pending_requests,
                    "max_requests": pool.max_requests,
                    "max_retries": pool.max_retries,
                }
            ]
        },
        "load_assignment": {
            "cluster_name": cluster.name,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {"address": socket_address(endpoint)},
                            "load_balancing_weight": endpoint.weight,
                            "health_status": "HEALTHY" if endpoint.healthy else "UNHEALTHY",
                        }
                    ],
                    "priority": endpoint.priority,
                    "locality": {
                        "region": endpoint.locality.region,
                        "zone": endpoint.locality.zone,
                        "sub_zone": endpoint.locality.subzone,
                    },
                }
                for endpoint in cluster.endpoints
            ],
        },
        "metadata": {"filter_metadata": {"istio": {"config": cluster.origin}, "meshlib": policy_view(cluster)}},
    }
    if policy.outlier is not None:
        entry["outlier_detection"] = _outlier(policy.outlier)
    return entry


def _balancer(cluster: Cluster) -> str:
    match cluster.policy.balancer:
        case LeastRequest():
            return "LEAST_REQUEST"
        case RandomPick():
            return "RANDOM"
        case RingHash():
            return "RING_HASH"
        case Maglev():
            return "MAGLEV"
        case Passthrough():
            return "CLUSTER_PROVIDED"
        case _:
            return "ROUND_ROBIN"


def _outlier(outlier: OutlierDetection) -> dict[str, Json]:
    return {
        "consecutive_5xx": outlier.consecutive_5xx,
        "consecutive_gateway_failure": outlier.consecutive_gateway,
        "consecutive_local_origin_failure": outlier.consecutive_local,
        "split_external_local_origin_errors": outlier.split_local,
        "interval": f"{outlier.interval:g}s",
        "base_ejection_time": f"{outlier.base_ejection_time:g}s",
        "max_ejection_time": f"{outlier.max_ejection_time:g}s",
        "max_ejection_percent": outlier.max_ejection_percent,
    }


def _routes(snapshot: Snapshot, wanted: str) -> Mapping[str, Streamed]:
    tables: list[tuple[str, RouteTable]] = [(str(port), table) for port, table in sorted(snapshot.tables.items())]
    if snapshot.unlisted is not None:
        tables.append(("allow_any", snapshot.unlisted))
    for port, servers in sorted(snapshot.servers.items()):
        tables += [
            (f"https.{port}.{name}", table) for name, table in (*servers.exact.items(), *servers.suffixes.items())
        ]
        if servers.catch_all is not None:
            tables.append((f"https.{port}", servers.catch_all))
    return {
        "@type": f"{_TYPE}RoutesConfigDump",
        "dynamic_route_configs": [
            {
                "version_info": snapshot.version,
                "route_config": {
                    "name": name,
                    "virtual_hosts": (_host(*entry) for entry in virtual_hosts(table) if _is_wanted(*entry, wanted)),
                },
            }
            for name, table in tables
        ],
    }


def _is_wanted(host: VirtualHost, domains: tuple[str, ...], wanted: str) -> bool:
    return wanted in host.name or any(wanted in domain for domain in domains)


def _host(host: VirtualHost, domains: tuple[str, ...]) -> dict[str, Json]:
    return {"name": host.name, "domains": [*domains], "routes": [_route(route) for route in host.routes]}


def _route(route: Route) -> dict[str, Json]:
    entry: dict[str, Json] = {"name": route.name, "match": {"meshlib": [*conditions(route.match)]}}
    action = route.action
    if isinstance(action, Redirect):
        entry["redirect"] = {"response_code": action.status, "host_redirect": action.authority, "path": action.path}
    elif isinstance(action, DirectResponse):
        entry["direct_response"] = {"status": action.status}
    else:
        entry["route"] = _forward(action)
        if action.fault is not None:
            entry["typed_per_filter_config"] = {"envoy.filters.http.fault": fault_json(action.fault)}
    entry["metadata"] = {
        "filter_metadata": {"istio": {"config": _config(route.origin)}, "meshlib": origin_json(route.origin)}
    }
    return entry


def _config(origin: Origin) -> str:
    """As Istio writes it: ``/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews``, else empty."""
    kind, _, rest = origin.resource.partition(" ")
    namespace, _, name = rest.partition("/")
    if kind != "VirtualService" or not name:
        return ""
    return f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtual-service/{name}"


def _forward(action: Forward) -> dict[str, Json]:
    entry: dict[str, Json] = {}
    if len(action.destinations) == 1:
        entry["cluster"] = action.destinations[0].cluster
    else:
        entry["weighted_clusters"] = {
            "clusters": [{"name": one.cluster, "weight": one.weight} for one in action.destinations]
        }
    entry["timeout"] = "0s" if action.timeout is None else f"{action.timeout:g}s"
    if action.retry is not None:
        entry["retry_policy"] = {
            "retry_on": ",".join(sorted(action.retry.conditions)),
            "num_retries": action.retry.attempts,
            "retriable_status_codes": [*sorted(action.retry.status_codes)],
            "per_try_timeout": None if action.retry.per_try_timeout is None else f"{action.retry.per_try_timeout:g}s",
        }
    if action.mirrors:
        entry["request_mirror_policies"] = [
            {"cluster": one.cluster, "percent": one.ratio * 100} for one in action.mirrors
        ]
    return entry


def _security(snapshot: Snapshot) -> dict[str, Json]:
    """Envoy has these in its listeners. Keys of tokens are not shown, nor is what a condition compares with."""
    security = snapshot.security
    rules = security.authentication.rules if security.authentication is not None else ()
    return {
        "@type": "meshlib.dev/SecurityConfigDump",
        "peer_mode": security.mode,
        "peer_modes": {str(port): mode for port, mode in security.modes.items()},
        "path_normalization": security.normalization,
        "token_issuers": [
            {"issuer": rule.issuer, "audiences": [*sorted(rule.audiences)], "jwks_uri": rule.keys.uri} for rule in rules
        ],
        "policies": [
            _policy(action, policy)
            for action, policies in (
                ("CUSTOM", security.custom),
                ("AUDIT", security.audit),
                ("DENY", security.deny),
                ("ALLOW", security.allow),
                ("DENY (dry run)", security.shadow_deny),
                ("ALLOW (dry run)", security.shadow_allow),
            )
            for policy in policies
        ],
    }


def _policy(action: str, policy: Policy) -> Json:
    return {
        "name": f"{policy.namespace}/{policy.name}",
        "action": action,
        "rules": len(policy.rules),
        "origin": origin_json(policy.origin),
    }
