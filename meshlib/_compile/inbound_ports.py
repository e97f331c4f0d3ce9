"""The workload's own ports: limits of inbound requests, listeners of its Sidecar (semantics 4.10, 5.4).

The limits of a port are those of its ingress listener, else ``inboundConnectionPool`` of
the Sidecar, else the ``connectionPool`` that a DestinationRule writes for the service:
whole blocks, as in Istio 1.31.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshlib._compile.destination_rules import DestinationRules
from meshlib._compile.findings import Findings
from meshlib._compile.gateway_tls import ingress_tls
from meshlib._compile.index import Entry, Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.own_services import own_services
from meshlib._compile.policies import PolicyTraits, at_port, connection_pool
from meshlib._snapshot.clusters import ConnectionPool
from meshlib._snapshot.inbound_ports import InboundPorts, IngressListener
from meshlib._snapshot.listeners import NO_LISTENERS, Listeners
from meshlib._snapshot.routes import Origin
from meshlib.model.sidecar import IstioIngressListener, SidecarSpec
from meshlib.workload import Workload

__all__ = ["inbound_ports", "ingress_listeners"]

_TRAITS = PolicyTraits()


def inbound_ports(
    sidecar: Entry[SidecarSpec] | None, index: Index, rules: DestinationRules, mesh: MeshSettings, workload: Workload
) -> InboundPorts | None:
    """What is said of the workload's ports; None if nothing is."""
    spec = sidecar.spec if sidecar is not None else SidecarSpec()
    pools: dict[int, ConnectionPool] = {}
    if spec.inbound_connection_pool is not None:
        pools[0] = connection_pool(spec.inbound_connection_pool, mesh, _TRAITS)
    else:
        pools.update(_of_rules(index, rules, mesh, workload))
    listeners, behind = [], {}
    for entry in spec.ingress:
        number = entry.port.number or 0
        listeners.append(IngressListener(port=number, bind=entry.bind or ""))
        if entry.connection_pool is not None:
            pools[number] = connection_pool(entry.connection_pool, mesh, _TRAITS)
        application = _application_port(entry)
        if application:
            behind[application] = number
    if not pools and not listeners:
        return None
    return InboundPorts(pools=pools, listeners=tuple(listeners), behind=behind)


def _of_rules(
    index: Index, rules: DestinationRules, mesh: MeshSettings, workload: Workload
) -> Iterator[tuple[int, ConnectionPool]]:
    for port, service in own_services(index, workload).items():
        rule = rules.select(service.host, service.namespace, workload.namespace, workload.labels)
        settings = at_port(rule.policy, service.port)[0].connection_pool if rule is not None else None
        if settings is not None:
            yield port, connection_pool(settings, mesh, _TRAITS)


def _application_port(entry: IstioIngressListener) -> int:
    """The port in ``127.0.0.1:8080`` and its like; 0 for a socket in the file system, or none."""
    port = (entry.default_endpoint or "").rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def ingress_listeners(
    sidecar: Entry[SidecarSpec] | None, index: Index, workload: Workload, findings: Findings
) -> Listeners:
    """The listeners of a Sidecar with the TLS that they end."""
    if sidecar is None or not any(entry.tls is not None for entry in sidecar.spec.ingress):
        return NO_LISTENERS
    tls = {
        entry.port.number or 0: ingress_tls(
            entry.tls, index, workload.namespace, Origin(str(sidecar.resource), f"spec.ingress[{number}]"), findings
        )
        for number, entry in enumerate(sidecar.spec.ingress)
        if entry.tls is not None
    }
    return Listeners(tls={port: server for port, server in tls.items() if server})
