"""Routes that lead nowhere: what will be answered 503 for want of a cluster is said at load, not at the first call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from meshlib._compile.findings import Findings
from meshlib._snapshot.clusters import Cluster
from meshlib._snapshot.routes import Forward, Origin, Route, RouteTable, WeightedDestination

__all__ = ["report_unknown"]

# A directory without its Services has one for every route: the first few tell the story.
_MOST: Final = 20


def report_unknown(tables: Mapping[int, RouteTable], clusters: Mapping[str, Cluster], findings: Findings) -> None:
    """A finding for each destination that has no cluster, up to a limit; the rest are counted."""
    hosts = {cluster.host for cluster in clusters.values()}
    unknown: set[tuple[Origin, str]] = set()
    for port, route, destination in _destinations(tables):
        place = (route.origin, destination.cluster)
        if destination.cluster in clusters or place in unknown:
            continue
        has_port = f"outbound|{destination.port}||{destination.host}" in clusters
        if destination.host in hosts and not has_port and destination.port == port:
            # The rules of a host stand on port 80 too, for whoever dials it there; that is Istio's way, not a mistake.
            continue
        unknown.add(place)
        if len(unknown) <= _MOST:
            findings.add("MESH067", route.origin, _message(destination, has_port=has_port))
    if len(unknown) > _MOST:
        findings.add("MESH067", Origin(""), f"{len(unknown) - _MOST} more destinations are not known either")


def _message(destination: WeightedDestination, *, has_port: bool) -> str:
    host, port, subset = destination.host, destination.port, destination.subset
    if subset and has_port:
        return f'subset "{subset}" of {host} is defined by no DestinationRule that applies; calls are answered 503'
    return f"{host} is no known Service or ServiceEntry on port {port}; calls are answered 503"


def _destinations(tables: Mapping[int, RouteTable]) -> Iterator[tuple[int, Route, WeightedDestination]]:
    seen: set[int] = set()
    for port, table in tables.items():
        for host in (*table.exact.values(), *table.suffixes.values()):
            if id(host) in seen:  # one virtual host stands under each of its domains
                continue
            seen.add(id(host))
            for route in host.routes:
                if isinstance(route.action, Forward):
                    for destination in route.action.destinations:
                        yield port, route, destination
