"""Where the endpoints of services come from (semantics 5.2, 5.3).

A Kubernetes Service has those of its EndpointSlices, else of its Endpoints object, else
of the Pods its selector finds, and beside them the WorkloadEntries its selector finds.
A ServiceEntry has its own endpoints, or the Pods and WorkloadEntries of its selector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from meshlib._compile.hosts import is_address
from meshlib._compile.index import Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.services import Resolution, Service, ServicePort
from meshlib._compile.workloads import Instance, Workloads
from meshlib._snapshot.clusters import Endpoint
from meshlib.model import kubernetes
from meshlib.model.service_entry import ServiceEntrySpec

__all__ = ["EndpointSources"]

SERVICE_LABEL: Final = "kubernetes.io/service-name"
DNS: Final = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


class EndpointSources:
    """All objects that tell endpoints, ready to be asked by service."""

    def __init__(self, index: Index, mesh: MeshSettings) -> None:
        self._slices: dict[tuple[str, str], list[kubernetes.EndpointSliceSpec]] = {}
        for entry in index.of("EndpointSlice", kubernetes.EndpointSliceSpec):
            owner = entry.meta.labels.get(SERVICE_LABEL, "")
            self._slices.setdefault((entry.meta.namespace, owner), []).append(entry.spec)
        self._endpoints = {
            (entry.meta.namespace, entry.meta.name): entry.spec
            for entry in index.of("Endpoints", kubernetes.EndpointsSpec)
        }
        self._workloads = Workloads(index, mesh)

    # -- Kubernetes Services ---------------------------------------------------------------------

    def fill_kubernetes(self, service: Service, selector: Mapping[str, str] | None, *, publish_unready: bool) -> None:
        """Give a Service its endpoints; ``known`` becomes false if nothing tells them."""
        key = (service.namespace, service.name)
        if key in self._slices:
            found = self._of_slices(service, self._slices[key])
        elif key in self._endpoints:
            found = self._of_endpoints(service, self._endpoints[key])
        else:
            found = self._of_pods(service, selector, publish_unready=publish_unready)
            service.known = bool(found)
        if selector:
            entries = self._workloads.entries(service.namespace, selector)
            found = [*found, *self._of_entries(service, entries)]
            service.known = service.known or bool(entries)
        for port in service.ports:
            service.endpoints[port.number] = tuple(endpoint for number, endpoint in found if number == port.number)

    def _of_slices(self, service: Service, slices: list[kubernetes.EndpointSliceSpec]) -> list[tuple[int, Endpoint]]:
        found: dict[tuple[int, str], tuple[int, Endpoint]] = {}
        has_ipv4 = any(item.address_type == "IPv4" for item in slices)
        for item in slices:
            if has_ipv4 and item.address_type == "IPv6":
                continue
            for endpoint in item.endpoints or ():
                healthy = is_healthy(endpoint.conditions)
                if not endpoint.addresses:
                    continue
                pod = self._workloads.pod(service.namespace, reference(endpoint.target_ref), endpoint.addresses[0])
                for number, port in numbered(service, item.ports or ()):
                    if healthy is None:
                        service.leaving.setdefault(number, []).append(pod is not None and pod.mesh_tls)
                        continue
                    made = self._workloads.endpoint(
                        endpoint.addresses[0], port, pod, healthy=healthy, node=endpoint.node_name, zone=endpoint.zone
                    )
                    found.setdefault((number, made.key), (number, made))
        return list(found.values())

    def _of_endpoints(self, service: Service, spec: kubernetes.EndpointsSpec) -> list[tuple[int, Endpoint]]:
        found: list[tuple[int, Endpoint]] = []
        for subset in spec.subsets or ():
            groups = ((subset.addresses or (), True), (subset.not_ready_addresses or (), False))
            for addresses, healthy in groups:
                for address in addresses:
                    pod = self._workloads.pod(service.namespace, reference(address.target_ref), address.ip)
                    for number, port in numbered(service, subset.ports or ()):
                        made = self._workloads.endpoint(address.ip, port, pod, healthy=healthy, node=address.node_name)
                        found.append((number, made))
        return found

    def _of_pods(
        self, service: Service, selector: Mapping[str, str] | None, *, publish_unready: bool
    ) -> list[tuple[int, Endpoint]]:
        if not selector:
            return []
        return [
            (port.number, self._workloads.endpoint(pod.address, target, pod, healthy=pod.healthy or publish_unready))
            for pod in self._workloads.pods(service.namespace, selector)
            for port in service.ports
            if (target := pod.target(port)) is not None
        ]

    def _of_entries(self, service: Service, entries: Iterable[Instance]) -> Iterator[tuple[int, Endpoint]]:
        for entry in entries:
            # Kubernetes knows addresses only; names and sockets are for ServiceEntries.
            if is_address(entry.address):
                for port in service.ports:
                    target = entry.ports.get(port.name) or (
                        port.target if isinstance(port.target, int) else port.number
                    )
                    yield port.number, self._workloads.endpoint(entry.address, target, entry, healthy=entry.healthy)

    # -- ServiceEntries ----------------------------------------------------------------------------

    def fill_entry(self, service: Service, spec: ServiceEntrySpec) -> None:
        """Give a service of a ServiceEntry its endpoints."""
        by_name = service.resolution in DNS
        if spec.workload_selector is not None:
            instances = self._workloads.selected(service.namespace, spec.workload_selector.labels)
            instances = [instance for instance in instances if by_name or is_address(instance.address)]
        elif spec.endpoints:
            instances = [
                self._workloads.inline(entry, service.namespace, f"{service.name}-{number}")
                for number, entry in enumerate(spec.endpoints)
            ]
        elif by_name:
            for port in service.ports:
                target = port.target if isinstance(port.target, int) else port.number
                service.endpoints[port.number] = (Endpoint(address=service.host, port=target, workload=service.name),)
            return
        else:
            return
        for port in service.ports:
            endpoints = tuple(self._entry_endpoint(instance, port) for instance in instances)
            single = service.resolution is Resolution.DNS_ROUND_ROBIN
            service.endpoints[port.number] = endpoints[:1] if single else endpoints

    def _entry_endpoint(self, instance: Instance, port: ServicePort) -> Endpoint:
        target = port.target if isinstance(port.target, int) else port.number
        if instance.address.startswith("unix://"):
            target = 0
        elif instance.ports.get(port.name):
            target = instance.ports[port.name]
        return self._workloads.endpoint(instance.address, target, instance, healthy=instance.healthy)


def is_healthy(conditions: kubernetes.EndpointConditions | None) -> bool | None:
    """True for a ready endpoint, False for one that is not ready yet, None for one that is going away."""
    if conditions is None or conditions.ready is not False:
        return True
    return None if conditions.terminating is not False else False


def numbered(service: Service, ports: Iterable[kubernetes.EndpointPort]) -> Iterator[tuple[int, int]]:
    """Service port numbers with the endpoint ports of the same name."""
    for port in ports:
        for wanted in service.ports:
            if (port.name or "") == wanted.name and port.port is not None:
                yield wanted.number, port.port


def reference(target: kubernetes.ObjectReference | None) -> str:
    """The name of the pod behind an address."""
    return (target.name or "") if target is not None and target.kind in (None, "Pod") else ""
