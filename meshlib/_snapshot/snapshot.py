"""The compiled configuration of one workload: everything a request is decided from."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshlib._http import RequestHead
from meshlib._snapshot.client_policy import ClientPolicy
from meshlib._snapshot.clusters import Cluster
from meshlib._snapshot.inbound_ports import InboundPorts
from meshlib._snapshot.listeners import NO_LISTENERS, Listeners
from meshlib._snapshot.routes import RouteTable, ServerNameTable, VirtualHost
from meshlib._snapshot.security import NO_SECURITY, Security
from meshlib._snapshot.telemetry import NO_TELEMETRY, Telemetry

__all__ = ["Snapshot", "bare_host", "host_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Immutable; shared by all threads; replaced whole by a publish.

    ``tables`` has a route table for each port that some service or gateway listens
    on; ``servers`` those ports of a gateway that speak TLS, where the server name
    selects the table. ``unlisted`` answers for every other port: a host known to no
    rule and no service is passed through (ALLOW_ANY) or refused with 502
    (REGISTRY_ONLY); None at a gateway, where nothing listens. ``client_policies`` are
    by the name of their virtual host; ``security`` is what requests to the workload must pass,
    ``dns_refresh_rate`` the seconds after which a failed look-up is tried again,
    ``listeners`` the TLS of a gateway's servers or a Sidecar's ingress, ``telemetry`` what is measured, traced
    and logged, ``address`` that of the workload (empty: not known), ``inbound`` the limits and
    listeners of the workload's own ports (None: nothing is said of them), ``peer_headers`` what it
    tells its peers of itself.
    """

    tables: dict[int, RouteTable] = field(default_factory=dict)
    servers: dict[int, ServerNameTable] = field(default_factory=dict)
    unlisted: RouteTable | None = None
    clusters: dict[str, Cluster] = field(default_factory=dict)
    client_policies: dict[str, ClientPolicy] = field(default_factory=dict)
    security: Security = NO_SECURITY
    listeners: Listeners = NO_LISTENERS
    telemetry: Telemetry = NO_TELEMETRY
    inbound: InboundPorts | None = None
    dns_refresh_rate: float = 60.0
    address: str = ""
    peer_headers: dict[str, str] = field(default_factory=dict)
    version: str = ""

    def find_host(self, request: RequestHead) -> VirtualHost | None:
        """The virtual host for the dialled port and the Host header."""
        table = self.tables.get(request.port)
        if table is None:
            table = self.find_table(request.port, request.host)
        return None if table is None else table.find(bare_host(request.authority))

    def find_table(self, port: int, server_name: str) -> RouteTable | None:
        """The route table of a port; ``server_name`` is what the client named in its TLS handshake."""
        servers = self.servers.get(port)
        if servers is not None:
            return servers.find(host_of(server_name))
        return self.tables.get(port, self.unlisted)

    def __repr__(self) -> str:
        hosts = sum(len(table.exact) + len(table.suffixes) for table in self.tables.values())
        ports = len(self.tables) + len(self.servers)
        return f"<Snapshot {self.version} ports={ports} domains={hosts} clusters={len(self.clusters)}>"


def host_of(authority: str) -> str:
    """A Host header value without port and trailing dot, in lower case."""
    return bare_host(authority).removesuffix(".")


def bare_host(authority: str) -> str:
    """A Host header value without port, in lower case: what Envoy compares with its domains."""
    host = authority.lower()
    if ":" not in host:
        return host
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host
