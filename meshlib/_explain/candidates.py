"""Why a VirtualService has no say in a request: the first of its conditions that does not hold.

What the trace of an explanation lists are rules of VirtualServices that were asked.
These are the others: for other hosts or gateways, not exported to the client, not
imported by its Sidecar, without a service on the port, or second to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from meshlib._compile import Config
from meshlib._compile.context import RouteContext
from meshlib._compile.gateways import GatewayTables
from meshlib._compile.hosts import SERVICE_SUFFIX, covers, intersect, is_wildcard, service_domains
from meshlib._compile.routes import compile_rules
from meshlib._compile.rule_hosts import RuleHosts
from meshlib._compile.services import Resolution
from meshlib._compile.virtual_services import BoundVirtualService
from meshlib._compile.visibility import HTTP_PORT, select_sidecar, services_by_port
from meshlib._explain.explanation import Explanation, Step
from meshlib._http import RequestHead
from meshlib._snapshot.routes import Origin, VirtualHost
from meshlib._snapshot.snapshot import Snapshot, host_of
from meshlib.model.resource import Resource
from meshlib.workload import Workload

__all__ = ["with_candidates"]

EVERYTHING: Final = ("*",)
SHOWN: Final = 20
"""VirtualServices for other hosts that are named; of more only the number."""


def with_candidates(
    explanation: Explanation,
    snapshot: Snapshot,
    request: RequestHead,
    workload: Workload,
    resources: Callable[[], Sequence[Resource]],
) -> Explanation:
    """The explanation, able to tell of the VirtualServices passed over: found only when asked for."""
    return replace(explanation, find_passed=lambda: passed_over(Config(resources()), snapshot, request, workload))


def passed_over(config: Config, snapshot: Snapshot, request: RequestHead, workload: Workload) -> tuple[Step, ...]:
    """All VirtualServices that were not asked, those with a host of the request first."""
    names = Names(config, workload, host_of(request.authority))
    found = snapshot.find_host(request)
    court: Court = (
        GatewayCourt(config, workload, request, found)
        if workload.gateway
        else SidecarCourt(config, workload, request.port, found)
    )
    near: list[Step] = []
    far: list[Step] = []
    for rule in config.rules.bound:
        if not names.fit(rule):
            far.append(step(rule, f"it is for {listed(rule.hosts)}"))
        elif (reason := court.reason(rule)) is not None:
            near.append(step(rule, reason))
    if len(far) > SHOWN:
        rest = Origin(f"{len(far) - SHOWN} more VirtualServices")
        far[SHOWN:] = [Step(origin=rest, matched=False, reason="for other hosts")]
    return (*near, *far)


def step(rule: BoundVirtualService, reason: str) -> Step:
    """A VirtualService that was not asked."""
    return Step(origin=place(rule), matched=False, reason=reason)


def place(rule: BoundVirtualService) -> Origin:
    """Where a VirtualService is written."""
    return Origin(rule.name, "", rule.resource.file, rule.resource.line)


def listed(names: Sequence[str]) -> str:
    """A few names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True, slots=True)
class Names:
    """All that the host of a request may be called in a VirtualService."""

    wanted: frozenset[str]

    def __init__(self, config: Config, workload: Workload, host: str) -> None:
        found = {host}
        if host and "." not in host:
            found.add(f"{host}.{workload.namespace}{SERVICE_SUFFIX}")
        elif host.endswith(".svc"):
            found.add(host.removesuffix(".svc") + SERVICE_SUFFIX)
        elif host.count(".") == 1:
            found.add(host + SERVICE_SUFFIX)
        for service in config.registry.services:
            full, further = service_domains(service.host.lower(), workload.namespace)
            pods = (full, *further) if service.kubernetes and service.resolution is Resolution.NONE else ()
            if (
                host in (full, *further, *service.addresses)
                or (is_wildcard(full) and covers(full, host))
                or any(host.endswith(f".{domain}") for domain in pods)
            ):
                found.add(full)
        object.__setattr__(self, "wanted", frozenset(found))

    def fit(self, rule: BoundVirtualService) -> bool:
        """True if a VirtualService has a host for one of the names."""
        return any(covers(host, name) for host in rule.lower_hosts for name in self.wanted)


class Court(Protocol):
    """Judges the VirtualServices of one kind of client."""

    def reason(self, rule: BoundVirtualService) -> str | None:
        """Why a VirtualService with a fitting host was not asked; None if it was."""


class SidecarCourt:
    """The VirtualServices of a client in the mesh, on one port."""

    def __init__(self, config: Config, workload: Workload, port: int, found: VirtualHost | None) -> None:
        self._workload = workload
        self._port = port
        self._found = found
        view = config.view(workload)
        self._context = replace(config.scope(view, workload), port=port)
        self._visible = config.rules.for_gateway("mesh", workload.namespace)
        self._listener = view.listener(port)
        self._services = services_by_port(self._listener).get(port, {}) if self._listener is not None else {}
        matching = RuleHosts(self._listener).matching(self._services) if self._listener is not None else []
        self._on_port = {id(rule) for rule in matching}
        sidecar = select_sidecar(config.index, config.mesh, workload)
        self._sidecar = sidecar.resource if sidecar is not None else None

    def reason(self, rule: BoundVirtualService) -> str | None:
        """Host, gateway, export, import, port, rules, precedence: the order in which they are looked at."""
        for reason in self._reasons(rule):
            if reason is not None:
                return reason
        return None

    def _reasons(self, rule: BoundVirtualService) -> Iterator[str | None]:
        yield not_bound(rule, "mesh", "the mesh")
        yield not_exported(rule, self._visible, self._workload)
        yield self._not_imported(rule)
        yield self._not_here(rule)
        if self._found is not None and not self._found.is_http and self._found.domains != EVERYTHING:
            yield not_for_connections(rule, self._found, self._port)
            return
        yield no_rules(rule, self._context)
        yield self._second(rule)

    def _not_imported(self, rule: BoundVirtualService) -> str | None:
        listener, sidecar = self._listener, self._sidecar
        if listener is not None and any(one is rule for one in listener.rules):
            return None
        where = f"{sidecar} ({sidecar.file}:{sidecar.line})" if sidecar is not None else "the Sidecar"
        if listener is None:
            return f"{where} has no egress listener for port {self._port}"
        return f"{where} imports none of its hosts"

    def _not_here(self, rule: BoundVirtualService) -> str | None:
        if self._port == HTTP_PORT or id(rule) in self._on_port:
            return None
        return f"no service with one of its hosts listens on port {self._port}"

    def _second(self, rule: BoundVirtualService) -> str | None:
        """Of the VirtualServices that are left only one gives its rules: the most specific host, then the first."""
        found = self._found
        if found is None or found.origin == rule.origin:
            return None
        if found.domains == EVERYTHING:
            return f"{listed(rule.hosts)} is no service here: it is known by that full name only"
        winner = next((one for one in self._visible if one.origin == found.origin), None)
        if winner is None:
            return f"{found.origin} answers for the host"
        if any(is_wildcard(host) for host in rule.hosts) and not any(host in winner.hosts for host in rule.hosts):
            return f"{place(winner)} has a more specific host"
        first = "older" if "*" in rule.export_to or "*" not in winner.export_to else "not exported to everybody"
        return f"{place(winner)} is {first}; VirtualServices for one host are not merged"


class GatewayCourt:
    """The VirtualServices of a gateway, on one port: all that a server has the host of are put together."""

    def __init__(self, config: Config, workload: Workload, request: RequestHead, found: VirtualHost | None) -> None:
        view = config.view(workload)
        self._context = config.scope(view, workload)
        tables = GatewayTables(config.index, config.registry, config.rules, view.services, self._context, workload)
        self._servers = tuple(tables.servers.get(request.port, ()))
        self._rules = config.rules
        self._workload = workload
        self._port = request.port
        self._found = found

    def reason(self, rule: BoundVirtualService) -> str | None:
        """Gateway, export, server, rules, precedence."""
        if not self._servers:
            return f"no Gateway that selects this workload has a server on port {self._port}"
        gateways = list(dict.fromkeys(server.gateway for server in self._servers))
        bound = [name for name in gateways if name in rule.gateways]
        if not bound:
            return not_bound(rule, gateways[0], f"{listed(gateways)}, which listen on port {self._port}")
        visible = self._rules.for_gateway(bound[0], self._workload.namespace)
        if (reason := not_exported(rule, visible, self._workload)) is not None:
            return reason
        servers = [server for server in self._servers if server.gateway in bound]
        shared = [host for server in servers for host in intersect(server.hosts_for(rule.namespace), rule.hosts)]
        if not shared:
            return f"no server on port {self._port} has its hosts {listed(rule.hosts)} for namespace {rule.namespace}"
        context = replace(self._context, port=servers[0].server.port.number, gateway=bound[0])
        if (reason := no_rules(rule, context)) is not None:
            return reason
        found = self._found
        if found is None or not found.is_http or set(found.domains) & {host.lower() for host in shared}:
            return None
        return f"the host {found.name} is more specific"


def not_for_connections(rule: BoundVirtualService, found: VirtualHost, port: int) -> str | None:
    if not rule.spec.tcp and not rule.spec.tls:
        return f"port {port} carries no HTTP: only tcp and tls rules count, it has none"
    if any(route.origin.resource == rule.name for route in found.routes):
        return None
    return f"none of its tcp and tls rules is for this client, port {port} and the address of the service"


def not_bound(rule: BoundVirtualService, gateway: str, what: str) -> str | None:
    return None if gateway in rule.gateways else f"it is bound to {listed(rule.gateways)}, not to {what}"


def not_exported(rule: BoundVirtualService, visible: Sequence[BoundVirtualService], workload: Workload) -> str | None:
    if any(one is rule for one in visible):
        return None
    others = "nobody" if "~" in rule.export_to else f"namespace {listed(sorted(rule.export_to))} only"
    return f"it is exported to {others}, not to {workload.namespace}"


def no_rules(rule: BoundVirtualService, context: RouteContext) -> str | None:
    """Why none of the HTTP rules is for this client and port."""
    routes, dropped = compile_rules(rule, context)
    if routes:
        return None
    return f"none of its rules is left here: {dropped[0].reason}" if dropped else "it has no http rules"
