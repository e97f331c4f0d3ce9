"""Building host tables: who claims which domain, and indexes for long route lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from meshlib._snapshot.route_index import RouteIndex
from meshlib._snapshot.routes import Dropped, Origin, Route, RouteTable, ServerNameTable, VirtualHost

__all__ = ["DomainClaims", "route_table", "server_name_table", "virtual_host"]

# Below this, trying the routes in order is as quick as asking an index.
LONG: Final = 12

V = TypeVar("V")


class DomainClaims(Generic[V]):
    """Domains with their values. The first to claim a domain keeps it."""

    __slots__ = ("catch_all", "exact", "suffixes")

    def __init__(self) -> None:
        self.exact: dict[str, V] = {}
        self.suffixes: dict[str, V] = {}
        self.catch_all: V | None = None

    def claim(self, domain: str, value: V) -> None:
        """Take a domain (in lower case) unless it is taken."""
        if not domain.startswith("*"):
            self.exact.setdefault(domain, value)
        elif domain == "*":
            self.catch_all = value if self.catch_all is None else self.catch_all
        else:
            self.suffixes.setdefault(domain[1:], value)

    def lengths(self) -> tuple[int, ...]:
        """The lengths of the suffixes, longest first."""
        return tuple(sorted({len(suffix) for suffix in self.suffixes}, reverse=True))


def route_table(claims: DomainClaims[VirtualHost], catch_all: VirtualHost | None = None) -> RouteTable:
    """The table of the claimed domains; ``catch_all`` answers where nobody claimed ``*``."""
    return RouteTable(claims.exact, claims.suffixes, claims.lengths(), claims.catch_all or catch_all)


def server_name_table(claims: DomainClaims[RouteTable]) -> ServerNameTable:
    """The table of the claimed server names."""
    return ServerNameTable(claims.exact, claims.suffixes, claims.lengths(), claims.catch_all)


def virtual_host(
    name: str,
    domains: Iterable[str],
    routes: Iterable[Route],
    origin: Origin,
    dropped: Iterable[Dropped] = (),
    *,
    is_http: bool = True,
) -> VirtualHost:
    """A virtual host, with an index if its routes are many."""
    listed = tuple(routes)
    index = RouteIndex(listed) if len(listed) > LONG else None
    return VirtualHost(
        name=name,
        domains=tuple(domains),
        routes=listed,
        origin=origin,
        index=index,
        dropped=tuple(dropped),
        is_http=is_http,
    )
