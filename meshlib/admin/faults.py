"""The fault switch: faults set by hand on routes in force, until the next configuration.

A change is a new snapshot, published as any other: exchanges on their way finish on
what they began with. A configuration that is published afterwards is as it is written,
without what was set here.
"""

from __future__ import annotations

from dataclasses import replace as replaced
from threading import Lock
from typing import Final, NamedTuple

from msgspec.structs import replace

from meshlib._explain.explanation import Json
from meshlib._runtime import Runtime
from meshlib._snapshot.route_index import RouteIndex
from meshlib._snapshot.routes import Abort, Delay, Fault, Forward, RouteTable, VirtualHost
from meshlib._snapshot.snapshot import Snapshot
from meshlib.admin.messages import BadAskError

__all__ = ["FaultSwitch", "RouteId", "fault_of_json"]

_LONGEST_DELAY: Final = 3600.0
_MARK: Final = "+faults"


class RouteId(NamedTuple):
    """A route of a mesh: the port it is for (0: all others), its virtual host, and its place among the routes there."""

    port: int
    host: str
    place: int

    def __str__(self) -> str:
        return f"{self.port}/{self.place}/{self.host}"

    @staticmethod
    def parse(text: str) -> RouteId:
        """The route that ``str()`` names. Raises BadAskError."""
        port, place, host = (*text.split("/", 2), "", "")[:3]
        if not (port.isdecimal() and place.isdecimal() and host) or len(port + place) > 12:
            raise BadAskError(f"{text[:80]!r} names no route; the ids are in /routes")
        return RouteId(int(port), host, int(place))


class FaultSwitch:
    """Sets and takes back faults of one mesh. ``set_by_hand`` are the routes that differ from the configuration."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._base: Snapshot | None = None
        self._made: Snapshot | None = None
        self._changes: dict[RouteId, Fault | None] = {}
        self._lock = Lock()

    @property
    def set_by_hand(self) -> dict[RouteId, Fault | None]:
        """The faults in force that no configuration has; None where one of the configuration is switched off."""
        is_ours = self._made is not None and self._runtime.published.snapshot is self._made
        return dict(self._changes) if is_ours else {}

    def set(self, route: RouteId, fault: Fault | None) -> None:
        """Put ``fault`` in force on a route; None: no fault. Raises BadAskError if there is no such route."""
        with self._lock:
            self._forget_old_locked()
            base = self._base or self._runtime.published.snapshot
            self._publish_locked(base, {**self._changes, route: fault})

    def reset(self) -> None:
        """Back to the faults of the configuration."""
        with self._lock:
            self._forget_old_locked()
            if self._base is not None:
                self._runtime.publish(self._base)
                self._base = self._made = None
                self._changes = {}

    def _forget_old_locked(self) -> None:
        """A configuration was published meanwhile: nothing of ours is in force."""
        if self._made is not None and self._runtime.published.snapshot is not self._made:
            self._base = self._made = None
            self._changes = {}

    def _publish_locked(self, base: Snapshot, changes: dict[RouteId, Fault | None]) -> None:
        made = with_faults(base, changes)
        self._runtime.publish(made)
        self._base, self._made, self._changes = base, made, changes

    def reset_after_fork(self) -> None:
        """In a forked child: a new lock."""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<FaultSwitch set_by_hand={len(self.set_by_hand)}>"


def with_faults(snapshot: Snapshot, changes: dict[RouteId, Fault | None]) -> Snapshot:
    """The snapshot with the faults of some routes replaced. Raises BadAskError for a route that is not there."""
    tables = dict(snapshot.tables)
    unlisted = snapshot.unlisted
    for port in {route.port for route in changes}:
        table = unlisted if port == 0 else tables.get(port)
        if table is None:
            raise BadAskError(f"no routes are known for port {port}", 404)
        made = _table(table, {route: fault for route, fault in changes.items() if route.port == port})
        if port == 0:
            unlisted = made
        else:
            tables[port] = made
    version = snapshot.version.removesuffix(_MARK) + _MARK
    return replaced(snapshot, tables=tables, unlisted=unlisted, version=version)


def _table(table: RouteTable, changes: dict[RouteId, Fault | None]) -> RouteTable:
    hosts = {id(host): host for host in (*table.exact.values(), *table.suffixes.values(), table.catch_all) if host}
    made: dict[int, VirtualHost] = {}
    for route, fault in changes.items():
        found = [host for host in hosts.values() if host.name == route.host]
        if not found:
            raise BadAskError(f"no route {route}", 404)
        for host in found:
            made[id(host)] = _host(made.get(id(host), host), route, fault)

    def new(host: VirtualHost) -> VirtualHost:
        return made.get(id(host), host)

    return RouteTable(
        {domain: new(host) for domain, host in table.exact.items()},
        {suffix: new(host) for suffix, host in table.suffixes.items()},
        table.suffix_lengths,
        None if table.catch_all is None else new(table.catch_all),
    )


def _host(host: VirtualHost, wanted: RouteId, fault: Fault | None) -> VirtualHost:
    if wanted.place >= len(host.routes):
        raise BadAskError(f"no route {wanted}", 404)
    route = host.routes[wanted.place]
    if not isinstance(route.action, Forward):
        raise BadAskError(f"route {wanted} sends nothing on: it has no faults", 409)
    routes = list(host.routes)
    routes[wanted.place] = replace(route, action=replace(route.action, fault=fault))
    index = None if host.index is None else RouteIndex(routes)
    return replace(host, routes=tuple(routes), index=index)


def fault_of_json(value: Json) -> Fault | None:
    """``{"delay": {"seconds", "percent"}, "abort": {"status" | "grpc_status", "percent"}}``; null: none."""
    if value is None:
        return None
    if not isinstance(value, dict) or not value or value.keys() - {"delay", "abort"}:
        raise BadAskError('a fault is null or has "delay", "abort" or both')
    delay, abort = value.get("delay"), value.get("abort")
    return Fault(
        delay=None if delay is None else _delay(_part(delay, "delay", {"seconds", "percent"})),
        abort=None if abort is None else _abort(_part(abort, "abort", {"status", "grpc_status", "percent"})),
    )


def _delay(part: dict[str, Json]) -> Delay:
    ratio = _number(part, "percent", 0.0, 100.0, 100.0) / 100.0
    return Delay(seconds=_number(part, "seconds", 0.001, _LONGEST_DELAY), ratio=ratio)


def _abort(part: dict[str, Json]) -> Abort:
    ratio = _number(part, "percent", 0.0, 100.0, 100.0) / 100.0
    if ("status" in part) is ("grpc_status" in part):
        raise BadAskError('an abort has "status" or "grpc_status"')
    if "status" in part:
        return Abort(ratio=ratio, http_status=int(_number(part, "status", 200, 599)))
    return Abort(ratio=ratio, grpc_status=int(_number(part, "grpc_status", 0, 16)))


def _part(value: Json, name: str, known: set[str]) -> dict[str, Json]:
    if not isinstance(value, dict) or value.keys() - known:
        raise BadAskError(f"{name} must be an object with {', '.join(sorted(known))}")
    return value


def _number(part: dict[str, Json], name: str, least: float, most: float, otherwise: float | None = None) -> float:
    value = part.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadAskError(f"{name} must be a number from {least:g} to {most:g}")
    return float(value)
