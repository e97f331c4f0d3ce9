"""Route tables of a workload with a sidecar: one for each port that some service listens on (semantics 1.3–1.5).

A VirtualService gives its routes to the services it has a host for, and to its hosts
that are no services; then the services without one get their default route. The first
to claim a domain keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from meshlib._compile.clusters import Destinations
from meshlib._compile.context import RouteContext
from meshlib._compile.destinations import hash_key
from meshlib._compile.findings import Doubt
from meshlib._compile.host_tables import DomainClaims, route_table, virtual_host
from meshlib._compile.hosts import is_wildcard, overlaps, service_domains
from meshlib._compile.known import NO_ALIASES, Aliases, CompiledRule, KnownCompilation
from meshlib._compile.opaque import opaque_routes
from meshlib._compile.retries import compile_retry
from meshlib._compile.routes import compile_rules, extension_retry
from meshlib._compile.rule_hosts import RuleHosts
from meshlib._compile.services import Resolution, Service
from meshlib._compile.virtual_services import BoundVirtualService
from meshlib._compile.visibility import HTTP_PORT, EgressListener, View, lowered, services_by_port
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

EVERYTHING: Final = RouteMatch()
ONE: Final = (1,)


class Wrapper(msgspec.Struct, gc=False):
    """The routes of a VirtualService (or of none), with the services and further hosts that they are for.

    ``compiled`` is where its virtual host is kept for the next compilation, if none of its hosts is a service.
    """

    routes: tuple[Route, ...]
    services: list[Service]
    hosts: list[str]
    origin: Origin
    dropped: tuple[Dropped, ...] = ()
    compiled: CompiledRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A port for which a table is built, with the services that listen there, by their hosts in lower case.

    ``http`` are those that rules apply to: with hosts in lower case themselves, by which Istio sends there.
    """

    listener: EgressListener
    services: dict[str, Service]
    http: dict[str, Service]
    aliases: Aliases
    context: RouteContext

    def owner(self, host: str) -> BoundVirtualService | None:
        """The VirtualService that wildcards give a service to: none if its host is written otherwise."""
        return self.listener.owner(host) if self.services[host].host == host else None


class SidecarTables:
    """Builds the tables of one workload; what is ``known`` from before is not built again."""

    def __init__(
        self,
        view: View,
        context: RouteContext,
        destinations: Destinations,
        catch_all: VirtualHost,
        known: KnownCompilation | None = None,
    ) -> None:
        self._view = view
        self._context = context
        self._destinations = destinations
        self._catch_all = catch_all
        self._known = known
        self._before = {} if known is None else known.before.routes
        self._shared: dict[int, CompiledRule] = {}
        found = (service for listener in view.listeners for service in listener.services)
        self._aliases = frozenset(service.host for service in found if service.alias_of)

    def build(self) -> dict[int, RouteTable]:
        """The tables by port."""
        tables: dict[int, RouteTable] = {}
        for listener in self._view.listeners:
            by_port = services_by_port(listener)
            hosts: RuleHosts | None = None
            for port in sorted(by_port):
                if port in tables or self._view.listener(port) is not listener:
                    continue
                rules = listener.rules
                if port != HTTP_PORT:
                    # On other ports a VirtualService needs a host that is a service there.
                    hosts = hosts or RuleHosts(listener)
                    rules = hosts.matching(by_port[port])
                tables[port] = self._table(self._place(listener, by_port[port], port), rules)
        return tables

    def _place(self, listener: EgressListener, services: dict[str, Service], port: int) -> Place:
        aliases = aliases_of(services)
        if self._known is not None:
            aliases = self._known.aliases(port, aliases)
        return Place(
            listener=listener,
            services=services,
            http={host: lowered(service, host) for host, service in services.items() if self._is_http(service, port)},
            aliases=aliases,
            context=replace(self._context, port=port, locate=alias_lookup(aliases)),
        )

    def _is_http(self, service: Service, number: int) -> bool:
        port = service.port(number)
        return port is not None and self._destinations.takes_http(service, port)

    def _table(self, place: Place, rules: Iterable[BoundVirtualService]) -> RouteTable:
        parts = self._parts(place, rules)
        served = [part for part in parts if isinstance(part, Wrapper) and part.services]
        taken = {service.host for wrapper in served for service in wrapper.services}
        http = place.http
        rest = [http[host] for host in sorted(http.keys() - taken) if http[host].resolution is not Resolution.ALIAS]
        parts += [
            Wrapper((self._default_route(service, place.context),), [service], [], service.origin) for service in rest
        ]
        known = taken.union([service.host for service in rest])
        claims: DomainClaims[VirtualHost] = DomainClaims()
        exact = claims.exact
        for part in parts:
            if isinstance(part, Wrapper):
                self._claim(claims, part, known, place.context.port)
            else:
                for domain in part.domains:
                    exact.setdefault(domain, part)
        for host in sorted(place.services.keys() - http.keys()):
            self._claim_opaque(claims, place.services[host], place.listener, known, place.context)
        for listener, service in self._beside(place):
            self._claim_opaque(claims, service, listener, known, place.context)
        return route_table(claims, self._catch_all)

    def _beside(self, place: Place) -> Iterator[tuple[EgressListener, Service]]:
        """Services without HTTP on a port that has an egress listener of its own, seen through that for all ports.

        Istio 1.31 listens for them at their addresses, where the other listener is not in the way.
        """
        port = place.context.port
        for listener in self._view.listeners if place.listener.port is not None else ():
            for service in services_by_port(listener).get(port, {}).values() if listener.port is None else ():
                if service.addresses and not self._is_http(service, port):
                    yield listener, service

    def _parts(self, place: Place, rules: Iterable[BoundVirtualService]) -> list[Wrapper | VirtualHost]:
        """What VirtualServices bring to a table: their routes, or the virtual host itself where it is known."""
        before, services, aliases, port = self._before, place.services.keys(), place.aliases, place.context.port
        now = {} if self._known is None else self._known.now.routes
        are_rules_same = self._known is not None and self._known.are_rules_same
        shared, has_aliases = self._shared, bool(self._aliases)
        parts: list[Wrapper | VirtualHost] = []
        for rule in rules:
            key = id(rule), port
            known = before.get(key)
            if (
                known is not None
                and known.host is not None
                and known.aliases is aliases
                and services.isdisjoint(rule.lower_hosts)
                and key[0] not in shared
                and (are_rules_same or self._is_current(known))
            ):
                if has_aliases or known.doubts:
                    self._take(known, place.context)
                else:  # the same for most, without a call
                    now[key] = known
                    if known.is_shared:
                        shared[key[0]] = known
                parts.append(known.host)
            elif (wrapper := self._wrap(rule, place)) is not None:
                parts.append(wrapper)
        return parts

    def _wrap(self, rule: BoundVirtualService, place: Place) -> Wrapper | None:
        """The routes of a VirtualService on a port; None if none are left or nothing is there for them."""
        compiled = None
        shared = self._shared.get(id(rule))
        if shared is None:
            shared = compiled = self._compiled(rule, place)
        routes, dropped = shared.routes, shared.dropped
        if not routes:
            return None
        hosts: list[str] = []
        matching: list[str] = []
        for host in rule.lower_hosts:
            if not is_wildcard(host):
                (matching if host in place.services else hosts).append(host)
                continue
            covered = [name for name in place.services if overlaps(name, host)]
            matching.extend(name for name in covered if place.owner(name) is rule)
            if not covered:
                hosts.append(host)
        reachable = [place.http[name] for name in dict.fromkeys(matching) if name in place.http]
        if not reachable and place.context.port != HTTP_PORT:
            return None
        return Wrapper(routes, reachable, hosts, rule.origin, dropped, None if matching else compiled)

    def _compiled(self, rule: BoundVirtualService, place: Place) -> CompiledRule:
        """The routes on a port, compiled before if all that they depend on is as it was."""
        known = self._before.get((id(rule), place.context.port))
        if known is None or known.aliases is not place.aliases or not self._is_current(known):
            known = self._compile(rule, place)
        self._take(known, place.context)
        return known

    def _is_current(self, known: CompiledRule) -> bool:
        """Whether the DestinationRules that routes depend on are what they were."""
        return self._known is not None and (
            self._known.are_rules_same or self._destinations.has_same_rules(known.asked)
        )

    def _take(self, compiled: CompiledRule, context: RouteContext) -> None:
        """Use compiled routes, and keep them for the next compilation."""
        if compiled.is_shared and not self._sends_to_alias(compiled.rule):
            self._shared[id(compiled.rule)] = compiled
        if self._known is not None:
            self._known.now.routes[id(compiled.rule), context.port] = compiled
            for code, origin, message, field in compiled.doubts:
                context.findings.add(code, origin, message, field=field)

    def _compile(self, rule: BoundVirtualService, place: Place) -> CompiledRule:
        """Compile routes; for the next compilation note what they depend on."""
        destinations, findings = self._destinations, place.context.findings
        asked, doubts = set[str](), list[Doubt]()
        if self._known is not None:
            destinations.asked, findings.noted = asked, doubts
        routes, dropped = compile_rules(rule, place.context)
        destinations.asked = findings.noted = None
        return CompiledRule(
            rule=rule,
            routes=tuple(routes),
            dropped=tuple(dropped),
            is_shared=not rule.depends_on_port,
            doubts=tuple(doubts),
            aliases=place.aliases,
            asked=tuple([(host, destinations.rule(host)) for host in asked]),
        )

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
                hash_keys=hash_keys(self._destinations.find_default_hash(service.host, port)),
            ),
            name="default",
            origin=service.origin,
        )

    def _claim(self, claims: DomainClaims[VirtualHost], wrapper: Wrapper, known: set[str], port: int) -> None:
        names = [*wrapper.hosts, *(service.host for service in wrapper.services)]
        if not names:
            return
        host = self._host(names, wrapper, port)
        compiled = wrapper.compiled
        # What a wildcard brings depends on the services that are there, also where it brings nothing.
        if compiled is not None and not any("*" in name or ":" in name for name in compiled.rule.lower_hosts):
            compiled.host = host
        for name in wrapper.hosts:
            claims.claim(f"[{name}]" if ":" in name else name, host)
        for service in wrapper.services:
            for domain in self._domains(service, known):
                claims.claim(domain, host)

    def _host(self, names: list[str], wrapper: Wrapper, port: int) -> VirtualHost:
        """The virtual host of a wrapper."""
        if self._known is None:
            return virtual_host(names[0], names, wrapper.routes, wrapper.origin, wrapper.dropped)
        key = (id(wrapper.routes), port)
        host = self._known.before.hosts.get(key)
        if (
            host is None
            or host.domains != tuple(names)
            or host.dropped is not wrapper.dropped
            or host.origin is not wrapper.origin
        ):
            host = virtual_host(names[0], names, wrapper.routes, wrapper.origin, wrapper.dropped)
        self._known.now.hosts[key] = host
        return host

    def _domains(self, service: Service, known: set[str]) -> Iterator[str]:
        """All names a service is called by; a shortened one never hides a service that is really called so."""
        domains: list[str] = []
        for name in (service.host, *service.aliases):
            full, further = service_domains(name.lower(), self._context.namespace)
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


def aliases_of(services: Mapping[str, Service]) -> Aliases:
    """What the ExternalName services of a port stand for: mesh clients know only the services that listen there."""
    return {host: service.alias_of for host, service in services.items() if service.alias_of} or NO_ALIASES


def alias_lookup(aliases: Aliases) -> Callable[[str], tuple[str, int | None]]:
    """What destinations mean on one port."""
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
