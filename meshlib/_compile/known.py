"""What was compiled before, so that a reload compiles only what has changed.

What becomes of a resource is a function of that resource and of what was asked while it
was compiled: the answers are kept beside the result, and the result stands as long as
each of them would be the same. Resources are compared by identity: reading again gives
the very same object for what has not changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import is_
from typing import Final, TypeAlias

import msgspec

from meshlib._compile.destination_rules import MergedRule
from meshlib._compile.findings import Doubt
from meshlib._compile.virtual_services import BoundVirtualService, KnownRule
from meshlib._snapshot.routes import Dropped, Origin, Route, VirtualHost, WeightedDestination
from meshlib.model.resource import Resource

__all__ = [
    "NO_ALIASES",
    "Aliases",
    "CompiledRule",
    "KnownCompilation",
    "Results",
    "Unknown",
    "UnknownDestination",
    "UnknownOfHost",
]

Aliases: TypeAlias = Mapping[str, str]
"""What ExternalName services stand for, on one port."""

NO_ALIASES: Final[Aliases] = {}


class CompiledRule(msgspec.Struct, eq=False, gc=False, kw_only=True):
    """The routes of a VirtualService on a port, with what is doubtful about them.

    ``is_shared`` if, but for aliases, they are the same on every port. They depend on
    ``aliases``, and on the DestinationRules of the hosts that were ``asked``. ``host`` is
    their virtual host where none of its hosts is a service, a wildcard or an address.
    """

    rule: BoundVirtualService
    routes: tuple[Route, ...]
    dropped: tuple[Dropped, ...]
    is_shared: bool
    doubts: tuple[Doubt, ...]
    aliases: Aliases
    asked: tuple[tuple[str, MergedRule | None], ...]
    host: VirtualHost | None = None


class UnknownDestination(msgspec.Struct, eq=False, gc=False):
    """A destination that has no cluster; ``place`` is its rule and the cluster, ``has_port`` if only a subset lacks.

    ``similar`` is the host of a cluster that differs in capital letters only.
    """

    place: tuple[Origin, str]
    destination: WeightedDestination
    has_port: bool
    similar: str = ""


class UnknownOfHost(msgspec.Struct, eq=False, gc=False):
    """The destinations without cluster of a virtual host."""

    host: VirtualHost
    destinations: tuple[UnknownDestination, ...]


class Unknown:
    """The destinations without cluster of a compilation, as long as the names of the ``clusters`` stay.

    ``of_port`` has the virtual hosts of each port by their ``id``, ``places`` how many destinations are in each place.
    """

    __slots__ = ("clusters", "of_port", "places")

    def __init__(self, clusters: Collection[str] = ()) -> None:
        self.clusters = clusters
        self.of_port: dict[int, dict[int, UnknownOfHost]] = {}
        self.places: dict[tuple[Origin, str], int] = {}

    def begin(self, before: Unknown, ports: Collection[int]) -> None:
        """Go on from another compilation, without the ports that are gone."""
        self.places = before.places.copy()
        for port in before.of_port.keys() - ports:
            self.count(before.of_port[port].values(), -1)

    def count(self, hosts: Iterable[UnknownOfHost], change: int) -> None:
        """Virtual hosts come (1) or go (-1)."""
        places = self.places
        for host in hosts:
            for destination in host.destinations:
                count = places[destination.place] = places.get(destination.place, 0) + change
                if not count:
                    del places[destination.place]


class Results:
    """Of one compilation. A key by ``id`` is that of an object which its value holds."""

    __slots__ = (
        "aliases",
        "destination_rules",
        "hosts",
        "namespaces",
        "routes",
        "rules",
        "settings",
        "unknown",
    )

    def __init__(self) -> None:
        self.settings: tuple[object, ...] = ()
        self.rules: dict[int, KnownRule] = {}
        self.routes: dict[tuple[int, int], CompiledRule] = {}
        self.hosts: dict[tuple[int, int], VirtualHost] = {}
        self.aliases: dict[int, Aliases] = {}
        self.unknown = Unknown()
        self.destination_rules: Sequence[Resource] = ()
        self.namespaces: Mapping[str, str] = {}


class KnownCompilation:
    """The results of the compilation before, and those of the one that is going on.

    Nobody needs it who never reloads.
    """

    __slots__ = ("are_rules_same", "before", "now")

    def __init__(self) -> None:
        self.before = Results()
        self.now = Results()
        self.are_rules_same = False
        """Whether the DestinationRule of every host is what it was."""

    def begin(self, *settings: object) -> None:
        """A compilation begins. What was compiled with other settings is of no use."""
        self.now = Results()
        self.now.settings = settings
        if settings != self.before.settings:
            self.before = Results()

    def compare_rules(self, rules: Sequence[Resource], namespaces: Mapping[str, str]) -> None:
        """Tell all DestinationRules, and the namespace of each host: these decide which rule a host has."""
        before, now = self.before, self.now
        now.destination_rules, now.namespaces = rules, namespaces
        self.are_rules_same = (
            len(rules) == len(before.destination_rules)
            and all(map(is_, rules, before.destination_rules))
            and namespaces == before.namespaces
        )

    def aliases(self, port: int, found: Aliases) -> Aliases:
        """The aliases of a port: the same object as long as they are equal."""
        known = self.before.aliases.get(port)
        chosen = self.now.aliases[port] = known if known is not None and known == found else found
        return chosen

    def end(self) -> None:
        """It is over: what it did not use is forgotten."""
        self.before, self.now = self.now, Results()

    def __repr__(self) -> str:
        return f"<KnownCompilation rules={len(self.before.rules)} hosts={len(self.before.hosts)}>"
