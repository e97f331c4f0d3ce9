"""Routes that lead nowhere: what will be answered 503 for want of a cluster is said at load, not at the first call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

from meshlib._compile.findings import Findings
from meshlib._compile.known import KnownCompilation, Unknown, UnknownDestination, UnknownOfHost
from meshlib._snapshot.clusters import Cluster
from meshlib._snapshot.routes import Forward, Origin, RouteTable, VirtualHost

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
    names = {cluster.host.lower(): cluster.host for cluster in clusters.values()}
    stand: dict[int, list[VirtualHost]] = {}
    for port, table in tables.items():
        stand[port] = hosts = [*table.exact.values(), *table.suffixes.values()]
        places = set(map(id, hosts))  # one virtual host stands under each of its domains
        earlier = before.of_port.get(port, {})
        of_port = now.of_port[port] = earlier.copy()
        if places != earlier.keys():
            now.count([of_port.pop(place) for place in earlier.keys() - places], -1)
            news = [host for host in hosts if id(host) not in earlier]
            new = {id(one): UnknownOfHost(one, tuple(_unknown(one, port, clusters, names))) for one in news}
            now.count(new.values(), 1)
            of_port.update(new)
    _report(now, stand, findings)


def _unknown(
    host: VirtualHost, port: int, clusters: Mapping[str, Cluster], hosts: Mapping[str, str]
) -> Iterator[UnknownDestination]:
    for route in host.routes:
        if not isinstance(route.action, Forward):
            continue
        for destination in route.action.destinations:
            if destination.cluster in clusters:
                continue
            has_port = f"outbound|{destination.port}||{destination.host}" in clusters
            known = hosts.get(destination.host.lower(), "")
            if known == destination.host and not has_port and destination.port == port:
                # The rules of a host stand on port 80 too, for whoever dials it there: Istio's way, not a mistake.
                continue
            similar = "" if known == destination.host else known
            yield UnknownDestination((route.origin, destination.cluster), destination, has_port, similar)


def _report(unknown: Unknown, stand: Mapping[int, Sequence[VirtualHost]], findings: Findings) -> None:
    """Tell of them in the order in which their virtual hosts ``stand`` in the tables."""
    if not unknown.places:
        return
    told: set[tuple[Origin, str]] = set()
    found = (unknown.of_port[port][id(host)] for port, hosts in stand.items() for host in hosts)
    for one in chain.from_iterable(map(attrgetter("destinations"), found)):
        if one.place in told:
            continue
        if len(told) == _MOST:
            more = len(unknown.places) - _MOST
            findings.add("MESH067", Origin(""), f"{more} more destinations are not known either")
            return
        told.add(one.place)
        findings.add("MESH067", one.place[0], _message(one))


def _message(unknown: UnknownDestination) -> str:
    destination = unknown.destination
    host, port, subset = destination.host, destination.port, destination.subset
    if unknown.similar:
        return f"{host} is not {unknown.similar}: hosts are compared as they are written; calls are answered 503"
    if subset and unknown.has_port:
        return f'subset "{subset}" of {host} is defined by no DestinationRule that applies; calls are answered 503'
    return f"{host} is no known Service or ServiceEntry on port {port}; calls are answered 503"
