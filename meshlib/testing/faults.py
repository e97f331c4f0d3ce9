"""Faults injected for an experiment, as if the routes to a host had them in their YAML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from msgspec.structs import replace as changed

from meshlib._snapshot.routes import (
    Abort,
    Delay,
    Fault,
    Forward,
    HostTable,
    Route,
    RouteTable,
    ServerNameTable,
    VirtualHost,
)
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["InjectedFault", "injected_fault", "with_faults"]

V = TypeVar("V")


@dataclass(frozen=True, slots=True, eq=False)
class InjectedFault:
    """One experiment: the requests that are routed to ``host`` get the fault, in place of one that is configured."""

    host: str
    fault: Fault


def injected_fault(host: str, *, abort: int | None, delay: float | None, percent: float) -> InjectedFault:
    """An experiment. Raises ValueError for one that no VirtualService could describe."""
    if abort is None and delay is None:
        raise ValueError("a fault needs abort= or delay=")
    if abort is not None and abort not in range(200, 600):
        raise ValueError(f"abort is {abort!r}, it is to be a status from 200 to 599")
    if delay is not None and delay < 0:
        raise ValueError(f"delay is {delay!r} seconds, it is to be 0 or more")
    if not 0.0 <= percent <= 100.0:
        raise ValueError(f"percent is {percent!r}, it is to be from 0 to 100")
    ratio = percent / 100.0
    made = Fault(
        delay=None if delay is None else Delay(seconds=delay, ratio=ratio),
        abort=None if abort is None else Abort(ratio=ratio, http_status=abort),
    )
    return InjectedFault(host, made)


def with_faults(snapshot: Snapshot, faults: list[InjectedFault]) -> Snapshot:
    """The snapshot with the faults in its routes; itself if there are none."""
    for one in faults:
        snapshot = _Injection(one).apply(snapshot)
    return snapshot


class _Injection:
    """Changes each virtual host once, however many names lead to it."""

    def __init__(self, injected: InjectedFault) -> None:
        self._injected = injected
        self._hosts: dict[int, VirtualHost] = {}

    def apply(self, snapshot: Snapshot) -> Snapshot:
        return replace(
            snapshot,
            tables={port: self._table(table) for port, table in snapshot.tables.items()},
            servers={port: self._names(names) for port, names in snapshot.servers.items()},
            unlisted=None if snapshot.unlisted is None else self._table(snapshot.unlisted),
        )

    def _table(self, table: RouteTable) -> RouteTable:
        return replace(table, **_fields(table, self._host))

    def _names(self, names: ServerNameTable) -> ServerNameTable:
        return replace(names, **_fields(names, self._table))

    def _host(self, host: VirtualHost) -> VirtualHost:
        made = self._hosts.get(id(host))
        if made is None:
            routes = tuple(self._route(route) for route in host.routes)
            # The index knows the routes as they were; without it they are tried in order, to the same end.
            same = all(new is old for new, old in zip(routes, host.routes, strict=True))
            made = self._hosts[id(host)] = host if same else changed(host, routes=routes, index=None)
        return made

    def _route(self, route: Route) -> Route:
        action = route.action
        if not isinstance(action, Forward) or all(one.host != self._injected.host for one in action.destinations):
            return route
        return changed(route, action=changed(action, fault=self._injected.fault))


def _fields(table: HostTable[V], new: Callable[[V], V]) -> dict[str, Any]:
    """The values of a table, each changed."""
    return {
        "exact": {name: new(value) for name, value in table.exact.items()},
        "suffixes": {name: new(value) for name, value in table.suffixes.items()},
        "catch_all": None if table.catch_all is None else new(table.catch_all),
    }
