"""Connections that carry no HTTP the mesh may look into: TLS by server name, and TCP (semantics 2.13)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from meshlib._compile.context import RouteContext
from meshlib._compile.destinations import resolve_target
from meshlib._compile.hosts import gateway_key, is_wildcard, overlaps
from meshlib._compile.services import Service, ServicePort
from meshlib._compile.virtual_services import BoundVirtualService
from meshlib._snapshot.matchers import RouteMatch, ServerNameMatch
from meshlib._snapshot.routes import Forward, Origin, Route, WeightedDestination
from meshlib.model.virtual_service import L4MatchAttributes, RouteDestination, TLSMatchAttributes

__all__ = ["connection_route", "matches_connection", "opaque_routes"]


def opaque_routes(
    service: Service, port: ServicePort, rules: Iterable[BoundVirtualService], context: RouteContext, unlisted: Route
) -> list[Route]:
    """The routes of a service's port that is not HTTP.

    A connection that has none of the server names of the rules goes the way of one to
    an unknown host, as ``unlisted`` says: Istio 1.31 puts that at the end of each listener.
    """
    bound = [rule for rule in rules if any(overlaps(host, service.host) for host in rule.hosts)]
    address = service.addresses[0] if service.addresses else ""
    if port.protocol in ("TLS", "HTTPS"):
        routes = tls_routes(bound, address, context)
        if routes is not None:
            return [*routes, unlisted]
    elif (route := tcp_route(bound, address, context)) is not None:
        return [route]
    key, _ = context.cluster_key(service.host, port.number, "")
    destination = WeightedDestination(cluster=key, host=service.host, port=port.number)
    return [Route(match=RouteMatch(), action=Forward(destinations=(destination,), sums=(1,)), origin=service.origin)]


def tls_routes(rules: Iterable[BoundVirtualService], address: str, context: RouteContext) -> tuple[Route, ...] | None:
    """Routes by server name, the most specific name first; None where no rule says anything.

    Envoy looks at the address before: of the subnets that hold it the smallest counts, and
    rules without subnets only where none does. Of equal conditions the first one counts.
    """
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    found: list[tuple[int, str, Route]] = []
    subnets: tuple[str, ...] = ()
    for rule in rules:
        for number, route in enumerate(rule.spec.tls):
            for match in route.match if route.route else ():
                if not matches_connection(match, rule, context):
                    continue
                # Istio 1.31: the subnets of a match hold for those after it too that have none of their own.
                subnets = match.destination_subnets or subnets
                key = (match.sni_hosts, match.destination_subnets)
                length = prefix_length(subnets, address)
                if key not in seen and length is not None:
                    for name in map(str.lower, match.sni_hosts):
                        made = connection_route(rule, "tls", number, (name,), route.route, context)
                        found.append((length, name, made))
                seen.add(key)
    if not seen:
        return None
    longest = max((length for length, _, _ in found), default=-1)
    named = [(name, route) for length, name, route in found if length == longest]
    named.sort(key=lambda item: (is_wildcard(item[0]), -len(item[0])))
    return tuple(route for _, route in named)


def tcp_route(rules: Iterable[BoundVirtualService], address: str, context: RouteContext) -> Route | None:
    """The route of all connections: of the smallest subnet that holds the address, else the first without subnets."""
    best: Route | None = None
    longest = -1
    for rule in rules:
        for number, route in enumerate(rule.spec.tcp):
            fitting = [match for match in route.match if matches_connection(match, rule, context)]
            if not route.route or (route.match and not fitting):
                continue
            if not route.match or not all(match.destination_subnets for match in fitting):
                return best or connection_route(rule, "tcp", number, (), route.route, context)
            length = prefix_length([one for match in fitting for one in match.destination_subnets], address)
            if length == -1:
                return best or connection_route(rule, "tcp", number, (), route.route, context)
            if length is not None and length > longest:
                best, longest = connection_route(rule, "tcp", number, (), route.route, context), length
    return best


def prefix_length(subnets: Sequence[str], address: str) -> int | None:
    """The length of the smallest subnet that holds the address; -1 without subnets, None where none holds it.

    Nothing holds an address that the configuration does not tell (empty). A subnet that
    starts at 0.0.0.0 is none to Istio 1.31: it leaves it out of the listener.
    """
    networks = [ipaddress.ip_network(one, strict=False) for one in subnets if one.partition("/")[0] != "0.0.0.0"]  # noqa: S104 - compared
    if not networks:
        return -1
    if not address:
        return None
    place = ipaddress.ip_address(address)
    return max((network.prefixlen for network in networks if place in network), default=None)


def matches_connection(
    match: TLSMatchAttributes | L4MatchAttributes,
    rule: BoundVirtualService,
    context: RouteContext,
    *,
    at_gateway: bool = False,
) -> bool:
    """True if what is known of a connection beforehand fits: port, gateway, and (not at a gateway) the source."""
    if match.port and match.port != context.port:
        return False
    if match.gateways and context.gateway not in (gateway_key(name, rule.namespace) for name in match.gateways):
        return False
    if at_gateway:
        return True
    if match.source_namespace and match.source_namespace != context.namespace:
        return False
    return labels_within(match.source_labels, context.labels)


def labels_within(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def connection_route(
    rule: BoundVirtualService,
    section: str,
    number: int,
    names: tuple[str, ...],
    destinations: tuple[RouteDestination, ...],
    context: RouteContext,
) -> Route:
    """One TLS or TCP rule: its destinations by weight, nothing else."""
    weighted = [(item, item.weight) for item in destinations if item.weight] if len(destinations) > 1 else []
    # A single destination takes everything, whatever its weight.
    weighted = weighted or [(item, 1) for item in destinations[:1]]
    targets = [(resolve_target(item.destination, rule.namespace, context), weight) for item, weight in weighted]
    lines = rule.resource.rule_lines.get(section, ())
    line = lines[number] if number < len(lines) else rule.resource.line
    return Route(
        match=RouteMatch((ServerNameMatch(names),) if names else ()),
        action=Forward(
            destinations=tuple(
                WeightedDestination(
                    cluster=target.cluster, host=target.host, port=target.port, subset=target.subset, weight=weight
                )
                for target, weight in targets
            ),
            sums=tuple(accumulate(weight for _, weight in targets)),
        ),
        origin=Origin(str(rule.resource), f"spec.{section}[{number}]", rule.resource.file, line),
    )
