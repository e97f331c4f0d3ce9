"""VirtualServices with full names, their delegates merged in, in the order of precedence (semantics 1.5, 1.6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Final

import msgspec
from msgspec.structs import replace

from meshlib._compile.delegates import merge_route
from meshlib._compile.hosts import gateway_key, resolve
from meshlib._compile.index import Entry, Index
from meshlib._compile.mesh import MeshSettings, Visibility, export_set
from meshlib._compile.order import Age, by_age
from meshlib._snapshot.routes import Dropped, Origin
from meshlib.model.destination import Destination
from meshlib.model.resource import Resource
from meshlib.model.virtual_service import HTTPRoute, VirtualServiceSpec

__all__ = ["BoundVirtualService", "KnownRule", "Rule", "VirtualServices"]

MESH: Final = ("mesh",)
NOTHING: Final[Mapping[int, KnownRule]] = {}


class Rule:
    """One HTTP rule. ``namespace`` is where its short names belong."""

    __slots__ = ("namespace", "origin", "route")

    def __init__(self, route: HTTPRoute, namespace: str, origin: Origin) -> None:
        self.route = route
        self.namespace = namespace
        self.origin = origin


class BoundVirtualService(msgspec.Struct, eq=False, gc=False):
    """A VirtualService as routing sees it: full host names, gateways as ``namespace/name``.

    ``lower_hosts`` are what services are compared with on the ports of a client; everybody else compares ``hosts``.
    """

    resource: Resource
    name: str
    namespace: str
    spec: VirtualServiceSpec
    hosts: tuple[str, ...]
    lower_hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    export_to: Visibility
    rules: Sequence[Rule]
    dropped: Sequence[Dropped]

    @property
    def origin(self) -> Origin:
        """Where it begins: its first rule, if it has one."""
        return self.rules[0].origin if self.rules else Origin(self.name, "", self.resource.file, self.resource.line)

    @property
    def depends_on_port(self) -> bool:
        """True if its HTTP routes differ from port to port."""
        return any(
            any(match.port for match in rule.route.match)
            or any(destination.port is None for destination in http_destinations(rule.route))
            or rule.route.redirect is not None
            for rule in self.rules
        )

    def destinations(self, namespace: str) -> set[tuple[str, int]]:
        """Hosts and ports (0: unset) that its rules send to, apart from rules for other source namespaces only."""
        found: set[tuple[str, int]] = set()
        for rule in self.rules:
            wanted = [match.source_namespace for match in rule.route.match if match.source_namespace]
            if not wanted or namespace in wanted:
                found.update(target(item, rule.namespace) for item in http_destinations(rule.route))
        for section in (self.spec.tls, self.spec.tcp):
            for route in section:
                found.update(target(item.destination, self.namespace) for item in route.route)
        return found


def target(destination: Destination, namespace: str) -> tuple[str, int]:
    """Host and port of a destination, 0 if it names no port."""
    port = destination.port
    return resolve(destination.host, namespace), (port.number or 0) if port is not None else 0


def http_destinations(route: HTTPRoute) -> Iterable[Destination]:
    """All destinations of a rule, mirrors too."""
    mirror = () if route.mirror is None else (route.mirror,)
    return chain((item.destination for item in route.route), mirror, (item.destination for item in route.mirrors))


class KnownRule(msgspec.Struct, eq=False, gc=False):
    """A VirtualService with what was made of it, for the next compilation.

    ``leaves`` are the delegates that it asked for when it was bound, and what was found.
    """

    entry: Entry[VirtualServiceSpec]
    age: Age
    bound: BoundVirtualService | None = None
    leaves: tuple[tuple[tuple[str, str], Resource | None], ...] = ()


class VirtualServices:
    """All VirtualServices with hosts, oldest first: ``bound``, and by the gateway they are bound to.

    ``known`` are those of the compilation before, by the identity of their resource; it
    is to be of the same ``mesh``.
    """

    def __init__(self, index: Index, mesh: MeshSettings, known: Mapping[int, KnownRule] = NOTHING) -> None:
        resources = index.resources("VirtualService")
        ids = list(map(id, resources))
        rules = list(map(known.get, ids))
        if None in rules:
            rules = [rule or unbound(one) for rule, one in zip(rules, resources, strict=True)]
        found = [rule for rule in rules if rule is not None]
        if len(found) < len(ids):
            ids = [one for one, rule in zip(ids, rules, strict=True) if rule is not None]
        self.known = dict(zip(ids, found, strict=True))
        found.sort(key=attrgetter("age"))
        self._default = mesh.virtual_service_export
        self._delegates = {
            (rule.entry.meta.namespace, rule.entry.meta.name): rule.entry
            for rule in found
            if rule.bound is None and not rule.entry.spec.hosts
        }
        self._asked: list[tuple[tuple[str, str], Resource | None]] = []
        self._by_gateway: dict[str, list[BoundVirtualService]] = {}
        self._bind_all(found)

    def _bind_all(self, found: Iterable[KnownRule]) -> None:
        by_gateway: defaultdict[str, list[BoundVirtualService]] = defaultdict(list)
        of_mesh = by_gateway["mesh"]
        for rule in found:
            bound = rule.bound
            if bound is None or (rule.leaves and not self._has_same_leaves(rule)):
                if not rule.entry.spec.hosts:
                    continue
                self._asked = []
                bound = self._bind(rule.entry)
                self.known[id(rule.entry.resource)] = KnownRule(rule.entry, rule.age, bound, tuple(self._asked))
            if bound.gateways is MESH:
                of_mesh.append(bound)
                continue
            for gateway in bound.gateways:
                by_gateway[gateway].append(bound)
        self._by_gateway = by_gateway

    @property
    def bound(self) -> list[BoundVirtualService]:
        """All of them, whatever they are bound to."""
        found = sorted(self.known.values(), key=attrgetter("age"))
        return [rule.bound for rule in found if rule.bound is not None]

    def _has_same_leaves(self, rule: KnownRule) -> bool:
        """Whether the delegates that a rule was bound with are still what they were."""
        for place, resource in rule.leaves:
            leaf = self._delegates.get(place)
            if (None if leaf is None else leaf.resource) is not resource:
                return False
        return True

    def for_gateway(self, gateway: str, namespace: str) -> list[BoundVirtualService]:
        """Those bound to a gateway (``mesh`` for sidecars) that a workload of the namespace sees.

        First those private to its namespace, then those exported to it by name, then the public ones.
        """
        private: list[BoundVirtualService] = []
        exported: list[BoundVirtualService] = []
        public: list[BoundVirtualService] = []
        for service in self._by_gateway.get(gateway, ()):
            export_to = service.export_to
            if "*" in export_to:
                public.append(service)
            elif "~" not in export_to and namespace in export_to:
                (private if service.namespace == namespace else exported).append(service)
        return private + exported + public

    def _bind(self, entry: Entry[VirtualServiceSpec]) -> BoundVirtualService:
        spec, namespace = entry.spec, entry.meta.namespace
        dropped: list[Dropped] = []
        name = f"VirtualService {namespace}/{entry.meta.name}"
        hosts = tuple([resolve(host, namespace) for host in spec.hosts])
        lower = tuple([host.lower() for host in hosts])
        return BoundVirtualService(
            resource=entry.resource,
            name=name,
            namespace=namespace,
            spec=spec,
            hosts=hosts,
            lower_hosts=hosts if lower == hosts else lower,
            gateways=tuple(dict.fromkeys([gateway_key(gate, namespace) for gate in spec.gateways])) or MESH,
            export_to=export_set(spec.export_to, namespace, self._default)
            if spec.export_to
            else self._unset(namespace),
            rules=self._rules(entry, name, dropped),
            dropped=dropped,
        )

    def _unset(self, namespace: str) -> Visibility:
        """The namespaces that see a VirtualService which does not say so."""
        return export_set((), namespace, self._default) if "." in self._default else self._default

    def _rules(self, entry: Entry[VirtualServiceSpec], name: str, dropped: list[Dropped]) -> list[Rule]:
        """The rules in order, each rule with a delegate replaced by those of the delegate."""
        namespace = entry.meta.namespace
        rules: list[Rule] = []
        for route, origin in zip(entry.spec.http, rule_origins(entry, name), strict=True):
            if route.delegate is None:
                rules.append(Rule(route, namespace, origin))
                continue
            merged = self._delegated(route, namespace, origin)
            if isinstance(merged, Dropped):
                dropped.append(merged)
            else:
                rules.extend(merged)
        return rules

    def _delegated(self, root: HTTPRoute, namespace: str, origin: Origin) -> list[Rule] | Dropped:
        """The rules of the delegate, merged with the root's rule; those in conflict with it are left out."""
        assert root.delegate is not None
        place = root.delegate.namespace or namespace
        name = f"{place}/{root.delegate.name or ''}"
        leaf = self._delegates.get((place, root.delegate.name or ""))
        self._asked.append(((place, root.delegate.name or ""), None if leaf is None else leaf.resource))
        if leaf is None:
            return Dropped(origin, f"its delegate {name} does not exist")
        visible = export_set(leaf.spec.export_to, place, self._default)
        if not visible & {"*", namespace}:
            return Dropped(origin, f"its delegate {name} is not exported to namespace {namespace}")
        rules: list[Rule] = []
        root = with_full_names(root, namespace)
        for route, leaf_origin in zip(leaf.spec.http, rule_origins(leaf, f"VirtualService {name}"), strict=True):
            merged = merge_route(root, with_full_names(route, place))
            if merged is not None:
                rules.append(Rule(merged, place, leaf_origin))
        return rules


def unbound(resource: Resource) -> KnownRule | None:
    """A VirtualService that nothing is known of yet; None for what another group calls so."""
    if not isinstance(resource.spec, VirtualServiceSpec):
        return None
    entry = Entry(resource, resource.metadata, resource.spec)
    return KnownRule(entry, by_age(entry))


def rule_origins(entry: Entry[VirtualServiceSpec], name: str) -> list[Origin]:
    """Where each HTTP rule of a VirtualService is written."""
    resource = entry.resource
    lines = resource.rule_lines.get("http", ())
    file, line, known = resource.file, resource.line, len(lines)
    return [
        Origin(name, rule_field(number), file, lines[number] if number < known else line)
        for number in range(len(entry.spec.http))
    ]


@lru_cache(maxsize=4096)
def rule_field(number: int) -> str:
    """The field of a rule; one text for all rules with the same number."""
    return f"spec.http[{number}]"


def with_full_names(route: HTTPRoute, namespace: str) -> HTTPRoute:
    """A rule whose names mean the same wherever it is merged to."""
    changes: dict[str, object] = {}
    if route.route:
        changes["route"] = tuple(
            replace(item, destination=full_destination(item.destination, namespace)) for item in route.route
        )
    if route.mirror is not None:
        changes["mirror"] = full_destination(route.mirror, namespace)
    if route.mirrors:
        changes["mirrors"] = tuple(
            replace(item, destination=full_destination(item.destination, namespace)) for item in route.mirrors
        )
    if any(match.gateways for match in route.match):
        changes["match"] = tuple(
            replace(match, gateways=tuple(gateway_key(name, namespace) for name in match.gateways))
            for match in route.match
        )
    return replace(route, **changes)


def full_destination(destination: Destination, namespace: str) -> Destination:
    """A destination whose host is no short name."""
    return replace(destination, host=resolve(destination.host, namespace))
