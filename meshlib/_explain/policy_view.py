"""A traffic policy by dotted path, as a DestinationRule would write it, with all defaults filled in."""

from __future__ import annotations

from dataclasses import fields

from meshlib._explain.explanation import Json
from meshlib._snapshot.clusters import (
    Cluster,
    ConnectionPool,
    LeastRequest,
    Maglev,
    OutlierDetection,
    Passthrough,
    RandomPick,
    RingHash,
    RoundRobin,
    TrafficPolicy,
    UpstreamTls,
    Warmup,
)

__all__ = ["policy_view"]

POOL = {
    "connectionPool.tcp.maxConnections": "max_connections",
    "connectionPool.tcp.connectTimeout": "connect_timeout",
    "connectionPool.tcp.maxConnectionDuration": "max_connection_duration",
    "connectionPool.http.http1MaxPendingRequests": "max_pending_requests",
    "connectionPool.http.http2MaxRequests": "max_requests",
    "connectionPool.http.maxRetries": "max_retries",
    "connectionPool.http.maxRequestsPerConnection": "max_requests_per_connection",
    "connectionPool.http.maxConcurrentStreams": "max_concurrent_streams",
    "connectionPool.http.idleTimeout": "idle_timeout",
    "connectionPool.http.useClientProtocol": "use_client_protocol",
}
OUTLIER = {
    "outlierDetection.consecutive5xxErrors": "consecutive_5xx",
    "outlierDetection.consecutiveGatewayErrors": "consecutive_gateway",
    "outlierDetection.interval": "interval",
    "outlierDetection.baseEjectionTime": "base_ejection_time",
    "outlierDetection.maxEjectionPercent": "max_ejection_percent",
    "outlierDetection.minHealthPercent": "min_health_percent",
    "outlierDetection.splitExternalLocalOriginErrors": "split_local",
    "outlierDetection.consecutiveLocalOriginFailures": "consecutive_local",
}
TLS = {
    "tls.mode": "mode",
    "tls.sni": "sni",
    "tls.caCertificates": "ca_certificates",
    "tls.clientCertificate": "client_certificate",
    "tls.credentialName": "credential_name",
}


def policy_view(cluster: Cluster | None) -> dict[str, Json]:
    """The effective policy towards a cluster, empty if there is none. Durations are seconds, 4294967295 is no limit."""
    if cluster is None:
        return {}
    policy = cluster.policy
    view = balancer_view(policy)
    view.update(pool_view(policy.connection_pool))
    view.update(outlier_view(policy.outlier))
    view.update(tls_view(policy.tls))
    budget = policy.retry_budget
    view["retryBudget"] = None
    if budget is not None:
        del view["retryBudget"]
        view["retryBudget.percent"] = round(budget.ratio * 100.0, 6)
        view["retryBudget.minRetryConcurrency"] = budget.minimum
        if budget.interval is not None:
            view["retryBudget.budgetInterval"] = budget.interval
    if policy.proxy_protocol is not None:
        view["proxyProtocol.version"] = policy.proxy_protocol
    return view


def balancer_view(policy: TrafficPolicy) -> dict[str, Json]:
    """``loadBalancer.simple``, or ``loadBalancer.consistentHash`` with the algorithm."""
    match policy.balancer:
        case RingHash(size):
            return {
                "loadBalancer.consistentHash": "ringHash",
                "loadBalancer.consistentHash.ringHash.minimumRingSize": size,
            }
        case Maglev(size):
            return {"loadBalancer.consistentHash": "maglev", "loadBalancer.consistentHash.maglev.tableSize": size}
        case RandomPick():
            return {"loadBalancer.simple": "RANDOM"}
        case Passthrough():
            return {"loadBalancer.simple": "PASSTHROUGH"}
        case RoundRobin(warmup=warmup):
            return {"loadBalancer.simple": "ROUND_ROBIN", **warmup_view(warmup)}
        case LeastRequest(warmup=warmup):
            return {"loadBalancer.simple": "LEAST_REQUEST", **warmup_view(warmup)}


def warmup_view(warmup: Warmup | None) -> dict[str, Json]:
    """Slow start, if there is one."""
    if warmup is None:
        return {}
    return {
        "loadBalancer.warmup.duration": warmup.duration,
        "loadBalancer.warmup.minimumPercent": round(warmup.minimum * 100.0, 6),
        "loadBalancer.warmup.aggression": warmup.aggression,
    }


def pool_view(pool: ConnectionPool) -> dict[str, Json]:
    """Limits; a duration that is off is null."""
    view: dict[str, Json] = {path: getattr(pool, name) for path, name in POOL.items()}
    view["connectionPool.http.h2UpgradePolicy"] = "UPGRADE" if pool.h2_upgrade else "DO_NOT_UPGRADE"
    return view


def outlier_view(outlier: OutlierDetection | None) -> dict[str, Json]:
    """Outlier detection; null if it is off."""
    if outlier is None:
        return {"outlierDetection": None}
    view: dict[str, Json] = {path: getattr(outlier, name) for path, name in OUTLIER.items()}
    if outlier.error_codes:
        view["outlierDetection.outlierDetectionHttpErrorCodes"] = [*outlier.error_codes]
    return view


def tls_view(tls: UpstreamTls) -> dict[str, Json]:
    """TLS: the mode, and what else is set."""
    plain = {field.name: field.default for field in fields(tls)}
    view: dict[str, Json] = {
        path: getattr(tls, name) for path, name in TLS.items() if name == "mode" or getattr(tls, name) != plain[name]
    }
    if tls.subject_alt_names:
        view["tls.subjectAltNames"] = [*tls.subject_alt_names]
    if tls.skip_verify:
        view["tls.insecureSkipVerify"] = True
    return view
