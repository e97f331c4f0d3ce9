"""Routes that lead nowhere: what will be answered 503 for want of a cluster is said at load, not at the first call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from operator import attrgetter
from typing import Final

from meshlib._compile.findings import Findings
from meshlib._compile.known import KnownCompilation, Unknown, UnknownDestination, UnknownOfHost
from meshlib._snapshot.clusters import Cluster
from meshlib._snapshot.routes import Forward, Origin, RouteTable, VirtualHost, WeightedDestination

__all__ = ["report_unknown"]

# A directory without its Services has one for every route: the first few tell the story.
_MOST: Final = 20


def report_unknown(
    tables: Mapping[int, RouteTable],
    clusters: Mapping[str, Cluster],
    findings: Findings,
    known: KnownCompilation | None = None,
) -> None:
    """A finding for each destination that has no cluster, up to a limit; the rest are counted.

    Nothing else than the names of the clusters decides: while they stay, what was ``known`` of a host holds.
    """
    now = before = Unknown(frozenset(clusters))
    if known is not None:
        known.now.unknown = now
        if known.before.unknown.clusters == now.clusters:
            before = known.before.unknown
    now.begin(before, tables)
    names = {cluster.host for cluster in clusters.values()}
    for port, table in tables.items():
        stand = [*table.exact.values(), *table.suffixes.values()]
        hosts = dict(zip(map(id, stand), stand, strict=True))  # one virtual host stands under each of its domains
        earlier = before.of_port.get(port, {})
        new = {
            place: UnknownOfHost(hosts[place], tuple(_unknown(hosts[place], port, clusters, names)))
            for place in hosts.keys() - earlier.keys()
        }
        now.of_port[port] = dict(zip(hosts, map((earlier | new).__getitem__, hosts), strict=True))
        now.count(new.values(), 1)
        now.count([earlier[place] for place in earlier.keys() - hosts.keys()], -1)
    _report(now, findings)


def _unknown(
    host: VirtualHost, port: int, clusters: Mapping[str, Cluster], hosts: set[str]
) -> Iterator[UnknownDestination]:
    for route in host.routes:
        if not isinstance(route.action, Forward):
            continue
        for destination in route.action.destinations:
            if destination.cluster in clusters:
                continue
            has_port = f"outbound|{destination.port}||{destination.host}" in clusters
            if destination.host in hosts and not has_port and destination.port == port:
                # The rules of a host stand on port 80 too, for whoever dials it there: Istio's way, not a mistake.
                continue
            yield UnknownDestination((route.origin, destination.cluster), destination, has_port)


def _report(unknown: Unknown, findings: Findings) -> None:
    told: set[tuple[Origin, str]] = set()
    hosts = chain.from_iterable(of_port.values() for of_port in unknown.of_port.values())
    for one in chain.from_iterable(map(attrgetter("destinations"), hosts)):
        if one.place in told:
            continue
        if len(told) == _MOST:
            more = len(unknown.places) - _MOST
            findings.add("MESH067", Origin(""), f"{more} more destinations are not known either")
            return
        told.add(one.place)
        findings.add("MESH067", one.place[0], _message(one.destination, has_port=one.has_port))


def _message(destination: WeightedDestination, *, has_port: bool) -> str:
    host, port, subset = destination.host, destination.port, destination.subset
    if subset and has_port:
        return f'subset "{subset}" of {host} is defined by no DestinationRule that applies; calls are answered 503'
    return f"{host} is no known Service or ServiceEntry on port {port}; calls are answered 503"
