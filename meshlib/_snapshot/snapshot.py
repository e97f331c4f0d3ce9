"""The compiled configuration of one workload: everything a request is decided from."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshlib._http import RequestHead
from meshlib._snapshot.clusters import Cluster
from meshlib._snapshot.routes import RouteTable, VirtualHost

__all__ = ["Snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Immutable; shared by all threads; replaced whole by a publish.

    ``tables`` has a route table for each port that some service or gateway listens
    on. ``unlisted`` answers for every other port: a host known to no rule and no
    service is passed through (ALLOW_ANY) or refused with 502 (REGISTRY_ONLY); None
    at a gateway, where nothing listens.
    """

    tables: dict[int, RouteTable] = field(default_factory=dict)
    unlisted: RouteTable | None = None
    clusters: dict[str, Cluster] = field(default_factory=dict)
    version: str = ""

    def find_host(self, request: RequestHead) -> VirtualHost | None:
        """The virtual host for the dialled port and the Host header."""
        table = self.tables.get(request.port, self.unlisted)
        return None if table is None else table.find(host_of(request.authority))

    def __repr__(self) -> str:
        hosts = sum(len(table.exact) + len(table.suffixes) for table in self.tables.values())
        return f"<Snapshot {self.version} ports={len(self.tables)} domains={hosts} clusters={len(self.clusters)}>"


def host_of(authority: str) -> str:
    """A Host header value without port and trailing dot, in lower case."""
    host = authority.lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        host = name
    return host.removesuffix(".")
