"""``/routes``: the routes in force, in the order in which they are tried, with how often each was taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from meshlib._explain.explanation import Json, fault_json, retries_json
from meshlib._snapshot.matchers import RouteMatch
from meshlib._snapshot.routes import DirectResponse, Forward, Origin, Redirect, Route, RouteTable, VirtualHost
from meshlib._snapshot.snapshot import Snapshot, bare_host
from meshlib.admin.faults import RouteId
from meshlib.admin.member import Member
from meshlib.admin.messages import Streamed
from meshlib.admin.tally import CallKey, Calls, Counts

__all__ = ["origin_json", "routes_view", "virtual_hosts"]


class Row(NamedTuple):
    """A route and where it stands; ``domains`` are all names that lead to it."""

    id: RouteId
    host: VirtualHost
    route: Route
    domains: tuple[str, ...]


def routes_view(members: Iterable[Member], *, wanted: str = "", most: int) -> dict[str, Streamed]:
    """At most ``most`` routes whose host, name, resource or cluster has ``wanted`` in it; ``total`` are all such."""
    total = 0
    shown: list[tuple[Member, Counts, list[Row]]] = []
    for member in members:
        found = [row for row in rows(member.runtime.published.snapshot) if not wanted or _speaks_of(row, wanted)]
        shown.append((member, member.tally.read(), found[: max(most - total, 0)]))
        total += len(found)
    return {"routes": (_entry(member, row, counts) for member, counts, found in shown for row in found), "total": total}


def _entry(member: Member, row: Row, counts: Counts) -> dict[str, Json]:
    return {"member": member.name, **row_json(row, counts), "fault_by_hand": row.id in member.faults.set_by_hand}


def virtual_hosts(table: RouteTable) -> list[tuple[VirtualHost, tuple[str, ...]]]:
    """The virtual hosts of a table, each once and with all its domains, those of configured rules first."""
    found: dict[int, tuple[VirtualHost, list[str]]] = {}
    suffixes = ((f"*{suffix}", host) for suffix, host in table.suffixes.items())
    rest = () if table.catch_all is None else (("*", table.catch_all),)
    for domain, host in (*table.exact.items(), *suffixes, *rest):
        found.setdefault(id(host), (host, []))[1].append(domain)
    hosts = [(host, tuple(sorted(domains))) for host, domains in found.values()]
    return sorted(hosts, key=lambda entry: (not _has_rules(entry[0]), entry[0].name))


def _has_rules(host: VirtualHost) -> bool:
    return any(route.origin.resource.startswith("VirtualService ") for route in host.routes)


def rows(snapshot: Snapshot) -> Iterator[Row]:
    """Every route of every port; those for all ports without a table of their own are under port 0."""
    tables = sorted(snapshot.tables.items())
    if snapshot.unlisted is not None:
        tables.append((0, snapshot.unlisted))
    for port, table in tables:
        for host, domains in virtual_hosts(table):
            for place, route in enumerate(host.routes):
                yield Row(RouteId(port, host.name, place), host, route, domains)


def _speaks_of(row: Row, wanted: str) -> bool:
    action = row.route.action
    texts = [row.host.name, row.route.name, row.route.origin.resource, *row.domains]
    if isinstance(action, Forward):
        texts += [destination.cluster for destination in action.destinations]
    return any(wanted in text for text in texts)


def row_json(row: Row, counts: Counts) -> dict[str, Json]:
    """One route; ``hits_shared``: the hits are those of several routes, which have one name and lead to one place."""
    route, calls = row.route, _calls(row, counts)
    return {
        "id": str(row.id),
        "port": row.id.port or None,
        "virtual_host": row.host.name,
        "domains": [*row.domains[:20]],
        "name": route.name,
        "match": [*conditions(route.match)],
        "origin": origin_json(route.origin),
        **action_json(route.action),
        "hits": calls.requests,
        "failed": calls.failed,
        "hits_shared": _is_shared(row),
    }


def _calls(row: Row, counts: Counts) -> Calls:
    """Events name the route and the cluster: that is the route, unless others of the host have the same."""
    found = Calls()
    for key in _keys(row, counts):
        calls = counts.exchanges.get(key)
        if calls is not None:
            found.merge(calls)
    return found


def _is_shared(row: Row) -> bool:
    mine = _targets(row.route)
    return any(
        other is not row.route and other.name == row.route.name and _targets(other) & mine for other in row.host.routes
    )


def _targets(route: Route) -> set[str]:
    action = route.action
    return {one.cluster for one in action.destinations} if isinstance(action, Forward) else {""}


def _keys(row: Row, counts: Counts) -> list[CallKey]:
    name = row.route.name
    keys = [(cluster, name, "") for cluster in _targets(row.route) if cluster]
    if keys:
        return keys
    return [key for key in counts.exchanges if not key[0] and key[1] == name and bare_host(key[2]) in row.domains]


def conditions(match: RouteMatch) -> Iterator[str]:
    """The conditions in words; nothing where every request matches."""
    if match.uri is not None:
        yield match.uri.describe()
    for predicate in match.predicates:
        yield predicate.describe()


def origin_json(origin: Origin) -> dict[str, Json]:
    """Where it was written."""
    return {"resource": origin.resource, "field": origin.field, "file": origin.file, "line": origin.line}


def action_json(action: Forward | Redirect | DirectResponse) -> dict[str, Json]:
    """What a route does."""
    if isinstance(action, Redirect):
        return {"action": "redirect", "status": action.status}
    if isinstance(action, DirectResponse):
        return {"action": "direct_response", "status": action.status}
    return {
        "action": "forward",
        "destinations": [
            {"cluster": one.cluster, "host": one.host, "subset": one.subset, "port": one.port, "weight": one.weight}
            for one in action.destinations
        ],
        "timeout": action.timeout,
        "retries": None if action.retry is None else retries_json(action.retry),
        "mirrors": [{"cluster": one.cluster, "percent": one.ratio * 100.0} for one in action.mirrors],
        "fault": None if action.fault is None else fault_json(action.fault),
    }
