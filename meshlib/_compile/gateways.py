"""Route tables of a gateway: its servers by port, and the VirtualServices bound to them (semantics 5.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from msgspec.structs import replace as restructured

from meshlib._compile.context import RouteContext
from meshlib._compile.host_tables import DomainClaims, route_table, server_name_table, virtual_host
from meshlib._compile.hosts import intersect, overlaps
from meshlib._compile.index import Index
from meshlib._compile.matches import is_catch_all_route
from meshlib._compile.opaque import connection_route, matches_connection
from meshlib._compile.order import by_age
from meshlib._compile.registry import Registry
from meshlib._compile.routes import compile_rules
from meshlib._compile.services import Service, parse_protocol
from meshlib._compile.virtual_services import BoundVirtualService, VirtualServices
from meshlib._snapshot.matchers import Exact, PseudoMatch, RouteMatch
from meshlib._snapshot.routes import Dropped, Origin, Redirect, Route, RouteTable, ServerNameTable, VirtualHost
from meshlib.model.gateway import GatewaySpec, Server
from meshlib.workload import Workload

__all__ = ["HTTP_KINDS", "BoundServer", "GatewayTables"]

HTTP_KINDS: Final = frozenset({"HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-Web"})
PASSING: Final = (None, "PASSTHROUGH", "AUTO_PASSTHROUGH")
REDIRECT: Final = Redirect(status=301, scheme="https", keep_port=True)
PLAINTEXT: Final = RouteMatch((PseudoMatch("scheme", Exact("http")),))


@dataclass(frozen=True, slots=True)
class BoundServer:
    """One server of a Gateway that this workload runs. ``hosts`` are ``namespace/host`` or plain.

    ``written`` is how Istio compares the hosts of servers: with their namespaces, but without ``*/``.
    """

    server: Server
    gateway: str
    hosts: tuple[str, ...]
    written: tuple[str, ...]
    origin: Origin

    @property
    def protocol(self) -> str:
        return parse_protocol(self.server.port.protocol)

    @property
    def redirects(self) -> bool:
        """True if plain HTTP is answered with a redirect to HTTPS."""
        return self.server.tls is not None and bool(self.server.tls.https_redirect)

    @property
    def passes_tls(self) -> bool:
        """True if TLS goes through unopened."""
        return self.server.tls is not None and self.server.tls.mode in PASSING

    def hosts_for(self, namespace: str) -> list[str]:
        """The hosts that VirtualServices of a namespace may serve."""
        found = []
        for entry in self.hosts:
            place, slash, host = entry.partition("/")
            if not slash:
                found.append(entry)
            elif place in (namespace, "*"):
                found.append(host)
        return found

    def plain_hosts(self) -> list[str]:
        """The hosts without their namespaces."""
        return [entry.rpartition("/")[2] for entry in self.hosts]


@dataclass(slots=True)
class Collected:
    """The routes gathered for one host of a port; ``redirects`` is the server that answers plain HTTP with HTTPS."""

    routes: list[Route] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    origin: Origin = Origin("default")
    redirects: Origin | None = None


class GatewayTables:
    """Builds the tables of one gateway workload."""

    def __init__(
        self,
        index: Index,
        registry: Registry,
        rules: VirtualServices,
        services: Mapping[str, Service],
        context: RouteContext,
        workload: Workload,
    ) -> None:
        self._registry = registry
        self._rules = rules
        self._services = services
        self._context = context
        self._namespace = workload.namespace
        self._servers = accepted_servers(bound_servers(index, workload))

    @property
    def servers(self) -> Mapping[int, Iterable[BoundServer]]:
        """The servers that this workload runs, by port."""
        return self._servers

    def build(self) -> tuple[dict[int, RouteTable], dict[int, ServerNameTable]]:
        """Tables of plain HTTP ports, and by server name those of TLS ports."""
        tables: dict[int, RouteTable] = {}
        names: dict[int, ServerNameTable] = {}
        for port, servers in self._servers.items():
            if servers[0].protocol in HTTP_KINDS:
                tables[port] = self._http_table(servers, port)
            elif servers[0].server.tls is None:
                if (table := self._tcp_table(servers, port)) is not None:
                    tables[port] = table
            else:
                found = self._tls_table(servers, port)
                # A port without any way to go is not listened on.
                if found.exact or found.suffixes or found.catch_all is not None:
                    names[port] = found
        return tables, names

    def _bound(self, server: BoundServer) -> list[BoundVirtualService]:
        return self._rules.for_gateway(server.gateway, self._namespace)

    def _scoped(self, server: BoundServer, port: int, namespace: str | None = None) -> RouteContext:
        """What rules of a server are compiled against; ``namespace`` is the first that is looked for services in."""
        return replace(
            self._context,
            port=port,
            gateway=server.gateway,
            is_tls=server.server.tls is not None,
            locate=self._locator(namespace),
        )

    # -- HTTP --------------------------------------------------------------------------------------

    def _http_table(self, servers: Iterable[BoundServer], port: int) -> RouteTable:
        """The hosts of several servers as one table; the VirtualServices of one host are put together."""
        collected: dict[str, Collected] = {}
        compiled: dict[tuple[str, int], tuple[list[Route], list[Dropped]]] = {}
        for server in servers:
            for rule in self._bound(server):
                shared = intersect(server.hosts_for(rule.namespace), rule.hosts)
                if not shared:
                    continue
                key = (server.gateway, id(rule))
                if key not in compiled:
                    compiled[key] = compile_rules(rule, self._scoped(server, server.server.port.number, rule.namespace))
                routes, dropped = compiled[key]
                if routes:
                    redirects = server.origin if server.redirects else None
                    collect(collected, shared, routes, dropped, rule.origin, redirects=redirects)
            for host in server.hosts if server.redirects else ():
                # Hosts with a namespace are redirected only where a VirtualService serves them: so does Istio.
                if "/" not in host:
                    collected.setdefault(host.lower(), Collected(origin=server.origin)).redirects = server.origin
        claims: DomainClaims[VirtualHost] = DomainClaims()
        for host, found in collected.items():
            claims.claim(host, finished(host, found))
        return route_table(claims, virtual_host("blackhole", ("*",), (), Origin("gateway")))

    # -- TLS and TCP -------------------------------------------------------------------------------

    def _tls_table(self, servers: Iterable[BoundServer], port: int) -> ServerNameTable:
        """Servers by the names of their hosts: opened to HTTP or TCP, or passed on by server name."""
        claims: DomainClaims[RouteTable] = DomainClaims()
        taken: set[str] = set()
        for server in servers:
            if server.passes_tls:
                self._claim_passing(claims, server, port, taken)
                continue
            is_https = server.protocol == "HTTPS"
            table = self._http_table([server], port) if is_https else self._tcp_table([server], port)
            if table is not None:
                for host in server.plain_hosts():
                    claims.claim(host.lower(), table)
        return server_name_table(claims)

    def _claim_passing(self, claims: DomainClaims[RouteTable], server: BoundServer, port: int, taken: set[str]) -> None:
        """Pass TLS on by server name. A match with one name that is taken is left out whole, as in Istio 1.31."""
        for rule in self._bound(server):
            if not self._serves(server, rule):
                continue
            context = self._scoped(server, port)
            for number, route in enumerate(rule.spec.tls):
                for match in route.match if route.route else ():
                    if matches_connection(match, rule, context, at_gateway=True) and taken.isdisjoint(match.sni_hosts):
                        taken.update(match.sni_hosts)
                        made = connection_route(rule, "tls", number, (), route.route, context)
                        for name in match.sni_hosts:
                            claims.claim(name.lower(), single_route_table(made, name))

    def _tcp_table(self, servers: Iterable[BoundServer], port: int) -> RouteTable | None:
        """A port without HTTP: the first TCP rule that applies takes every connection. None if no rule does."""
        for server in servers:
            for rule in self._bound(server) if not server.passes_tls else ():
                if not self._serves(server, rule):
                    continue
                context = self._scoped(server, port)
                for number, route in enumerate(rule.spec.tcp):
                    if route.route and (
                        not route.match
                        or any(matches_connection(match, rule, context, at_gateway=True) for match in route.match)
                    ):
                        made = connection_route(rule, "tcp", number, (), route.route, context)
                        return single_route_table(made, "*")
        return None

    def _serves(self, server: BoundServer, rule: BoundVirtualService) -> bool:
        """True if a VirtualService has a host of the server."""
        hosts = server.hosts_for(rule.namespace)
        return any(overlaps(host, other) for host in hosts for other in rule.hosts)

    def _locator(self, namespace: str | None) -> Callable[[str], tuple[str, int | None]]:
        """What destinations of a VirtualService mean: services of its own namespace first.

        Istio 1.31 does so for HTTP routes only: connections go by what the gateway sees (None).
        """

        def locate(host: str) -> tuple[str, int | None]:
            service = self._registry.named(host).get(namespace) if namespace is not None else None
            if service is None or not service.visible_to(self._namespace):
                service = self._services.get(host)
            if service is None:
                return host, None
            return service.alias_of or host, service.ports[0].number if len(service.ports) == 1 else None

        return locate


def bound_servers(index: Index, workload: Workload) -> list[BoundServer]:
    """The servers of all Gateways that select the workload, oldest first."""
    servers: list[BoundServer] = []
    for entry in sorted(index.of("Gateway", GatewaySpec), key=by_age):
        if not entry.spec.selector.items() <= workload.labels.items():
            continue
        resource, meta = entry.resource, entry.meta
        lines = resource.rule_lines.get("servers", ())
        for number, server in enumerate(entry.spec.servers):
            line = lines[number] if number < len(lines) else resource.line
            origin = Origin(str(resource), f"spec.servers[{number}]", resource.file, line)
            hosts = tuple(server_host(host, meta.namespace) for host in server.hosts)
            own = f"{meta.namespace}/"
            servers.append(
                BoundServer(server, own + meta.name, hosts, ("*",) if "*/*" in server.hosts else hosts, origin)
            )
    return servers


def server_host(host: str, namespace: str) -> str:
    """A host of a server with its namespace: ``.`` is the Gateway's own, ``*`` is any."""
    place, slash, name = host.partition("/")
    if not slash or place == "*":
        return name or place
    return f"{namespace if place == '.' else place}/{name}"


def accepted_servers(servers: Iterable[BoundServer]) -> dict[int, list[BoundServer]]:
    """The servers by port. Those in conflict with an earlier one of the port are left out.

    Plain HTTP servers share a port; servers with TLS share one if their hosts differ.
    """
    accepted: dict[int, list[BoundServer]] = {}
    names: dict[int, set[str]] = {}
    for server in servers:
        port = server.server.port.number
        others = accepted.setdefault(port, [])
        taken = names.setdefault(port, set())
        if server.server.tls is not None:
            if taken.intersection(server.written):
                continue
            taken.update(server.written)
        if not others or may_share(others[0], server):
            others.append(server)
    return accepted


def may_share(first: BoundServer, other: BoundServer) -> bool:
    """True if two servers can listen on one port."""
    if first.protocol in HTTP_KINDS or other.protocol in HTTP_KINDS:
        return first.protocol in HTTP_KINDS and other.protocol in HTTP_KINDS
    return first.server.tls is not None and other.server.tls is not None


def collect(
    collected: dict[str, Collected],
    hosts: Iterable[str],
    routes: list[Route],
    dropped: list[Dropped],
    origin: Origin,
    *,
    redirects: Origin | None,
) -> None:
    """Append the routes of a VirtualService to its hosts."""
    for host in hosts:
        found = collected.setdefault(host.lower(), Collected(origin=origin))
        found.dropped.extend(restructured(item, before=item.before + len(found.routes)) for item in dropped)
        found.routes.extend(routes)
        found.redirects = found.redirects or redirects


def finished(host: str, found: Collected) -> VirtualHost:
    """The virtual host of gathered routes: what takes every request goes to the end."""
    ordinary = [route for route in found.routes if not is_catch_all_route(route.match)]
    last = [route for route in found.routes if is_catch_all_route(route.match)]
    first = [Route(match=PLAINTEXT, action=REDIRECT, origin=found.redirects)] if found.redirects is not None else []
    return virtual_host(host, (host,), first + ordinary + last, found.origin, found.dropped)


def single_route_table(route: Route, name: str) -> RouteTable:
    """A table in which everything goes one way."""
    return route_table(DomainClaims(), virtual_host(name, ("*",), (route,), route.origin))
