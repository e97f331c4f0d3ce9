"""The services of a configuration: Kubernetes Services and ServiceEntries (semantics 5.1–5.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from meshlib._compile.endpoints import EndpointSources
from meshlib._compile.hosts import is_address, service_host
from meshlib._compile.index import Entry, Index
from meshlib._compile.mesh import MeshSettings, export_set
from meshlib._compile.order import age_of
from meshlib._compile.services import Resolution, Service, ServicePort, parse_protocol, port_protocol
from meshlib._compile.shared_endpoints import share_endpoints
from meshlib._snapshot.routes import Origin
from meshlib.model import kubernetes
from meshlib.model.service_entry import ServiceEntrySpec

__all__ = ["Registry"]

EXPORT_ANNOTATION: Final = "networking.istio.io/exportTo"
DISTRIBUTION_ANNOTATION: Final = "networking.istio.io/traffic-distribution"
PREFERENCES: Final = {"preferclose": "zone", "prefersamezone": "zone", "prefersamenode": "node"}
RESOLUTIONS: Final = {
    "NONE": Resolution.NONE,
    "STATIC": Resolution.STATIC,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS_ROUND_ROBIN,
    "DYNAMIC_DNS": Resolution.DYNAMIC_DNS,
}


class Registry:
    """All services, oldest first."""

    def __init__(self, index: Index, mesh: MeshSettings) -> None:
        sources = EndpointSources(index, mesh)
        found = [kubernetes_service(entry, mesh, sources) for entry in index.of("Service", kubernetes.ServiceSpec)]
        for entry in index.of("ServiceEntry", ServiceEntrySpec):
            found.extend(entry_services(entry, mesh, sources))
        found.sort(key=lambda service: service.age)
        share_endpoints(found)
        self.services = with_aliases(found)
        self._by_host: dict[str, dict[str, Service]] = {}
        for service in self.services:
            places = self._by_host.setdefault(service.host, {})
            existing = places.get(service.namespace)
            # The oldest service owns its host, but a Kubernetes Service is stronger than a ServiceEntry.
            if existing is None or (service.kubernetes and not existing.kubernetes):
                places[service.namespace] = service

    def hosts(self) -> Iterable[tuple[str, dict[str, Service]]]:
        """All hosts, each with its services by namespace."""
        return self._by_host.items()

    def named(self, host: str) -> dict[str, Service]:
        """The services of a host, by namespace."""
        return self._by_host.get(host, {})


def kubernetes_service(entry: Entry[kubernetes.ServiceSpec], mesh: MeshSettings, sources: EndpointSources) -> Service:
    """A Service. Headless ones are reached at the address that was dialled, ExternalName ones are aliases."""
    meta, spec = entry.meta, entry.spec
    external_name = spec.external_name if spec.type == "ExternalName" and spec.external_name else ""
    headless = spec.cluster_ip == "None"
    annotated = meta.annotations.get(EXPORT_ANNOTATION, "")
    service = Service(
        host=service_host(meta.name, meta.namespace),
        namespace=meta.namespace,
        name=meta.name,
        ports=tuple(
            ServicePort(
                number=port.port,
                name=port.name or "",
                protocol=port_protocol(port.port, port.name or "", port.protocol, port.app_protocol),
                target=port.target_port,
            )
            for port in spec.ports or ()
        ),
        resolution=Resolution.ALIAS if external_name else Resolution.NONE if headless else Resolution.STATIC,
        kubernetes=True,
        external=bool(external_name),
        export_to=export_set(
            map(str.strip, annotated.split(",")) if annotated else (), meta.namespace, mesh.service_export
        ),
        age=age_of(meta),
        origin=Origin(f"Service {meta.namespace}/{meta.name}", "", entry.resource.file, entry.resource.line),
        addresses=virtual_addresses(spec) if not headless else (),
        prefers=preference(spec.traffic_distribution, meta.annotations),
        alias_of=external_name,
    )
    if not external_name:
        sources.fill_kubernetes(service, spec.selector, publish_unready=bool(spec.publish_not_ready_addresses))
    return service


def preference(written: str | None, annotations: Mapping[str, str]) -> str:
    """What a service prefers by its trafficDistribution, else by the annotation from before that field."""
    if written in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        return PREFERENCES[written.lower()]
    return PREFERENCES.get(annotations.get(DISTRIBUTION_ANNOTATION, "").lower(), "")


def virtual_addresses(spec: kubernetes.ServiceSpec) -> tuple[str, ...]:
    """The cluster addresses of a Service."""
    if spec.cluster_ips:
        return tuple(spec.cluster_ips)
    return (spec.cluster_ip,) if spec.cluster_ip else ()


def entry_services(entry: Entry[ServiceEntrySpec], mesh: MeshSettings, sources: EndpointSources) -> list[Service]:
    """The services of a ServiceEntry: one for each of its hosts."""
    meta, spec = entry.meta, entry.spec
    origin = Origin(f"ServiceEntry {meta.namespace}/{meta.name}", "", entry.resource.file, entry.resource.line)
    age = age_of(meta)[0]
    resolution = RESOLUTIONS[spec.resolution or "NONE"]
    services = []
    for host in spec.hosts:
        service = Service(
            host=host,
            namespace=meta.namespace,
            name=meta.name,
            ports=tuple(
                ServicePort(
                    number=port.number,
                    name=port.name,
                    protocol=parse_protocol(port.protocol),
                    target=port.target_port,
                )
                for port in spec.ports
            ),
            resolution=resolution,
            kubernetes=False,
            external=spec.location != "MESH_INTERNAL",
            export_to=export_set(spec.export_to, meta.namespace, mesh.service_export),
            # Where all else is equal it is a matter of luck which one Istio 1.31 takes; its endpoints go by name.
            age=(age, host, meta.namespace, meta.name),
            origin=origin,
            addresses=tuple(filter(None, map(single_address, spec.addresses))),
            accounts=spec.subject_alt_names,
            prefers=preference(None, meta.annotations),
            traits=(
                frozenset(spec.export_to),
                frozenset(meta.labels.items()),
                frozenset(spec.workload_selector.labels.items()) if spec.workload_selector is not None else None,
            ),
        )
        sources.fill_entry(service, spec)
        services.append(service)
    return services


def single_address(address: str) -> str:
    """An address of a ServiceEntry, also if written as a network of one; empty for a larger network."""
    plain, slash, bits = address.partition("/")
    if not is_address(plain) or (slash and bits != ("128" if ":" in plain else "32")):
        return ""
    return plain


def with_aliases(services: list[Service]) -> list[Service]:
    """The services, those that ExternalName services stand for told of these."""
    targets = {service.host: service.alias_of for service in services if service.resolution is Resolution.ALIAS}
    if not targets:
        return services
    aliases: dict[str, list[tuple[str, str]]] = {}
    for service in services:
        if service.resolution is Resolution.ALIAS and (concrete := follow(targets, service.host)) is not None:
            aliases.setdefault(concrete, []).append((service.namespace, service.host))
    return [
        replace(service, aliases=tuple(host for _, host in sorted(aliases[service.host])))
        if service.host in aliases
        else service
        for service in services
    ]


def follow(targets: dict[str, str], host: str) -> str | None:
    """What an alias stands for in the end; None for aliases that go round in a circle."""
    seen = {host}
    while host in targets:
        host = targets[host]
        if host in seen:
            return None
        seen.add(host)
    return host
