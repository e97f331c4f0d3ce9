"""Connections that carry no HTTP the mesh may look into: TLS by server name, and TCP (semantics 2.13)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from meshlib._compile.context import RouteContext
from meshlib._compile.destinations import resolve_target
from meshlib._compile.hosts import gateway_key, overlaps
from meshlib._compile.services import Service, ServicePort
from meshlib._compile.virtual_services import BoundVirtualService
from meshlib._snapshot.matchers import RouteMatch, ServerNameMatch
from meshlib._snapshot.routes import Forward, Origin, Route, WeightedDestination
from meshlib.model.virtual_service import L4MatchAttributes, RouteDestination, TLSMatchAttributes

__all__ = ["connection_route", "matches_connection", "opaque_routes"]


def opaque_routes(
    service: Service, port: ServicePort, rules: Iterable[BoundVirtualService], context: RouteContext
) -> list[Route]:
    """The routes of a service's port that is not HTTP."""
    bound = [rule for rule in rules if any(overlaps(host, service.host) for host in rule.hosts)]
    by_name = port.protocol in ("TLS", "HTTPS")
    routes = list(tls_routes(bound, context) if by_name else tcp_routes(bound, context))
    if routes:
        return routes
    key, _ = context.cluster_key(service.host, port.number, "")
    destination = WeightedDestination(cluster=key, host=service.host, port=port.number)
    return [Route(match=RouteMatch(), action=Forward(destinations=(destination,), sums=(1,)), origin=service.origin)]


def tls_routes(rules: Iterable[BoundVirtualService], context: RouteContext) -> Iterator[Route]:
    """Routes by server name; of equal names the first counts."""
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for rule in rules:
        for number, route in enumerate(rule.spec.tls):
            for match in route.match if route.route else ():
                key = (match.sni_hosts, match.destination_subnets)
                if key not in seen and matches_connection(match, rule, context):
                    seen.add(key)
                    yield connection_route(rule, "tls", number, match.sni_hosts, route.route, context)


def tcp_routes(rules: Iterable[BoundVirtualService], context: RouteContext) -> Iterator[Route]:
    """The first route that applies; addresses of destinations are not known in-process, so none is asked for."""
    for rule in rules:
        for number, route in enumerate(rule.spec.tcp):
            if route.route and (
                not route.match or any(matches_connection(match, rule, context) for match in route.match)
            ):
                yield connection_route(rule, "tcp", number, (), route.route, context)
                return


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
