"""The effective traffic policy of a destination (semantics 1.9, 4).

``effective`` lays port-level, subset and mesh-wide settings over each other, block by
block; ``compile_policy`` fills in the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

from meshlib._compile.destination_rules import MergedRule
from meshlib._compile.locality_policy import locality
from meshlib._compile.mesh import MeshSettings
from meshlib._snapshot.clusters import (
    UNLIMITED,
    BalancerPolicy,
    ConnectionPool,
    LeastRequest,
    Maglev,
    OutlierDetection,
    Passthrough,
    RandomPick,
    RetryBudget,
    RingHash,
    RoundRobin,
    TrafficPolicy,
    Tunnel,
    UpstreamTls,
    Warmup,
)
from meshlib.model import traffic_policy as model
from meshlib.model.load_balancer import ConsistentHashLB, LoadBalancerSettings

__all__ = [
    "Blocks",
    "PolicyTraits",
    "compile_policy",
    "consistent_hash_of",
    "declared_tls",
    "default_hash",
    "effective",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The blocks of a policy as the model has them, after all levels are laid over each other."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: model.ConnectionPoolSettings | None = None
    outlier_detection: model.OutlierDetection | None = None
    tls: model.ClientTLSSettings | None = None
    proxy_protocol: model.ProxyProtocol | None = None
    retry_budget: model.RetryBudget | None = None
    tunnel: model.TunnelSettings | None = None


NO_BLOCKS: Final = Blocks()

SHORT_IDLE: Final = 60.0  # seconds; client libraries close idle connections by themselves, aiohttp after 15


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTraits:
    """What of a destination, beside its rule, decides about its policy.

    ``tls`` is the mode where no rule sets one; ``accounts`` the names accepted in place
    of unset subjectAltNames; ``is_http`` whether the port is declared HTTP, and
    ``follows_client`` whether the protocol of the caller is kept because the port declares
    none; ``is_original`` whether requests go to the dialled address, so that nothing is picked;
    ``is_named`` whether endpoints are names; ``prefers`` what the service keeps calls near to.
    """

    tls: UpstreamTls = UpstreamTls()
    accounts: tuple[str, ...] = ()
    is_http: bool = True
    follows_client: bool = False
    is_original: bool = False
    is_named: bool = False
    prefers: str = ""


def effective(rule: MergedRule | None, subset: str, port: int, mesh: MeshSettings) -> Blocks:
    """The blocks that hold for a port and subset of the rule's host."""
    policy = rule.policy if rule is not None else None
    base, _ = at_port(policy, port)
    # The mesh-wide defaults stand below the rule's own blocks; a port-level entry of a subset wipes them too.
    base = replace(
        base,
        connection_pool=base.connection_pool or mesh.connection_pool,
        outlier_detection=base.outlier_detection or mesh.outlier_detection,
    )
    wanted = rule.subsets.get(subset) if rule is not None and subset else None
    if wanted is None or wanted.traffic_policy is None:
        return base
    above, by_port = at_port(wanted.traffic_policy, port)
    return Blocks(
        load_balancer=above.load_balancer if by_port else above.load_balancer or base.load_balancer,
        connection_pool=above.connection_pool if by_port else above.connection_pool or base.connection_pool,
        outlier_detection=above.outlier_detection if by_port else above.outlier_detection or base.outlier_detection,
        tls=above.tls if by_port else above.tls or base.tls,
        proxy_protocol=above.proxy_protocol or base.proxy_protocol,
        retry_budget=above.retry_budget or base.retry_budget,
        tunnel=above.tunnel or base.tunnel,
    )


def at_port(policy: model.TrafficPolicy | None, port: int) -> tuple[Blocks, bool]:
    """The blocks of a policy for a port, and whether a port-level entry gave them: it inherits nothing."""
    if policy is None:
        return NO_BLOCKS, False
    entry = port_entry(policy, port)
    if entry is not None:
        return Blocks(
            load_balancer=entry.load_balancer,
            connection_pool=entry.connection_pool,
            outlier_detection=entry.outlier_detection,
            tls=entry.tls,
        ), True
    return Blocks(
        load_balancer=policy.load_balancer,
        connection_pool=policy.connection_pool,
        outlier_detection=policy.outlier_detection,
        tls=policy.tls,
        proxy_protocol=policy.proxy_protocol,
        retry_budget=policy.retry_budget,
        tunnel=policy.tunnel,
    ), False


def port_entry(policy: model.TrafficPolicy | None, port: int) -> model.PortTrafficPolicy | None:
    """The first port-level entry for a port."""
    for entry in policy.port_level_settings if policy is not None else ():
        if entry.port is not None and (entry.port.number or 0) == port:
            return entry
    return None


def declared_tls(rule: MergedRule | None, subset: str, port: int) -> str | None:
    """The TLS mode that a rule writes anywhere for a port: unlike other blocks it shines through port-level entries.

    Istio asks this when it decides which endpoints are offered mesh mTLS.
    """
    if rule is None:
        return None
    chosen = rule.subsets.get(subset) if subset else None
    policies = [chosen.traffic_policy if chosen is not None else None, rule.policy]
    for policy in policies:
        entry = port_entry(policy, port)
        for settings in (entry.tls if entry is not None else None, policy.tls if policy is not None else None):
            if settings is not None:
                return settings.mode or "DISABLE"
    return None


def consistent_hash_of(rule: MergedRule | None, subset: str, port: int | None) -> ConsistentHashLB | None:
    """What the routes to a destination hash by. Port-level entries count only if the destination names its port."""
    if rule is None:
        return None
    found = [hash_of(rule.policy.load_balancer) if rule.policy is not None else None, hash_at(rule.policy, port)]
    wanted = rule.subsets.get(subset)
    if wanted is not None and wanted.traffic_policy is not None:
        found.append(hash_of(wanted.traffic_policy.load_balancer))
        found.append(hash_at(wanted.traffic_policy, port))
    return last(found)


def default_hash(rule: MergedRule | None, port: int) -> ConsistentHashLB | None:
    """What the default route of a service hashes by."""
    if rule is None or rule.policy is None:
        return None
    return hash_at(rule.policy, port) or hash_of(rule.policy.load_balancer)


def hash_at(policy: model.TrafficPolicy | None, port: int | None) -> ConsistentHashLB | None:
    entry = None if port is None else port_entry(policy, port)
    return hash_of(entry.load_balancer) if entry is not None else None


def hash_of(settings: LoadBalancerSettings | None) -> ConsistentHashLB | None:
    return settings.consistent_hash if settings is not None else None


T = TypeVar("T")


def last(values: list[T | None]) -> T | None:
    """The last value that is set."""
    return next((value for value in reversed(values) if value is not None), None)


def compile_policy(blocks: Blocks, traits: PolicyTraits, mesh: MeshSettings) -> TrafficPolicy:
    """The policy with all defaults filled in."""
    budget = blocks.retry_budget
    protocol = blocks.proxy_protocol
    return TrafficPolicy(
        balancer=Passthrough() if traits.is_original else balancer(blocks.load_balancer),
        connection_pool=connection_pool(blocks.connection_pool, mesh, traits),
        outlier=outlier(blocks.outlier_detection),
        tls=upstream_tls(blocks.tls, traits),
        retry_budget=None
        if budget is None
        else RetryBudget(
            ratio=(20.0 if budget.percent is None else budget.percent) / 100.0,
            minimum=budget.min_retry_concurrency or 3,
            interval=float(budget.budget_interval) if (budget.budget_interval or 0.0) > 0.0 else None,  # type: ignore[arg-type]
        ),
        locality=locality(blocks, mesh, traits),
        proxy_protocol=None if protocol is None else protocol.version or "V1",
        tunnel=tunnel(blocks.tunnel),
    )


def tunnel(settings: model.TunnelSettings | None) -> Tunnel | None:
    """Where connections are led on to; for HTTP requests it has no meaning, as in Istio."""
    if settings is None:
        return None
    method: Literal["CONNECT", "POST"] = "POST" if settings.protocol == "POST" else "CONNECT"
    return Tunnel(method=method, host=settings.target_host, port=int(settings.target_port))


def balancer(settings: LoadBalancerSettings | None) -> BalancerPolicy:
    """The algorithm: LEAST_REQUEST unless something else is written."""
    if settings is None:
        return LeastRequest()
    if settings.consistent_hash is not None:
        return hashing(settings.consistent_hash)
    match settings.simple:
        case "RANDOM":
            return RandomPick()
        case "PASSTHROUGH":
            return Passthrough()
        case "ROUND_ROBIN":
            return RoundRobin(warmup=warmup(settings))
        case _:
            return LeastRequest(warmup=warmup(settings))


def hashing(settings: ConsistentHashLB) -> BalancerPolicy:
    """Maglev if asked for, else a ring."""
    if settings.maglev is not None:
        return Maglev(settings.maglev.table_size or 65537)
    if settings.ring_hash is not None:
        return RingHash(settings.ring_hash.minimum_ring_size or 1024)
    return RingHash(settings.minimum_ring_size or 1024)


def warmup(settings: LoadBalancerSettings) -> Warmup | None:
    """Slow start, also from its deprecated place."""
    written = settings.warmup
    if written is not None:
        return Warmup(
            duration=float(written.duration),
            minimum=(10.0 if written.minimum_percent is None else written.minimum_percent) / 100.0,
            aggression=1.0 if written.aggression is None else written.aggression,
        )
    seconds = settings.warmup_duration_secs
    return None if seconds is None else Warmup(duration=float(seconds))


def connection_pool(
    settings: model.ConnectionPoolSettings | None, mesh: MeshSettings, traits: PolicyTraits
) -> ConnectionPool:
    """Limits; zero means unset."""
    tcp = (settings.tcp if settings else None) or model.TCPSettings()
    http = (settings.http if settings else None) or model.HTTPSettings()
    idle = http.idle_timeout if http.idle_timeout is not None else tcp.idle_timeout
    pings = http.http2_keep_alive
    most_requests = http.max_requests_per_connection or 0
    longest = seconds(tcp.max_connection_duration) or None
    return ConnectionPool(
        max_connections=limit(tcp.max_connections),
        connect_timeout=float(tcp.connect_timeout or mesh.connect_timeout),
        max_connection_duration=longest,
        tcp_idle_timeout=seconds(tcp.idle_timeout),
        tcp_keepalive=keepalive(mesh.tcp_keepalive, tcp.tcp_keepalive),
        max_pending_requests=limit(http.http1_max_pending_requests),
        max_requests=limit(http.http2_max_requests),
        max_requests_per_connection=most_requests,
        max_retries=limit(http.max_retries),
        idle_timeout=3600.0 if idle is None else float(idle) or None,
        max_concurrent_streams=http.max_concurrent_streams or 2**31 - 1,
        h2_upgrade=not traits.follows_client and upgrades(http, mesh, is_http=traits.is_http),
        use_client_protocol=bool(http.use_client_protocol),
        http2_keepalive=None if pings is None else (float(pings.interval or 0.0), float(pings.timeout or 0.0)),
        ends_connections=bool(most_requests or longest or (idle and idle < SHORT_IDLE)),
    )


def limit(value: int | None) -> int:
    return value if value is not None and value > 0 else UNLIMITED


def seconds(value: float | None) -> float | None:
    return None if value is None else float(value)


def upgrades(http: model.HTTPSettings, mesh: MeshSettings, *, is_http: bool) -> bool:
    """Whether HTTP/1.1 is sent as HTTP/2; the mesh's wish counts only for ports declared HTTP."""
    if http.use_client_protocol:
        return False
    if http.h2_upgrade_policy in ("UPGRADE", "DO_NOT_UPGRADE"):
        return http.h2_upgrade_policy == "UPGRADE"
    return mesh.h2_upgrade and is_http


def keepalive(
    mesh: model.TcpKeepalive | None, own: model.TcpKeepalive | None
) -> tuple[int | None, float | None, float | None] | None:
    """Probes, time and interval; the mesh's values where the policy has none."""
    if mesh is None and own is None:
        return None
    levels = [level for level in (own, mesh) if level is not None]
    probes = next((level.probes for level in levels if level.probes), None)
    time = next((level.time for level in levels if level.time), None)
    interval = next((level.interval for level in levels if level.interval), None)
    return probes, seconds(time), seconds(interval)


def outlier(settings: model.OutlierDetection | None) -> OutlierDetection | None:
    """Outlier detection; none at all without a block."""
    if settings is None:
        return None
    base = float(settings.base_ejection_time or 30.0)
    errors = settings.consecutive_5xx_errors
    ejected = settings.max_ejection_percent or 0
    return OutlierDetection(
        consecutive_5xx=5 if errors is None else errors,
        consecutive_gateway=settings.consecutive_gateway_errors or 0,
        consecutive_local=settings.consecutive_local_origin_failures or 5,
        split_local=bool(settings.split_external_local_origin_errors),
        interval=float(settings.interval or 10.0),
        base_ejection_time=base,
        max_ejection_time=max(300.0, base),
        max_ejection_percent=ejected if ejected > 0 else 10,
        min_health_percent=max(settings.min_health_percent or 0, 0),
        error_codes=settings.outlier_detection_http_error_codes,
    )


def upstream_tls(settings: model.ClientTLSSettings | None, traits: PolicyTraits) -> UpstreamTls:
    """TLS as written, or what the destination gets by itself."""
    if settings is None:
        return traits.tls
    return UpstreamTls(
        mode=settings.mode or "DISABLE",
        sni=settings.sni or "",
        subject_alt_names=settings.subject_alt_names or traits.accounts,
        ca_certificates=settings.ca_certificates or "",
        client_certificate=settings.client_certificate or "",
        private_key=settings.private_key or "",
        credential_name=settings.credential_name or "",
        ca_crl=settings.ca_crl or "",
        skip_verify=bool(settings.insecure_skip_verify),
        names_are_written=bool(settings.subject_alt_names),
    )
