"""VirtualService: hosts, ports, subsets and other VirtualServices that it depends on.

Istio 1.31: analyzers/virtualservice (destinationhosts, destinationrules, conflictingmeshgatewayhosts).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from meshlib._analyze.report import Reporter
from meshlib._analyze.services import Host, Hosts, full_host, host_name, matches, scopes
from meshlib._analyze.view import Item, Name, Node, Path, View

__all__ = ["analyze_conflicting_hosts", "analyze_destinations", "analyze_subsets", "targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """A destination of a route or of a mirror."""

    destination: Node
    is_mirror: bool

    @property
    def host(self) -> str:
        """As it is written."""
        return self.destination.text("host")

    @property
    def place(self) -> Path:
        """Where the host stands."""
        return (*self.destination.path, "host")


def targets(item: Item) -> Iterator[Target]:
    """All destinations of a VirtualService: of routes, then of mirrors."""
    for section in ("tcp", "tls", "http"):
        for rule in item.spec.items(section):
            for route in rule.items("route"):
                yield Target(route.node("destination"), is_mirror=False)
    for rule in item.spec.items("http"):
        if rule.node("mirror"):
            yield Target(rule.node("mirror"), is_mirror=True)
        for mirror in rule.items("mirrors"):
            yield Target(mirror.node("destination"), is_mirror=True)


def analyze_destinations(view: View, report: Reporter) -> None:
    """Hosts that nothing defines, ports that a host has not, ports that must be named."""
    hosts = Hosts(view)
    with_subsets = _subset_routes(view)
    for item in view.all("VirtualService"):
        export_to = item.spec.texts("exportTo")
        for target in targets(item):
            found = hosts.find(target.host, item.namespace, export_to)
            if found is None:
                kind = "mirror host" if target.is_mirror else "host"
                report.add("IST0101", item, kind, target.host, at=target.place)
            else:
                _check_port(item, target, found, report)
        if item.spec.texts("gateways"):
            _check_gateway_routes(item, with_subsets, report)


def _check_port(item: Item, target: Target, host: Host, report: Reporter) -> None:
    port = target.destination.node("port")
    if not port:
        if len(host.ports) > 1:
            report.add("IST0112", item, target.host, host.ports, at=target.place)
    elif port.number("number") not in host.ports:
        wanted = f"{target.host}:{port.number('number')}"
        report.add("IST0101", item, "host:port", wanted, at=target.place, show=(*port.path, "number"))


def _subset_routes(view: View) -> dict[str, list[str]]:
    """By destination host: the VirtualServices of that very host that send it to a subset."""
    found: dict[str, list[str]] = {}
    for item in view.all("VirtualService"):
        hosts = item.spec.texts("hosts")
        for rule in item.spec.items("http"):
            for route in rule.items("route"):
                destination = route.node("destination")
                if destination.text("subset") and destination.text("host") in hosts:
                    names = found.setdefault(destination.text("host"), [])
                    if item.full_name not in names[-1:]:
                        names.append(item.full_name)
    return found


def _check_gateway_routes(item: Item, with_subsets: dict[str, list[str]], report: Reporter) -> None:
    """Requests from a gateway do not pass the subsets of another VirtualService."""
    for rule in item.spec.items("http"):
        section = rule.text("name")
        for route in rule.items("route"):
            destination = route.node("destination")
            if destination.text("subset"):
                continue
            place = (*destination.path, "host")
            # Istio looks the line up below the name of the rule, so it has one only for rules of a fitting name.
            at = ("spec", section, *place[2:])
            for other in with_subsets.get(destination.text("host"), ()):
                report.add("IST0140", item, other, item.full_name, at=at, show=place)


def analyze_subsets(view: View, report: Reporter) -> None:
    """Subsets that no DestinationRule of the host defines."""
    defined: set[tuple[Name, str]] = set()
    for rule in view.all("DestinationRule"):
        name = host_name(rule.spec.text("host"), rule.namespace)
        defined.update((name, subset.text("name")) for subset in rule.spec.items("subsets"))
    for item in view.all("VirtualService"):
        for target in targets(item):
            subset = target.destination.text("subset")
            if subset and (host_name(target.host, item.namespace), subset) not in defined:
                kind = "mirror+subset in destinationrule" if target.is_mirror else "host+subset in destinationrule"
                show = (*target.destination.path, "subset")
                report.add("IST0101", item, kind, f"{target.host}+{subset}", at=target.place, show=show)


def analyze_conflicting_hosts(view: View, report: Reporter) -> None:
    """Hosts that several VirtualServices of the mesh define, where one namespace sees both."""
    claims = _mesh_hosts(view)
    public = _Public(claims)
    reported: set[Name] = set()
    for (scope, host), items in claims.items():
        rivals = items if scope == "*" else items + public.overlapping(host)
        if len(rivals) < 2:
            continue
        names = ",".join(sorted(item.full_name for item in rivals))
        for item in rivals:
            if item.key not in reported:
                reported.add(item.key)
                show = ("spec", "hosts")
                report.add("IST0109", item, names, f"{scope}/{host}", at=("metadata", "name"), show=show)


def _mesh_hosts(view: View) -> dict[tuple[str, str], list[Item]]:
    """Who claims a host for the mesh, by the namespaces that see it."""
    claims: dict[tuple[str, str], list[Item]] = {}
    for item in view.all("VirtualService"):
        gateways = item.spec.texts("gateways")
        if gateways and "mesh" not in gateways:
            continue
        for scope in scopes(item.spec.texts("exportTo"), item.namespace):
            for host in item.spec.texts("hosts"):
                claims.setdefault((scope, full_host(host, item.namespace)), []).append(item)
    return claims


class _Public:
    """The hosts that all namespaces see, found without comparing each with each."""

    def __init__(self, claims: dict[tuple[str, str], list[Item]]) -> None:
        self._items = {host: items for (scope, host), items in claims.items() if scope == "*"}
        self._wildcards = {host[1:]: items for host, items in self._items.items() if host.startswith("*")}

    def overlapping(self, host: str) -> list[Item]:
        if host.startswith("*"):
            return [item for other, items in self._items.items() if matches(host, other) for item in items]
        found = list(self._items.get(host, ()))
        for start in range(len(host) + 1):
            found += self._wildcards.get(host[start:], ())
        return found
