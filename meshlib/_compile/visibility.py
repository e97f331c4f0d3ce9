"""What a workload sees: services, VirtualServices and unknown hosts (semantics 5.1, 5.4, 5.6).

A Sidecar resource narrows the view; without one a workload sees all that is exported to
its namespace. Gateways always see all of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from meshlib._compile.hosts import HostIndex, covers, is_wildcard, overlaps
from meshlib._compile.index import Entry, Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.order import by_age
from meshlib._compile.registry import Registry
from meshlib._compile.services import Service
from meshlib._compile.virtual_services import BoundVirtualService, VirtualServices
from meshlib.model.destination import Destination
from meshlib.model.sidecar import IstioEgressListener, SidecarSpec
from meshlib.workload import Workload

__all__ = [
    "HTTP_PORT",
    "EgressListener",
    "View",
    "gateway_view",
    "lowered",
    "select_sidecar",
    "services_by_port",
    "sidecar_view",
]

EVERYWHERE: Final = "*"
HTTP_PORT: Final = 80
"""The port on which clients call hosts that are no services too."""


@dataclass(slots=True)
class HostFilter:
    """The hosts that a Sidecar imports from one namespace, and those it leaves out."""

    exact: set[str] = field(default_factory=set)
    patterns: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)

    def takes_service(self, host: str) -> bool:
        """True if the host of a service is imported."""
        if host in self.exact:
            return True
        return any(covers(pattern, host) for pattern in self.compared(host))

    def takes_rule(self, host: str) -> bool:
        """True if the host of a VirtualService is imported; wildcards need only overlap."""
        if host in self.exact:
            return True
        return any(overlaps(host, pattern) for pattern in self.compared(host))

    def compared(self, host: str) -> Iterable[str]:
        """The patterns that may take the host although it is none of them: two plain names are equal or nothing."""
        return self.patterns if is_wildcard(host) else filter(is_wildcard, self.patterns)

    def leaves_out(self, host: str) -> bool:
        """True if an entry with ``~`` names the host."""
        return any(covers(pattern, host) for pattern in self.excluded)


@dataclass(slots=True, eq=False)
class EgressListener:
    """What is imported through one egress listener; ``port`` None stands for all ports without one of their own."""

    port: int | None
    services: list[Service]
    rules: list[BoundVirtualService]
    _owners: HostIndex[BoundVirtualService] | None = None

    def owner(self, host: str) -> BoundVirtualService | None:
        """The VirtualService with the most specific host for a service: a wildcard host applies to no other."""
        if self._owners is None:
            self._owners = host_owners(self.rules)
        return self._owners.find(host)


@dataclass(slots=True, eq=False)
class View:
    """All that a workload sees. ``services`` are those that clusters are made for, one for each host."""

    listeners: list[EgressListener]
    services: dict[str, Service]
    outbound_mode: str
    egress_proxy: Destination | None = None
    egress_proxy_namespace: str = ""

    def listener(self, port: int) -> EgressListener | None:
        """The listener that serves a port."""
        for listener in self.listeners:
            if listener.port is None or listener.port == port:
                return listener
        return None


def sidecar_view(
    index: Index, registry: Registry, rules: VirtualServices, mesh: MeshSettings, workload: Workload
) -> View:
    """The view of a workload with a sidecar."""
    chosen = select_sidecar(index, mesh, workload)
    spec = chosen.spec if chosen is not None else SidecarSpec()
    egress = spec.egress or (IstioEgressListener(hosts=("*/*",)),)
    visible = [service for service in registry.services if service.visible_to(workload.namespace)]
    # Private and explicitly exported services come before public ones.
    visible.sort(key=lambda service: EVERYWHERE in service.export_to)
    bound = rules.for_gateway("mesh", workload.namespace)
    listeners = [import_hosts(listener, visible, bound, workload.namespace) for listener in egress]
    policy = spec.outbound_traffic_policy
    return View(
        listeners=listeners,
        services=imported_services(listeners, registry, workload.namespace),
        outbound_mode=mesh.outbound_mode if policy is None else policy.mode or "REGISTRY_ONLY",
        egress_proxy=policy.egress_proxy if policy is not None else None,
        egress_proxy_namespace=chosen.meta.namespace if chosen is not None else "",
    )


def gateway_view(registry: Registry, workload: Workload) -> View:
    """The view of a gateway: every service exported to its namespace."""
    services: dict[str, Service] = {}
    visible = [service for service in registry.services if service.visible_to(workload.namespace)]
    visible.sort(key=lambda service: EVERYWHERE in service.export_to)
    for service in visible:
        add_service(services, service)
    return View(listeners=[], services=services, outbound_mode="")


def select_sidecar(index: Index, mesh: MeshSettings, workload: Workload) -> Entry[SidecarSpec] | None:
    """The Sidecar of a workload: of its namespace by selector, else for the namespace, else the root namespace's."""
    found = list(index.of("Sidecar", SidecarSpec))
    found.sort(key=lambda entry: (entry.spec.workload_selector is None, by_age(entry)))
    for entry in found:
        selector = entry.spec.workload_selector
        if entry.meta.namespace == workload.namespace and (
            selector is None or selector.labels.items() <= workload.labels.items()
        ):
            return entry
    for entry in found:
        if entry.meta.namespace == mesh.root_namespace and entry.spec.workload_selector is None:
            return entry
    return None


def import_hosts(
    listener: IstioEgressListener, visible: Sequence[Service], rules: Sequence[BoundVirtualService], namespace: str
) -> EgressListener:
    """What one egress listener imports."""
    port = listener.port.number if listener.port is not None else None
    if listener.hosts == ("*/*",) and not port:
        services, taken = list(visible), list(rules)
    else:
        filters = host_filters(listener.hosts, namespace)
        services = import_services(visible, filters, port or None)
        taken = [rule for rule in rules if takes_any(rule, filters)]
    services = one_namespace_each(services, namespace)
    return EgressListener(port or None, services, taken)


def host_filters(hosts: Iterable[str], namespace: str) -> dict[str, HostFilter]:
    """``namespace/host`` entries by namespace; ``.`` is the workload's own, ``~`` in front leaves out."""
    filters: dict[str, HostFilter] = {}
    for entry in hosts:
        place, slash, host = entry.partition("/")
        if not slash or "/" in host:
            continue
        excluded = place.startswith("~")
        if excluded:
            place = place[1:] or EVERYWHERE
        chosen = filters.setdefault(namespace if place == "." else place, HostFilter())
        if excluded:
            chosen.excluded.append(host)
            continue
        chosen.patterns.append(host)
        if not is_wildcard(host):
            chosen.exact.add(host)
    return filters


def import_services(services: Iterable[Service], filters: Mapping[str, HostFilter], port: int | None) -> list[Service]:
    """The services whose host is imported, cut down to one port if the listener has one."""
    found: list[Service] = []
    everywhere = filters.get(EVERYWHERE)
    for service in services:
        chosen = [item for item in (filters.get(service.namespace), everywhere) if item is not None]
        if any(item.leaves_out(service.host) for item in chosen):
            continue
        for item in chosen:
            if item.takes_service(service.host) and (cut := at_port(service, port)) is not None:
                aliases = tuple(filter(item.takes_service, cut.aliases))
                found.append(cut if aliases == cut.aliases else replace(cut, aliases=aliases))
                break
    return found


def at_port(service: Service, number: int | None) -> Service | None:
    """The service with only the port of the listener; None if it does not have it."""
    if number is None:
        return service
    port = service.port(number)
    if port is None or len(service.ports) == 1:
        return None if port is None else service
    return replace(service, ports=(port,))


def takes_any(rule: BoundVirtualService, filters: Mapping[str, HostFilter]) -> bool:
    """True if one of the hosts of a VirtualService is imported."""
    chosen = [item for item in (filters.get(rule.namespace), filters.get(EVERYWHERE)) if item is not None]
    return any(
        item.takes_rule(host) and not any(other.leaves_out(host) for other in chosen)
        for host in rule.hosts
        for item in chosen
    )


def one_namespace_each(services: Sequence[Service], namespace: str) -> list[Service]:
    """Of one host in several namespaces only one: the workload's own, else a Kubernetes Service, else the first."""
    owners: dict[str, Service] = {}
    for service in services:
        known = owners.get(service.host)
        if (
            known is None
            or service.namespace == namespace
            or (not known.kubernetes and service.kubernetes and known.namespace != namespace)
        ):
            owners[service.host] = service
    return [service for service in services if owners[service.host].namespace == service.namespace]


def services_by_port(listener: EgressListener) -> dict[int, dict[str, Service]]:
    """The services of a listener by port and host in lower case. Port 80 is always there, for unknown hosts.

    A port of UDP is none to Istio 1.31: a VirtualService finds no service there.
    """
    found: dict[int, dict[str, Service]] = {listener.port or HTTP_PORT: {}}
    for service in listener.services:
        for port in service.ports:
            if port.protocol != "UDP":
                found.setdefault(port.number, {})[service.host.lower()] = service
    return found


def lowered(service: Service, host: str) -> Service:
    """The service under its host in lower case."""
    return service if service.host == host else replace(service, host=host)


def host_owners(rules: Iterable[BoundVirtualService]) -> HostIndex[BoundVirtualService]:
    """The VirtualServices by host, the first one for each."""
    index: HostIndex[BoundVirtualService] = HostIndex()
    for rule in rules:
        for host in rule.hosts:
            if index.get(host) is None:
                index.put(host, rule)
    return index


def imported_services(listeners: Sequence[EgressListener], registry: Registry, namespace: str) -> dict[str, Service]:
    """The services clusters are made for: those imported, and those that imported VirtualServices send to."""
    found: dict[str, Service] = {}
    is_whole = all(listener.port is None for listener in listeners)
    for listener in listeners:
        for service in listener.services:
            add_service(found, service)
        if is_whole and is_complete(found, registry):
            continue
        for rule in listener.rules:
            wanted: dict[str, set[int]] = {}
            for host, port in rule.destinations(namespace):
                wanted.setdefault(host, set()).add(port)
            for host, ports in wanted.items():
                best = best_service(registry.named(host), namespace)
                if best is None:
                    continue
                cut = at_port(best, listener.port) if listener.port else at_ports(best, ports)
                if cut is not None:
                    add_service(found, cut)
    return found


def is_complete(found: Mapping[str, Service], registry: Registry) -> bool:
    """True if a VirtualService could bring in nothing more.

    It could bring in a host that is missing, and a Kubernetes Service, even one that is
    not exported here, in the place of a ServiceEntry for the same host.
    """
    for host, places in registry.hosts():
        known = found.get(host)
        if known is None or (not known.kubernetes and any(service.kubernetes for service in places.values())):
            return False
    return True


def best_service(places: Mapping[str, Service], namespace: str) -> Service | None:
    """The service that a host means: of the workload's namespace, else Kubernetes' own, else the oldest."""
    if namespace in places:
        return places[namespace]
    visible = [service for service in places.values() if service.visible_to(namespace)]
    return min(visible, key=lambda service: (not service.kubernetes, service.age), default=None)


def at_ports(service: Service, numbers: set[int]) -> Service | None:
    """The service with only the ports that destinations name; 0 stands for all of them."""
    if 0 in numbers:
        return service
    ports = tuple(port for port in service.ports if port.number in numbers)
    if not ports:
        return None
    return service if len(ports) == len(service.ports) else replace(service, ports=ports)


def add_service(found: dict[str, Service], service: Service) -> None:
    """Keep one service for each host; parts of one service, seen through several listeners, are put together."""
    known = found.get(service.host)
    if known is None or (service.kubernetes and not known.kubernetes):
        found[service.host] = service
    elif (
        known is not service
        and known.namespace == service.namespace
        and known.resolution is service.resolution
        and known.kubernetes == service.kubernetes
        and known.traits == service.traits
    ):
        numbers = {port.number for port in known.ports}
        more = tuple(port for port in service.ports if port.number not in numbers)
        if more:
            found[service.host] = replace(known, ports=known.ports + more)
