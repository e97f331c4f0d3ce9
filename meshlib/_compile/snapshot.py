"""From resources to a snapshot for one workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from meshlib._compile.authorizers import checked_authorizer
from meshlib._compile.client_policies import ClientPolicies
from meshlib._compile.clusters import DYNAMIC, PASSTHROUGH, Destinations
from meshlib._compile.context import ClusterKeys, RouteContext
from meshlib._compile.credentials import ClientCredentials
from meshlib._compile.destination_rules import DestinationRules
from meshlib._compile.destinations import resolve_target
from meshlib._compile.findings import Findings
from meshlib._compile.gateway_tls import gateway_listeners
from meshlib._compile.gateways import GatewayTables
from meshlib._compile.host_tables import virtual_host
from meshlib._compile.inbound_ports import inbound_ports, ingress_listeners
from meshlib._compile.index import Index
from meshlib._compile.known import KnownCompilation
from meshlib._compile.mesh import mesh_settings
from meshlib._compile.mtls import PeerModes
from meshlib._compile.peer_metadata import peer_headers
from meshlib._compile.registry import Registry
from meshlib._compile.security import compile_security
from meshlib._compile.services import Service
from meshlib._compile.tables import SidecarTables, as_written
from meshlib._compile.telemetry import compile_telemetry
from meshlib._compile.unknown import report_unknown
from meshlib._compile.virtual_services import VirtualServices
from meshlib._compile.visibility import View, gateway_view, select_sidecar, sidecar_view
from meshlib._snapshot.clusters import Cluster, Discovery, TrafficPolicy, UpstreamTls
from meshlib._snapshot.matchers import RouteMatch
from meshlib._snapshot.routes import (
    Action,
    DirectResponse,
    Forward,
    Origin,
    Route,
    RouteTable,
    VirtualHost,
    WeightedDestination,
)
from meshlib._snapshot.snapshot import Snapshot
from meshlib.diagnostics import Finding
from meshlib.model.resource import Resource
from meshlib.workload import Workload

__all__ = ["Config", "compile_snapshot"]


class Config:
    """The resources of a mesh, made ready once; each workload is compiled from it."""

    def __init__(
        self, resources: Sequence[Resource], known: KnownCompilation | None = None, workload: Workload | None = None
    ) -> None:
        """``known`` makes a compilation for ``workload``, and for no other, depend on the one before it."""
        self.index = Index(resources)
        self.mesh = mesh_settings(self.index)
        self.registry = Registry(self.index, self.mesh)
        self.destination_rules = DestinationRules(self.index, self.mesh)
        self._known = known
        if known is None:
            self.rules = VirtualServices(self.index, self.mesh)
        else:
            known.begin(self.mesh, workload, bool(self.destination_rules))
            self.rules = VirtualServices(self.index, self.mesh, known.before.rules)
            known.now.rules = self.rules.known
        self.peers = PeerModes(self.index, self.mesh)
        self.client_policies = ClientPolicies(self.index)

    def compile(self, workload: Workload, findings: list[Finding] | None = None, version: str = "") -> Snapshot:
        """The snapshot of one workload; findings of level info and warning are appended."""
        collected = Findings(findings)
        view = self.view(workload)
        destinations, context = self._scope(view, workload, collected)
        if self._known is not None:
            self._known.compare_rules(self.index.resources("DestinationRule"), namespaces_of(view.services))
        clusters = destinations.clusters()
        security = compile_security(self.index, self.mesh, view, workload, collected)
        authorizer = checked_authorizer(security.authorizer, clusters, view, self.peers, collected)
        if authorizer is not security.authorizer:
            security = replace(security, authorizer=authorizer)
        telemetry = compile_telemetry(self.index, self.mesh, workload, collected)
        if workload.gateway:
            gateway = GatewayTables(self.index, self.registry, self.rules, view.services, context, workload)
            tables, servers = gateway.build()
            report_unknown(tables, clusters, collected)
            return Snapshot(
                tables=tables,
                servers=servers,
                clusters=clusters,
                client_policies=self.client_policies.of(tables.values(), workload.namespace),
                security=security,
                telemetry=telemetry,
                listeners=gateway_listeners(gateway.servers, self.index, workload.namespace, collected),
                dns_refresh_rate=self.mesh.dns_refresh_rate,
                peer_headers=peer_headers(workload),
                version=version,
            )
        unlisted = unlisted_host(view, context)
        if view.outbound_mode == "ALLOW_ANY_DYNAMIC_DNS":
            clusters[DYNAMIC] = dynamic_cluster()
        tables = SidecarTables(view, context, destinations, unlisted, self._known).build()
        report_unknown(tables, clusters, collected, self._known)
        sidecar = select_sidecar(self.index, self.mesh, workload)
        return Snapshot(
            tables=tables,
            unlisted=RouteTable(catch_all=unlisted),
            clusters=clusters,
            client_policies=self.client_policies.of(tables.values(), workload.namespace),
            security=security,
            telemetry=telemetry,
            inbound=inbound_ports(sidecar, self.index, self.destination_rules, self.mesh, workload),
            listeners=ingress_listeners(sidecar, self.index, workload, collected),
            dns_refresh_rate=self.mesh.dns_refresh_rate,
            address=workload.address,
            peer_headers=peer_headers(workload),
            version=version,
        )

    def view(self, workload: Workload) -> View:
        """What a workload sees."""
        if workload.gateway:
            return gateway_view(self.registry, workload)
        return sidecar_view(self.index, self.registry, self.rules, self.mesh, workload)

    def scope(self, view: View, workload: Workload) -> RouteContext:
        """What rules are compiled against for a workload, to ask about single ones."""
        return self._scope(view, workload, Findings(None))[1]

    def _scope(self, view: View, workload: Workload, findings: Findings) -> tuple[Destinations, RouteContext]:
        keys = ClusterKeys()
        credentials = ClientCredentials(self.index, workload.namespace, findings)
        destinations = Destinations(
            view.services, self.destination_rules, self.peers, self.mesh, workload, keys, findings, credentials
        )
        return destinations, RouteContext(
            namespace=workload.namespace,
            labels=workload.labels,
            mesh=self.mesh,
            findings=findings,
            locate=as_written,
            rules=bool(self.destination_rules),
            keys=keys,
            find_hash=destinations.find_hash,
            find_defaults=destinations.find_defaults,
        )


def compile_snapshot(
    resources: Sequence[Resource],
    workload: Workload,
    findings: list[Finding] | None = None,
    known: KnownCompilation | None = None,
) -> Snapshot:
    """The snapshot of ``workload``: everything its requests are decided from.

    What is doubtful is appended to ``findings``. What is in ``known`` and has not changed
    is not compiled again. For several workloads of one mesh, :class:`Config` does the
    common work once.
    """
    snapshot = Config(resources, known, workload).compile(workload, findings)
    if known is not None:
        known.end()
    return snapshot


def namespaces_of(services: Mapping[str, Service]) -> dict[str, str]:
    """The namespace of each host."""
    return {host: service.namespace for host, service in services.items()}


def unlisted_host(view: View, context: RouteContext) -> VirtualHost:
    """What answers for hosts that no rule and no service knows (semantics 5.4)."""
    if view.outbound_mode == "ALLOW_ANY_DYNAMIC_DNS":
        return catch_all("allow_any_dynamic_dns", forward_to(DYNAMIC))
    if view.outbound_mode != "ALLOW_ANY":
        return catch_all("block_all", DirectResponse(status=502))
    if view.egress_proxy is None:
        return catch_all("allow_any", forward_to(PASSTHROUGH))
    target = resolve_target(view.egress_proxy, view.egress_proxy_namespace, context)
    port = target.named_port or 0
    key, _ = context.cluster_key(target.host, port, target.subset)
    return catch_all("allow_any", forward_to(key, target.host, port, target.subset))


def forward_to(cluster: str, host: str = "", port: int = 0, subset: str = "") -> Forward:
    """Send everything to one cluster, without timeout and without retries."""
    destination = WeightedDestination(cluster=cluster, host=host, port=port, subset=subset)
    return Forward(destinations=(destination,), sums=(1,))


def catch_all(name: str, action: Action) -> VirtualHost:
    """A virtual host for everything else, named as its only route."""
    route = Route(match=RouteMatch(), action=action, name=name, origin=Origin("outboundTrafficPolicy"))
    return virtual_host(name, ("*",), (route,), route.origin, is_http=False)


def dynamic_cluster() -> Cluster:
    """The cluster that resolves the Host header of each request."""
    policy = TrafficPolicy(tls=UpstreamTls(mode="DISABLE"))
    return Cluster(name=DYNAMIC, host="", port=0, external=True, discovery=Discovery.DYNAMIC, policy=policy)
