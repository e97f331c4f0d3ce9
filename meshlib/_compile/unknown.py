"""Routes that lead nowhere: what will be answered 503 for want of a cluster is said at load, not at the first call."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Final

from meshlib._compile.findings import Findings
from meshlib._snapshot.routes import Forward, Origin, Route, RouteTable, WeightedDestination

__all__ = ["report_unknown"]

# A directory without its Services has one for every route: the first few tell the story.
_MOST: Final = 20


def report_unknown(tables: Iterable[RouteTable], clusters: Container[str], findings: Findings) -> None:
    """A finding for each destination that has no cluster, up to a limit; the rest are counted."""
    unknown: set[tuple[Origin, str]] = set()
    for route, destination in _destinations(tables):
        place = (route.origin, destination.cluster)
        if destination.cluster in clusters or place in unknown:
            continue
        unknown.add(place)
        if len(unknown) <= _MOST:
            findings.add("MESH067", route.origin, _message(destination, clusters))
    if len(unknown) > _MOST:
        findings.add("MESH067", Origin(""), f"{len(unknown) - _MOST} more destinations are not known either")


def _message(destination: WeightedDestination, clusters: Container[str]) -> str:
    host, port, subset = destination.host, destination.port, destination.subset
    if subset and f"outbound|{port}||{host}" in clusters:
        return f'subset "{subset}" of {host} is defined by no DestinationRule that applies; calls are answered 503'
    return f"{host} is no known Service or ServiceEntry on port {port}; calls are answered 503"


def _destinations(tables: Iterable[RouteTable]) -> Iterator[tuple[Route, WeightedDestination]]:
    seen: set[int] = set()
    for table in tables:
        for host in (*table.exact.values(), *table.suffixes.values()):
            if id(host) in seen:  # one virtual host stands under each of its domains
                continue
            seen.add(id(host))
            for route in host.routes:
                if isinstance(route.action, Forward):
                    for destination in route.action.destinations:
                        yield route, destination
