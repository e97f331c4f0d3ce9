"""The services that lead to this workload, by the port it listens on: the destination of what it serves."""

from __future__ import annotations

from meshlib._compile.hosts import service_host
from meshlib._compile.index import Index
from meshlib._snapshot.telemetry import OwnService
from meshlib.model import kubernetes
from meshlib.model.service_entry import ServiceEntrySpec
from meshlib.workload import Workload

__all__ = ["own_services"]


def own_services(index: Index, workload: Workload) -> dict[int, OwnService]:
    """Of several services for one port the first by name."""
    found: dict[int, OwnService] = {}
    labels = workload.labels.items()
    services = sorted(index.of("Service", kubernetes.ServiceSpec), key=lambda entry: entry.meta.name)
    for service in services:
        selector = service.spec.selector
        if service.meta.namespace != workload.namespace or not selector or not selector.items() <= labels:
            continue
        name, namespace = service.meta.name, service.meta.namespace
        host = service_host(name, namespace).lower()
        for port in service.spec.ports or ():
            number = port.target_port if isinstance(port.target_port, int) else port.port
            found.setdefault(number, OwnService(host, name, namespace, port.port))
    for entry in index.of("ServiceEntry", ServiceEntrySpec):
        chosen = entry.spec.workload_selector
        if entry.meta.namespace != workload.namespace or chosen is None or not chosen.labels.items() <= labels:
            continue
        host = entry.spec.hosts[0].lower()
        for declared in entry.spec.ports:
            own = OwnService(host, host, entry.meta.namespace, declared.number)
            found.setdefault(declared.target_port or declared.number, own)
    return found
