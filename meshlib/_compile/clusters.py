"""Clusters: one for each port and subset of the services that a workload sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace as evolve
from typing import Final

from meshlib._compile.context import ClusterKeys, DestinationDefaults
from meshlib._compile.credentials import ClientCredentials
from meshlib._compile.destination_rules import DestinationRules, MergedRule
from meshlib._compile.findings import Findings
from meshlib._compile.localities import arrange, viewpoint
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.mtls import PeerModes, accounts_of
from meshlib._compile.policies import (
    PolicyTraits,
    compile_policy,
    consistent_hash_of,
    declared_tls,
    default_hash,
    effective,
)
from meshlib._compile.services import SNIFFED, Resolution, Service, ServicePort, is_http
from meshlib._snapshot.clusters import Cluster, Discovery, Endpoint, Passthrough, TrafficPolicy, UpstreamTls
from meshlib._snapshot.routes import Origin
from meshlib.model.destination_rule import Subset
from meshlib.model.load_balancer import ConsistentHashLB
from meshlib.workload import Workload

__all__ = ["BLACK_HOLE", "DYNAMIC", "PASSTHROUGH", "Destinations"]

PASSTHROUGH: Final = "PassthroughCluster"
BLACK_HOLE: Final = "BlackHoleCluster"
DYNAMIC: Final = "AllowAnyDynamicDNSCluster"

DISABLED: Final = UpstreamTls(mode="DISABLE")
AUTOMATIC: Final = UpstreamTls(mode="AUTO")
MESH: Final = UpstreamTls(mode="ISTIO_MUTUAL")

DYNAMIC_PROTOCOLS: Final = frozenset({"HTTP", "HTTP2", "GRPC", "TLS"})

NAMED: Final = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)

DISCOVERY: Final = {
    Resolution.STATIC: Discovery.STATIC,
    Resolution.DNS: Discovery.DNS,
    Resolution.DNS_ROUND_ROBIN: Discovery.LOGICAL_DNS,
    Resolution.NONE: Discovery.ORIGINAL,
    Resolution.DYNAMIC_DNS: Discovery.DYNAMIC,
}


class Destinations:
    """The services that a workload sees, with the DestinationRule of each."""

    def __init__(
        self,
        services: Mapping[str, Service],
        rules: DestinationRules,
        peers: PeerModes,
        mesh: MeshSettings,
        workload: Workload,
        keys: ClusterKeys,
        findings: Findings,
        credentials: ClientCredentials,
    ) -> None:
        self._services = services
        self._rules = rules
        self._peers = peers
        self._mesh = mesh
        self._workload = workload
        self._here = viewpoint(workload)
        self._keys = keys
        self._findings = findings
        self._credentials = credentials
        self._selected: dict[str, MergedRule | None] = {}
        self._policies: dict[tuple[object, ...], TrafficPolicy] = {}
        self.asked: set[str] | None = None
        """While it is a set: the hosts whose DestinationRule somebody wanted to know."""

    # -- what routes ask ---------------------------------------------------------------------------

    def rule(self, host: str) -> MergedRule | None:
        """The DestinationRule for a host; only services have one."""
        if self.asked is not None:
            self.asked.add(host)
        if host not in self._selected:
            service = self._services.get(host)
            workload = self._workload
            self._selected[host] = (
                self._rules.select(host, service.namespace, workload.namespace, workload.labels)
                if service is not None and self._rules
                else None
            )
        return self._selected[host]

    def has_same_rules(self, asked: Iterable[tuple[str, MergedRule | None]]) -> bool:
        """Whether hosts have the DestinationRules that they had."""
        for host, before in asked:
            rule = self.rule(host)
            if rule is None or before is None:
                if rule is not before:
                    return False
            elif not rule.is_as(before):
                return False
        return True

    def find_hash(self, host: str, subset: str, port: int | None) -> ConsistentHashLB | None:
        """What routes to a destination hash by; ``port`` only if it names one."""
        rule = self.rule(host)
        return None if rule is None else consistent_hash_of(rule, subset, port)

    def find_default_hash(self, host: str, port: int) -> ConsistentHashLB | None:
        """What the default route of a service hashes by."""
        rule = self.rule(host)
        return None if rule is None else default_hash(rule, port)

    def find_defaults(self, host: str, subset: str, port: int) -> DestinationDefaults | None:
        """Timeout and retries that a rule gives the routes to its host; a subset's win."""
        rule = self.rule(host)
        if rule is None:
            return None
        chosen = rule.subsets.get(subset) if subset else None
        policies = [chosen.traffic_policy if chosen is not None else None, rule.policy]
        timeout = next((policy.timeout for policy in policies if policy is not None and policy.timeout), None)
        retry = next((policy.retry_policy for policy in policies if policy is not None and policy.retry_policy), None)
        if timeout is None and retry is None:
            return None
        return DestinationDefaults(None if timeout is None else float(timeout), retry)

    def takes_http(self, service: Service, port: ServicePort) -> bool:
        """True if HTTP routes apply to a port: by its protocol, or because the mesh itself originates its TLS.

        A sidecar could not look into TLS that its application starts; in the process itself
        the request is seen before, so a rule that originates TLS settles it.
        """
        if port.is_http or port.protocol not in ("HTTPS", "TLS") or service.resolution is Resolution.ALIAS:
            return port.is_http
        tls = effective(self.rule(service.host), "", port.number, self._mesh).tls
        return tls is not None and tls.mode in ("SIMPLE", "MUTUAL")

    # -- the clusters ------------------------------------------------------------------------------

    def clusters(self) -> dict[str, Cluster]:
        """All clusters by key, with the one for unknown hosts."""
        found = {
            PASSTHROUGH: Cluster(
                name=PASSTHROUGH,
                host="",
                port=0,
                external=True,
                discovery=Discovery.ORIGINAL,
                policy=TrafficPolicy(tls=DISABLED),
            )
        }
        for service in self._services.values():
            if service.resolution is Resolution.ALIAS:
                continue
            for port in service.ports:
                if port.protocol != "UDP":
                    found.update((cluster.name, cluster) for cluster in self._of_port(service, port))
        return found

    def _of_port(self, service: Service, port: ServicePort) -> Iterator[Cluster]:
        rule = self.rule(service.host)
        if service.resolution is Resolution.DYNAMIC_DNS:
            # The name decides alone: there is nothing to have subsets of, and no other protocols can tell it.
            if port.protocol in DYNAMIC_PROTOCOLS:
                cluster = self._cluster(service, port, rule, None, (), original=False)
                if cluster is not None:
                    yield cluster
            return
        endpoints = service.endpoints.get(port.number, ())
        if service.resolution in NAMED and not endpoints:
            return  # Envoy takes no such cluster, and Istio makes no subsets of it; requests find none (503 NC)
        subsets: list[Subset | None] = [None, *(rule.subsets.values() if rule is not None else ())]
        original = self._is_original(service, port, rule)
        for subset in subsets:
            cluster = self._cluster(service, port, rule, subset, endpoints, original=original)
            if cluster is not None:
                yield cluster

    def _is_original(self, service: Service, port: ServicePort, rule: MergedRule | None) -> bool:
        """True if requests go to the dialled address. The subsets of a service follow it in this."""
        if service.resolution is Resolution.DYNAMIC_DNS:
            return False
        if service.resolution is Resolution.NONE and not self._workload.gateway:
            return True
        balancer = effective(rule, "", port.number, self._mesh).load_balancer if rule is not None else None
        return balancer is not None and balancer.simple == "PASSTHROUGH"

    def _dials(self, rule: MergedRule | None, subset: str, port: ServicePort) -> bool:
        """True if a subset connects to the dialled address, by its own policy or what it has for the port."""
        if rule is None or passes_through(rule, subset) or not has_port_levels(rule, subset):
            return passes_through(rule, subset)
        balancer = effective(rule, subset, port.number, self._mesh).load_balancer
        return balancer is not None and balancer.simple == "PASSTHROUGH"

    def _cluster(
        self,
        service: Service,
        port: ServicePort,
        rule: MergedRule | None,
        subset: Subset | None,
        endpoints: tuple[Endpoint, ...],
        *,
        original: bool,
    ) -> Cluster | None:
        name = subset.name if subset is not None else ""
        # Istio 1.31 looks for names before it looks at what a rule has for single ports.
        needs_names = service.resolution in NAMED and not original and not passes_through(rule, name)
        original = original or (subset is not None and self._dials(rule, name, port))
        policy = self._policy(service, port, rule, name, endpoints, original=original)
        discovery = self._discovery(service, policy)
        accounts = (
            accounts_of(service, endpoints, self._mesh.trust_domain_aliases) if policy.tls.mode != "DISABLE" else ()
        )
        if subset is not None and subset.labels:
            wanted = subset.labels.items()
            endpoints = tuple(endpoint for endpoint in endpoints if wanted <= endpoint.labels.items())
        if policy.tls.mode == "AUTO":
            endpoints = self._peers.offer(endpoints, service.namespace, declared_tls(rule, name, port.number))
        if policy.outlier is not None and policy.outlier.min_health_percent:
            # Below that share of healthy endpoints all of them are used: so none may be there that is not ready.
            endpoints = tuple(endpoint for endpoint in endpoints if endpoint.healthy)
        if not service.known and discovery is not Discovery.ORIGINAL:
            discovery, endpoints = self._unknown(service, port, subset)
        if needs_names and not endpoints:
            return None
        if discovery is Discovery.STATIC:
            endpoints = each_once(endpoints)
        endpoints, localities = arrange(endpoints, policy.locality, self._here)
        key, host = self._keys.of(service.host, port.number, name)
        return Cluster(
            name=key,
            host=host,
            port=port.number,
            subset=name,
            namespace=service.namespace,
            external=service.external,
            protocol=port.protocol,
            discovery=discovery,
            endpoints=endpoints,
            localities=localities,
            policy=policy,
            origin=rule.origin if rule is not None else "",
            original_port=overridden_port(service, port) if discovery is Discovery.ORIGINAL else None,
            subset_labels=subset.labels if subset is not None else {},
            accounts=accounts,
            service=service.name if service.kubernetes else "",
        )

    def _discovery(self, service: Service, policy: TrafficPolicy) -> Discovery:
        if isinstance(policy.balancer, Passthrough) and service.resolution is not Resolution.DYNAMIC_DNS:
            return Discovery.ORIGINAL
        if service.resolution is Resolution.NONE and self._workload.gateway:
            # Nothing was dialled at a gateway: it needs the endpoints.
            return Discovery.STATIC
        return DISCOVERY[service.resolution]

    def _unknown(
        self, service: Service, port: ServicePort, subset: Subset | None
    ) -> tuple[Discovery, tuple[Endpoint, ...]]:
        """A Service whose endpoints nothing tells: its own name is asked; its subsets stay empty."""
        origin = service.origin
        if subset is None:
            self._findings.add(
                "MESH060",
                origin,
                f"nothing in the configuration tells the endpoints of {service.host}; its name is resolved by DNS",
            )
            return Discovery.DNS, (Endpoint(address=service.host, port=port.number),)
        self._findings.add(
            "MESH065",
            origin,
            f"nothing in the configuration tells which endpoints of {service.host} carry the labels of subset "
            f"{subset.name}; it has none",
        )
        return Discovery.STATIC, ()

    def _policy(
        self,
        service: Service,
        port: ServicePort,
        rule: MergedRule | None,
        subset: str,
        endpoints: tuple[Endpoint, ...],
        *,
        original: bool,
    ) -> TrafficPolicy:
        """The policy of a cluster; equal ones are one object."""
        traits = PolicyTraits(
            tls=self._tls(service, port, rule, subset, endpoints, original=original),
            accounts=service.accounts if not service.kubernetes else (),
            is_http=is_http(port.protocol),
            follows_client=port.protocol == SNIFFED and not self._workload.gateway,
            is_original=original,
            is_named=service.resolution in NAMED,
            prefers=service.prefers,
        )
        wanted = subset if rule is not None and subset in rule.subsets else ""
        number = port.number if rule is not None and has_port_levels(rule, wanted) else 0
        key = (id(rule), wanted, number, traits)
        policy = self._policies.get(key)
        if policy is None:
            blocks = effective(rule, wanted, port.number, self._mesh)
            policy = compile_policy(blocks, traits, self._mesh)
            if rule is not None and policy.tls.credential_name and policy.tls.mode in ("SIMPLE", "MUTUAL"):
                self._check_credentials(rule, policy)
                found = self._credentials.find(policy.tls, Origin(rule.origins[0]))
                policy = evolve(policy, tls=evolve(policy.tls, credential=found))
            if rule is not None and policy.proxy_protocol is not None and traits.is_http:
                self._findings.add(
                    "MESH068",
                    Origin(rule.origins[0]),
                    f"{service.host}:{port.number} carries HTTP, and HTTP clients send no PROXY header",
                    field="spec.trafficPolicy.proxyProtocol",
                )
            self._policies[key] = policy
        return policy

    def _check_credentials(self, rule: MergedRule, policy: TrafficPolicy) -> None:
        """Say where a sidecar would not originate TLS: it gets credentials by a rule with selector only."""
        name = policy.tls.credential_name
        if rule.selector is not None or self._workload.gateway:
            return
        if not name.startswith("configmap://"):
            self._findings.add(
                "MESH066",
                Origin(rule.origins[0]),
                f"credentialName {name} without workloadSelector: a sidecar would send plaintext, here TLS is used",
                field="spec.trafficPolicy.tls.credentialName",
            )

    def _tls(
        self,
        service: Service,
        port: ServicePort,
        rule: MergedRule | None,
        subset: str,
        endpoints: tuple[Endpoint, ...],
        *,
        original: bool,
    ) -> UpstreamTls:
        """TLS where no rule says anything: mesh mTLS to the endpoints that speak it, plaintext outside the mesh.

        Towards a dialled address it is decided for all of them at once.
        """
        if service.external or not self._mesh.auto_mtls:
            return DISABLED
        passes = service.resolution is Resolution.NONE or passes_through(rule, subset)
        if passes:
            asked = endpoints if service.dialled is None else service.dialled.get(port.number, ())
            speak = {endpoint.mesh_tls for endpoint in asked}.union(service.leaving.get(port.number, ()))
            if speak != {True}:
                return DISABLED
        if self._peers.mode(service.namespace) == "DISABLE":
            return DISABLED
        return MESH if original else AUTOMATIC


def each_once(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The endpoints, of several with one address and port only the first: Envoy drops the others."""
    by_key: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        by_key.setdefault(endpoint.key, endpoint)
    return endpoints if len(by_key) == len(endpoints) else tuple(by_key.values())


def overridden_port(service: Service, port: ServicePort) -> int | None:
    """The port that a ServiceEntry wants in place of the dialled one."""
    if service.kubernetes or service.resolution is not Resolution.NONE:
        return None
    return port.target if isinstance(port.target, int) else None


def has_port_levels(rule: MergedRule, subset: str) -> bool:
    """True if the policy of the rule or of its subset differs from port to port."""
    chosen = rule.subsets[subset].traffic_policy if subset else None
    return any(policy is not None and policy.port_level_settings for policy in (rule.policy, chosen))


def passes_through(rule: MergedRule | None, subset: str) -> bool:
    """True if the rule, or a subset of it in its own policy, connects to the dialled address."""
    if rule is None:
        return False
    policy = rule.subsets[subset].traffic_policy if subset in rule.subsets else rule.policy
    balancer = policy.load_balancer if policy is not None else None
    return balancer is not None and balancer.simple == "PASSTHROUGH"
