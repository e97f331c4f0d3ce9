"""Policy coverage: which routes, destinations, retries, faults, ejections and authorization rules were exercised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshlib._compile.retries import DEFAULT_RETRY, HASHED_RETRY
from meshlib._snapshot.routes import Forward, HostTable, Origin, Route
from meshlib._snapshot.snapshot import Snapshot
from meshlib.events import EndpointEjected, Event, RequestServed

if TYPE_CHECKING:
    from meshlib._engine.exchange import Exchange

__all__ = ["Coverage", "Item", "Report"]


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One thing that a request can exercise: ``what`` of a ``field`` of a resource."""

    file: str
    resource: str
    line: int
    field: str
    what: str


class Coverage:
    """What a simulation's configuration has, and how often each was exercised."""

    def __init__(self) -> None:
        self.counts: dict[Item, int] = {}
        self._routes: dict[int, Route] = {}
        self._seen: dict[tuple[int, str, bool, frozenset[str]], int] = {}
        self._outliers: dict[str, Item] = {}
        self._rules: dict[tuple[str, str], Item] = {}

    # -- while the simulation runs -------------------------------------------------------------------

    def note(self, exchange: Exchange) -> None:
        """An exchange is over. Only counted here; what it means is worked out when somebody asks."""
        route = exchange.route
        if route is None:
            return
        self._routes[id(route)] = route
        flags = frozenset(exchange._flags) if exchange._flags else _NONE
        key = (id(route), exchange._destination.cluster, exchange.attempts > 1, flags)
        self._seen[key] = self._seen.get(key, 0) + 1

    def hear(self, event: Event) -> None:
        """Ejections and decisions are told by events."""
        if type(event) is EndpointEjected:
            self._count(self._outliers.get(event.cluster))
        elif type(event) is RequestServed and event.policy:
            self._count(self._rules.get((event.policy, event.rule)))

    def _count(self, item: Item | None, times: int = 1) -> None:
        if item is not None:
            self.counts[item] = self.counts.get(item, 0) + times

    # -- what there is -----------------------------------------------------------------------------

    def learn(self, snapshot: Snapshot) -> None:
        """Everything of a snapshot that can be exercised."""
        tables = [*snapshot.tables.values(), *(one for names in snapshot.servers.values() for one in _values(names))]
        for table in tables:
            for host in _values(table):
                for route in host.routes:
                    for item in _items(route):
                        self.counts.setdefault(item, 0)
        for cluster in snapshot.clusters.values():
            if cluster.policy.outlier is not None and cluster.origin:
                item = Item("", cluster.origin, 0, "outlierDetection", "an endpoint is ejected")
                self._outliers[cluster.name] = item
                self.counts.setdefault(item, 0)
        security = snapshot.security
        for policy in (*security.custom, *security.deny, *security.allow):
            for rule in policy.rules:
                origin, name = policy.origin, f"{policy.namespace}/{policy.name}"
                line = policy.lines[rule.index] if rule.index < len(policy.lines) else origin.line
                item = Item(_shown(origin.file), origin.resource, line, f"spec.rules[{rule.index}]", "the rule decides")
                self._rules[name, str(rule.index)] = item
                self.counts.setdefault(item, 0)

    # -- the answer ---------------------------------------------------------------------------------

    def report(self) -> Report:
        """All items and how often each was exercised."""
        counts = dict(self.counts)
        for (number, cluster, is_retried, flags), times in self._seen.items():
            for item in _exercised(self._routes[number], cluster, flags, is_retried=is_retried):
                if item in counts:
                    counts[item] += times
        return Report(counts)


_NONE: frozenset[str] = frozenset()
_UNWRITTEN = (DEFAULT_RETRY, HASHED_RETRY)


def _values(table: HostTable[Any]) -> Iterator[Any]:
    yield from table.exact.values()
    yield from table.suffixes.values()
    if table.catch_all is not None:
        yield table.catch_all


def _items(route: Route) -> Iterator[Item]:
    """What of a route can be exercised; nothing of those, and of their retries, that nobody wrote."""
    if not route.origin.resource.startswith("VirtualService "):
        return
    origin = route.origin
    yield _item(origin, "the route is taken")
    action = route.action
    if not isinstance(action, Forward):
        return
    if len(action.destinations) > 1:
        for one in action.destinations:
            yield _item(origin, f"it goes to {one.subset or one.host}")
    if action.retry is not None and action.retry.attempts and action.retry not in _UNWRITTEN:
        yield _item(origin, "an attempt is retried")
    if action.timeout is not None:
        yield _item(origin, "the timeout ends it")
    if action.fault is not None and action.fault.delay is not None:
        yield _item(origin, "the fault delays it")
    if action.fault is not None and action.fault.abort is not None:
        yield _item(origin, "the fault aborts it")


def _exercised(route: Route, cluster: str, flags: Iterable[str], *, is_retried: bool) -> Iterator[Item]:
    origin, action = route.origin, route.action
    yield _item(origin, "the route is taken")
    if not isinstance(action, Forward):
        return
    for one in action.destinations:
        if one.cluster == cluster:
            yield _item(origin, f"it goes to {one.subset or one.host}")
    if is_retried:
        yield _item(origin, "an attempt is retried")
    for flag, what in (("UT", "the timeout ends it"), ("DI", "the fault delays it"), ("FI", "the fault aborts it")):
        if flag in flags:
            yield _item(origin, what)


def _item(origin: Origin, what: str) -> Item:
    return Item(_shown(origin.file), origin.resource, origin.line, origin.field, what)


@lru_cache(maxsize=1024)
def _shown(file: str) -> str:
    """The file as people name it: relative to where they are."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else file


class Report:
    """Policy coverage of one simulation or of many; :meth:`add` joins them."""

    def __init__(self, counts: Mapping[Item, int] | None = None) -> None:
        self.counts: dict[Item, int] = dict(counts or {})

    def add(self, other: Report) -> None:
        """Take the counts of another report in."""
        for item, times in other.counts.items():
            self.counts[item] = self.counts.get(item, 0) + times

    @property
    def percent(self) -> float:
        """The share 0–100 of the items that were exercised; 100 if there are none."""
        if not self.counts:
            return 100.0
        return 100.0 * sum(1 for times in self.counts.values() if times) / len(self.counts)

    def to_json(self) -> dict[str, Any]:
        """``percent`` and the ``items``, each with ``times``."""
        return {
            "percent": round(self.percent, 1),
            "items": [
                {
                    "file": item.file,
                    "line": item.line,
                    "resource": item.resource,
                    "field": item.field,
                    "what": item.what,
                    "times": times,
                }
                for item, times in sorted(self.counts.items())
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """The report that :meth:`to_json` wrote."""
        return cls(
            {
                Item(one["file"], one["resource"], one["line"], one["field"], one["what"]): one["times"]
                for one in data["items"]
            }
        )

    def __str__(self) -> str:
        covered = sum(1 for times in self.counts.values() if times)
        lines = [f"policy coverage: {self.percent:.0f} % ({covered} of {len(self.counts)})"]
        by_resource: dict[tuple[str, str], list[tuple[Item, int]]] = {}
        for item, times in sorted(self.counts.items()):
            by_resource.setdefault((item.resource, item.file), []).append((item, times))
        for (resource, file), entries in by_resource.items():
            done = sum(1 for _, times in entries if times)
            lines.append(f"  {resource}  {done} of {len(entries)}{f'  ({file})' if file else ''}")
            lines += [
                f"    never: {item.field}{f' (line {item.line})' if item.line else ''}: {item.what}"
                for item, times in entries
                if not times
            ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Report {self.percent:.0f} % of {len(self.counts)}>"
