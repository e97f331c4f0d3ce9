"""VirtualService: what Istio's webhook refuses (validation.go, virtualservice.go)."""

from __future__ import annotations

from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.headers import is_claim
from meshlib._config.rules.http_route import RouteType, check_http_route
from meshlib._config.rules.names import (
    domain_problem,
    hosts_overlap,
    is_address,
    is_subset_of,
    sni_problem,
    subnet_problem,
)
from meshlib._config.rules.report import Report
from meshlib._config.rules.routes import check_destination, check_weights
from meshlib._config.rules.unused import unused_rules
from meshlib._config.rules.visibility import check_export_to, check_gateway_names
from meshlib.model.resource import Metadata
from meshlib.model.virtual_service import (
    HTTPRoute,
    L4MatchAttributes,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualServiceSpec,
)

__all__ = ["check_virtual_service"]

_SEMANTICS: Final = "internal.istio.io/route-semantics"


def check_virtual_service(spec: VirtualServiceSpec, metadata: Metadata, report: Report) -> None:
    """All rules of a VirtualService; one without hosts is a delegate."""
    is_converted = metadata.annotations.get(_SEMANTICS) == "gateway"
    for_gateway = bool(spec.gateways) and "mesh" not in spec.gateways
    if not spec.hosts:
        _check_delegate(spec, report)
    check_gateway_names(spec.gateways, ("spec", "gateways"), report, takes_dots=is_converted)
    if not for_gateway:
        _check_claims(spec, report)
    _check_hosts(spec, report, for_gateway=for_gateway)
    if not spec.http and not spec.tcp and not spec.tls:
        report.add("MESH073", ("spec",), "http, tcp or tls must be provided in virtual service")
    for index, http in enumerate(spec.http):
        check_http_route(http, _route_type(spec, http), ("spec", "http", index), report, is_converted=is_converted)
    for index, tls in enumerate(spec.tls):
        place: Path = ("spec", "tls", index)
        _check_tls_route(tls, spec, place, report, for_gateway=spec.gateways == () or for_gateway)
        _check_targets(tls, place, report, is_converted=is_converted)
    for index, tcp in enumerate(spec.tcp):
        place = ("spec", "tcp", index)
        _check_tcp_route(tcp, place, report)
        _check_targets(tcp, place, report, is_converted=is_converted)
    check_export_to(spec.export_to, metadata.namespace, report)
    for path, message in unused_rules(spec):
        report.warn(path, message)


def _route_type(spec: VirtualServiceSpec, route: HTTPRoute) -> RouteType:
    if not spec.hosts:
        return "delegate"
    return "root" if route.delegate is not None else "independent"


def _check_delegate(spec: VirtualServiceSpec, report: Report) -> None:
    if spec.gateways:
        report.add("MESH073", ("spec", "gateways"), "delegate virtual service must have no gateways specified")
    if spec.tls:
        report.add("MESH073", ("spec", "tls"), "delegate virtual service must have no tls route specified")
    if spec.tcp:
        report.add("MESH073", ("spec", "tcp"), "delegate virtual service must have no tcp route specified")


def _check_claims(spec: VirtualServiceSpec, report: Report) -> None:
    for index, route in enumerate(spec.http):
        for position, match in enumerate(route.match):
            for field, names in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
                for name in filter(is_claim, names):
                    message = (
                        f"JWT claim based routing (key: {name}) is only supported for gateway, "
                        f"found no gateways: [{' '.join(spec.gateways)}]"
                    )
                    place = ("spec", "http", index, "match", position, field, name)
                    report.add("MESH074", place, message, "bind the VirtualService to a gateway alone")


def _check_hosts(spec: VirtualServiceSpec, report: Report, *, for_gateway: bool) -> None:
    has_sni = any(match.sni_hosts for route in spec.tls for match in route.match)
    problem_of = sni_problem if for_gateway and has_sni else domain_problem
    is_valid = True
    for index, host in enumerate(spec.hosts):
        place = ("spec", "hosts", index)
        problem = problem_of(host)
        if problem and not is_address(host):
            report.add("MESH070", place, problem)
            is_valid = False
        elif host == "*" and not for_gateway:
            message = "wildcard host * is not allowed for virtual services bound to the mesh gateway"
            report.add("MESH070", place, message, "name the hosts, or bind it to a gateway")
            is_valid = False
    if not is_valid:
        return
    for index, host in enumerate(spec.hosts):
        for later in spec.hosts[index + 1 :]:
            if hosts_overlap(host, later):
                message = f"duplicate hosts in virtual service: {host} & {later}"
                report.add("MESH070", ("spec", "hosts", index), message, "remove one of them")


# -- TLS and TCP ---------------------------------------------------------------------------------------


def _check_tls_route(
    route: TLSRoute, spec: VirtualServiceSpec, path: Path, report: Report, *, for_gateway: bool
) -> None:
    if not route.match:
        report.add("MESH074", path, "TLS route must have at least one match condition")
    for index, match in enumerate(route.match):
        _check_tls_match(match, spec, (*path, "match", index), report, for_gateway=for_gateway)
    if not route.route:
        report.add("MESH073", path, "TLS route is required")


def _check_tls_match(
    match: TLSMatchAttributes, spec: VirtualServiceSpec, path: Path, report: Report, *, for_gateway: bool
) -> None:
    if not match.sni_hosts:
        report.add("MESH074", path, "TLS match must have at least one SNI host")
    for index, host in enumerate(match.sni_hosts):
        place = (*path, "sniHosts", index)
        problem = sni_problem(host) if for_gateway else domain_problem(host)
        if problem and is_address(host):
            report.warn(
                place, f'using an IP address ("{host}") goes against SNI spec and most clients do not support this'
            )
        elif problem:
            report.add("MESH070", place, problem)
        elif not any(is_subset_of(host, owner) for owner in spec.hosts):
            hosts = ", ".join(spec.hosts)
            message = f'SNI host "{host}" is not a compatible subset of any of the virtual service hosts: [{hosts}]'
            report.add("MESH074", place, message)
    _check_connection(match, path, report)


def _check_tcp_route(route: TCPRoute, path: Path, report: Report) -> None:
    for index, match in enumerate(route.match):
        _check_connection(match, (*path, "match", index), report)
    if not route.route:
        report.add("MESH073", path, "TCP route is required")


def _check_connection(match: L4MatchAttributes | TLSMatchAttributes, path: Path, report: Report) -> None:
    for index, subnet in enumerate(match.destination_subnets):
        place, hint = (*path, "destinationSubnets", index), "write an address, or a block such as 10.0.0.0/8"
        report.check("MESH081", place, subnet_problem(subnet), hint)
    names = report if isinstance(match, TLSMatchAttributes) else report.without_warnings()
    check_gateway_names(match.gateways, (*path, "gateways"), names)


def _check_targets(route: TLSRoute | TCPRoute, path: Path, report: Report, *, is_converted: bool) -> None:
    for index, target in enumerate(() if is_converted else route.route):
        check_destination(target.destination, (*path, "route", index, "destination"), report)
    check_weights((target.weight for target in route.route), (*path, "route"), report)
