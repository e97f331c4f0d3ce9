"""Gateway: what Istio's webhook refuses (validation.go)."""

from __future__ import annotations

from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.names import address_problem, is_label, namespaced_host_problems, unix_problem
from meshlib._config.rules.ports import HTTP, TLS, is_protocol, port_problem
from meshlib._config.rules.report import Report
from meshlib._config.rules.server_tls import check_server_tls
from meshlib.model.gateway import GatewaySpec, Server
from meshlib.model.resource import Metadata

__all__ = ["check_gateway"]

_SEMANTICS: Final = "internal.istio.io/gateway-semantics"
_UNIX: Final = "unix://"
_PASSTHROUGH: Final = (None, "PASSTHROUGH", "AUTO_PASSTHROUGH")


def check_gateway(spec: GatewaySpec, metadata: Metadata, report: Report) -> None:
    """All rules of a Gateway."""
    is_converted = metadata.annotations.get(_SEMANTICS) == "gateway"
    if not is_label(metadata.name) and not is_converted:
        report.add("MESH070", ("metadata", "name"), f'invalid gateway name: "{metadata.name}"')
    if not spec.servers:
        report.add("MESH080", ("spec",), "gateway must have at least one server", "add servers")
    names: set[str] = set()
    for index, server in enumerate(spec.servers):
        path: Path = ("spec", "servers", index)
        _check_server(server, path, report, is_converted=is_converted)
        name = server.port.name
        if name in names:
            message = f"port names in servers must be unique: duplicate name {name}"
            report.add("MESH080", (*path, "port", "name"), message, "rename one of the ports")
        names.add(name)
        is_http = server.port.protocol.lower() in HTTP
        if server.tls is not None and server.tls.https_redirect and not is_http:
            report.warn((*path, "tls", "httpsRedirect"), "tls.httpsRedirect should only be used with http servers")


def _check_server(server: Server, path: Path, report: Report, *, is_converted: bool) -> None:
    if not server.hosts:
        report.add("MESH080", (*path, "hosts"), "server config must contain at least one host", 'write hosts: ["*"]')
    for index, host in enumerate(server.hosts):
        for problem in namespaced_host_problems(host, "gateway", takes_none=is_converted):
            report.add("MESH070", (*path, "hosts", index), problem)
    is_valid = _check_port(server, path, report)
    _check_bind(server, path, report)
    if server.tls is not None:
        check_server_tls(server.tls, (*path, "tls"), report)
    if is_valid:
        report.check("MESH072", (*path, "tls"), _tls_problem(server))


def _check_port(server: Server, path: Path, report: Report) -> bool:
    port, bind, count = server.port, server.bind or "", len(report.problems)
    if not is_protocol(port.protocol):
        known = "HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP"
        message = f'invalid protocol "{port.protocol}", supported protocols are {known}'
        report.add("MESH071", (*path, "port", "protocol"), message)
    if port.number > 0 or not bind.startswith(_UNIX):
        report.check("MESH071", (*path, "port", "number"), port_problem(port.number))
    if port.target_port:
        message = "targetPort has no impact on Gateways"
        report.add("MESH071", (*path, "port", "targetPort"), message, "remove targetPort")
    return len(report.problems) == count


def _check_bind(server: Server, path: Path, report: Report) -> None:
    bind, place = server.bind or "", (*path, "bind")
    if not bind.startswith(_UNIX):
        report.check("MESH081", place, address_problem(bind) if bind else "", "write an IP address, or unix:///path")
        return
    report.check("MESH081", place, unix_problem(bind.removeprefix(_UNIX)))
    if server.port.number:
        report.add("MESH080", (*path, "port", "number"), "port number must be 0 for unix domain socket")


def _tls_problem(server: Server) -> str:
    """TLS ports have TLS settings, others none but a redirect of plain HTTP."""
    protocol, tls = server.port.protocol.lower(), server.tls
    if protocol in TLS:
        return "server must have TLS settings for HTTPS/TLS protocols" if tls is None else ""
    if tls is None:
        return ""
    if protocol not in HTTP:
        return "server cannot have TLS settings for non HTTPS/TLS ports"
    if tls.mode not in _PASSTHROUGH or tls.ca_certificates or tls.private_key or tls.server_certificate:
        return "server cannot have TLS settings for plain text HTTP ports"
    return ""
