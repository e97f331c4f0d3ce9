"""Route tables of a workload with a sidecar: one for each port that some service listens on (semantics 1.3–1.5).

A VirtualService gives its routes to the services it has a host for, and to its hosts
that are no services; then the services without one get their default route. The first
to claim a domain keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

import msgspec

from meshlib._compile.context import RouteContext
from meshlib._compile.destinations import hash_key
from meshlib._compile.host_tables import DomainClaims, route_table, virtual_host
from meshlib._compile.hosts import is_wildcard, overlaps, service_domains
from meshlib._compile.opaque import opaque_routes
from meshlib._compile.retries import compile_retry
from meshlib._compile.routes import compile_rules, extension_retry
from meshlib._compile.services import Resolution, Service, ServicePort
from meshlib._compile.virtual_services import BoundVirtualService
from meshlib._compile.visibility import EgressListener, View
from meshlib._snapshot.matchers import RouteMatch
from meshlib._snapshot.routes import (
    Dropped,
    Forward,
    HashKey,
    Origin,
    Route,
    RouteTable,
    VirtualHost,
    WeightedDestination,
)
from meshlib.model.load_balancer import ConsistentHashLB

__all__ = ["SidecarTables"]

HTTP_PORT: Final = 80
EVERYTHING: Final = RouteMatch()
ONE: Final = (1,)


class Wrapper(msgspec.Struct, gc=False):
    """The routes of a VirtualService (or of none), with the services and further hosts that they are for."""

    routes: tuple[Route, ...]
    services: list[Service]
    hosts: list[str]
    origin: Origin
    dropped: tuple[Dropped, ...] = ()


class SidecarTables:
    """Builds the tables of one workload. ``takes_http`` tells whether HTTP routes apply to a port of a service."""

    def __init__(
        self,
        view: View,
        context: RouteContext,
        *,
        find_default_hash: Callable[[str, int], ConsistentHashLB | None],
        takes_http: Callable[[Service, ServicePort], bool],
        catch_all: VirtualHost,
    ) -> None:
        self._view = view
        self._context = context
        self._find_default_hash = find_default_hash
        self._takes_http = takes_http
        self._catch_all = catch_all
        self._shared: dict[int, tuple[tuple[Route, ...], tuple[Dropped, ...]]] = {}
        found = (service for listener in view.listeners for service in listener.services)
        self._aliases = frozenset(service.host for service in found if service.alias_of)

    def build(self) -> dict[int, RouteTable]:
        """The tables by port."""
        tables: dict[int, RouteTable] = {}
        for listener in self._view.listeners:
            by_port = services_by_port(listener)
            hosts = RuleHosts(listener)
            for port in sorted(by_port):
                if port not in tables and self._view.listener(port) is listener:
                    tables[port] = self._table(listener, hosts, by_port[port], port)
        return tables

    def _table(self, listener: EgressListener, hosts: RuleHosts, services: dict[str, Service], port: int) -> RouteTable:
        context = replace(self._context, port=port, locate=alias_lookup(services))
        http = {host: service for host, service in services.items() if self._is_http(service, port)}
        # On ports other than 80 a VirtualService needs a host that is a service there.
        rules = listener.rules if port == HTTP_PORT else hosts.matching(services)
        wrappers = [
            wrapper for rule in rules if (wrapper := self._wrap(rule, listener, services, http, context)) is not None
        ]
        taken = {service.host for wrapper in wrappers for service in wrapper.services}
        rest = [http[host] for host in sorted(http.keys() - taken) if http[host].resolution is not Resolution.ALIAS]
        wrappers += [
            Wrapper((self._default_route(service, context),), [service], [], service.origin) for service in rest
        ]
        claims: DomainClaims[VirtualHost] = DomainClaims()
        known = {service.host for wrapper in wrappers for service in wrapper.services}
        for wrapper in wrappers:
            self._claim(claims, wrapper, known)
        for host in sorted(services.keys() - http.keys()):
            self._claim_opaque(claims, services[host], listener, known, context)
        return route_table(claims, self._catch_all)

    def _is_http(self, service: Service, number: int) -> bool:
        port = service.port(number)
        return port is not None and self._takes_http(service, port)

    def _wrap(
        self,
        rule: BoundVirtualService,
        listener: EgressListener,
        services: dict[str, Service],
        http: dict[str, Service],
        context: RouteContext,
    ) -> Wrapper | None:
        """The routes of a VirtualService on a port; None if none are left or nothing is there for them."""
        routes, dropped = self._routes(rule, context)
        if not routes:
            return None
        hosts: list[str] = []
        matching: list[Service] = []
        for host in rule.hosts:
            if not is_wildcard(host):
                if host in services:
                    matching.append(services[host])
                else:
                    hosts.append(host)
                continue
            covered = [service for service in services.values() if overlaps(service.host, host)]
            matching.extend(service for service in covered if listener.owners.find(service.host) is rule)
            if not covered:
                hosts.append(host)
        reachable = [service for service in dict.fromkeys(matching) if service.host in http]
        if not reachable and context.port != HTTP_PORT:
            return None
        return Wrapper(routes, reachable, hosts, rule.origin, dropped)

    def _routes(
        self, rule: BoundVirtualService, context: RouteContext
    ) -> tuple[tuple[Route, ...], tuple[Dropped, ...]]:
        """The routes on a port; those that do not depend on it are compiled once."""
        shared = self._shared.get(id(rule))
        if shared is not None:
            return shared
        routes, dropped = compile_rules(rule, context)
        compiled = (tuple(routes), tuple(dropped))
        if not rule.depends_on_port and not self._sends_to_alias(rule):
            self._shared[id(rule)] = compiled
        return compiled

    def _sends_to_alias(self, rule: BoundVirtualService) -> bool:
        """True if a destination is an ExternalName service, which is known on its own ports only."""
        if not self._aliases:
            return False
        return any(host in self._aliases for host, _ in rule.destinations(self._context.namespace))

    def _default_route(self, service: Service, context: RouteContext) -> Route:
        """What a service without VirtualService gets: everything goes to it."""
        port = context.port
        key, host = context.cluster_key(service.host, port, "")
        defaults = context.find_defaults(service.host, "", port)
        wanted = extension_retry(defaults.retry) if defaults is not None else None
        return Route(
            match=EVERYTHING,
            action=Forward(
                destinations=(WeightedDestination(cluster=key, host=host, port=port),),
                sums=ONE,
                timeout=defaults.timeout if defaults is not None else None,
                retry=compile_retry(wanted or context.mesh.retry),
                hash_keys=hash_keys(self._find_default_hash(service.host, port)),
            ),
            name="default",
            origin=service.origin,
        )

    def _claim(self, claims: DomainClaims[VirtualHost], wrapper: Wrapper, known: set[str]) -> None:
        names = [*wrapper.hosts, *(service.host for service in wrapper.services)]
        if not names:
            return
        host = virtual_host(names[0], names, wrapper.routes, wrapper.origin, wrapper.dropped)
        for name in wrapper.hosts:
            claims.claim(f"[{name}]" if ":" in name else name, host)
        for service in wrapper.services:
            for domain in self._domains(service, known):
                claims.claim(domain, host)

    def _domains(self, service: Service, known: set[str]) -> Iterator[str]:
        """All names a service is called by; a shortened one never hides a service that is really called so."""
        domains: list[str] = []
        for name in (service.host, *service.aliases):
            full, further = service_domains(name, self._context.namespace)
            domains.append(full)
            domains.extend(domain for domain in further if domain not in known)
        if service.kubernetes and service.resolution is Resolution.NONE:
            domains.extend([f"*.{domain}" for domain in domains])
        domains.extend(f"[{address}]" if ":" in address else address for address in service.addresses)
        return iter(domains)

    def _claim_opaque(
        self,
        claims: DomainClaims[VirtualHost],
        service: Service,
        listener: EgressListener,
        known: set[str],
        context: RouteContext,
    ) -> None:
        """A port that carries no HTTP: the connection goes where TLS and TCP rules send it, else to the service."""
        port = service.port(context.port)
        if port is None or port.protocol == "UDP" or service.resolution is Resolution.ALIAS:
            return
        located = replace(context, locate=full_lookup(self._view))
        routes = opaque_routes(service, port, listener.rules, located, self._catch_all.routes[0])
        host = virtual_host(service.host, (service.host,), routes, service.origin, is_http=False)
        for domain in self._domains(service, known):
            claims.claim(domain, host)


class RuleHosts:
    """The VirtualServices of a listener by host, to find those that have a host among some services."""

    def __init__(self, listener: EgressListener) -> None:
        self._rules = listener.rules
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._wildcards: list[tuple[str, int]] = []
        for number, rule in enumerate(listener.rules):
            for host in rule.hosts:
                if is_wildcard(host):
                    self._wildcards.append((host, number))
                else:
                    self._exact[host].append(number)

    def matching(self, services: Iterable[str]) -> list[BoundVirtualService]:
        """Those with a host that is a service, or overlaps one, in their order."""
        found: set[int] = set()
        for host in services:
            found.update(self._exact.get(host, ()))
            found.update(number for pattern, number in self._wildcards if overlaps(pattern, host))
            if is_wildcard(host):
                for name, numbers in self._exact.items():
                    if overlaps(name, host):
                        found.update(numbers)
        return [self._rules[number] for number in sorted(found)]


def services_by_port(listener: EgressListener) -> dict[int, dict[str, Service]]:
    """The services of a listener by port and host. Port 80 is always there: unknown hosts are routed on it.

    A port of UDP is none to Istio 1.31: a VirtualService finds no service there.
    """
    found: dict[int, dict[str, Service]] = {listener.port or HTTP_PORT: {}}
    for service in listener.services:
        for port in service.ports:
            if port.protocol != "UDP":
                found.setdefault(port.number, {})[service.host] = service
    return found


def alias_lookup(services: dict[str, Service]) -> Callable[[str], tuple[str, int | None]]:
    """What destinations mean on one port: mesh clients know only the services that listen there."""
    aliases = {host: service.alias_of for host, service in services.items() if service.alias_of}
    if not aliases:
        return as_written
    return lambda host: (aliases.get(host, host), None)


def as_written(host: str) -> tuple[str, int | None]:
    """A destination's host stands for itself, and its port is the dialled one."""
    return host, None


def full_lookup(view: View) -> Callable[[str], tuple[str, int | None]]:
    """What destinations of connections mean: a service with a single port gives it."""

    def locate(host: str) -> tuple[str, int | None]:
        service = view.services.get(host)
        if service is None:
            return host, None
        return service.alias_of or host, service.ports[0].number if len(service.ports) == 1 else None

    return locate


def hash_keys(settings: ConsistentHashLB | None) -> tuple[HashKey, ...]:
    """What a route hashes by, as the snapshot keeps it."""
    key = hash_key(settings) if settings is not None else None
    return () if key is None else (key,)
