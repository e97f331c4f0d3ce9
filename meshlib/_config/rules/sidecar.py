"""Sidecar: what Istio's webhook refuses (validation.go)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.destination_rule import check_connection_pool
from meshlib._config.rules.names import address_problem, fqdn_problem, namespaced_host_problems, unix_problem
from meshlib._config.rules.ports import HTTP, TLS, port_name_problem, port_problem, protocol_problem
from meshlib._config.rules.report import Report
from meshlib._config.rules.routes import check_destination
from meshlib._config.rules.server_tls import check_server_tls
from meshlib._config.rules.visibility import takes_no_labels
from meshlib.model.resource import Metadata
from meshlib.model.server_tls import ServerTLSSettings
from meshlib.model.sidecar import IstioEgressListener, IstioIngressListener, OutboundTrafficPolicy, SidecarSpec

__all__ = ["check_sidecar"]

_UNIX: Final = "unix://"
_LOCAL: Final = ("", "127.0.0.1", "0.0.0.0", "::1", "::")  # noqa: S104 - compared with, not bound
_ENDPOINT: Final = re.compile(r"(?:\[(?P<inner>[^\[\]]*)\]|(?P<plain>[^:\[\]]*)):(?P<port>[^:\[\]]*)\Z")
_FORMS: Final = "127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,unix://filepath or unset"


def check_sidecar(spec: SidecarSpec, metadata: Metadata, report: Report) -> None:
    """All rules of a Sidecar."""
    if (
        not spec.egress
        and not spec.ingress
        and spec.outbound_traffic_policy is None
        and spec.inbound_connection_pool is None
    ):
        report.add("MESH080", ("spec",), "sidecar: empty configuration provided", "add egress or ingress")
        return
    takes_no_labels(spec.workload_selector, "sidecar", report)
    _check_ingress(spec.ingress, report)
    if spec.inbound_connection_pool is not None:
        check_connection_pool(spec.inbound_connection_pool, ("spec", "inboundConnectionPool"), report)
    _check_egress(spec.egress, metadata.namespace, report)
    if spec.outbound_traffic_policy is not None:
        _check_outbound(spec.outbound_traffic_policy, ("spec", "outboundTrafficPolicy"), report)


# -- ingress -----------------------------------------------------------------------------------------------


def _check_ingress(listeners: Sequence[IstioIngressListener], report: Report) -> None:
    numbers: set[int] = set()
    for index, listener in enumerate(listeners):
        path: Path = ("spec", "ingress", index)
        number = listener.port.number or 0
        _check_ingress_port(listener, path, report)
        if number in numbers:
            report.add("MESH080", (*path, "port"), "sidecar: ports on IP bound listeners must be unique")
        numbers.add(number)
        if listener.default_endpoint:
            _check_endpoint(listener.default_endpoint, (*path, "defaultEndpoint"), report)
        if listener.tls is not None:
            _check_tls(listener.tls, listener.port.protocol or "", (*path, "tls"), report)
        if listener.connection_pool is not None:
            check_connection_pool(listener.connection_pool, (*path, "connectionPool"), report)
            _check_pool_protocol(listener, path, report)


def _check_ingress_port(listener: IstioIngressListener, path: Path, report: Report) -> None:
    port, place = listener.port, (*path, "port")
    if port.target_port:
        message = "targetPort has no impact on Sidecars"
        report.add("MESH071", (*place, "targetPort"), message, "remove targetPort")
    if port.name:
        report.check("MESH071", (*place, "name"), port_name_problem(port.name))
    report.check("MESH071", (*place, "protocol"), protocol_problem(port.protocol))
    report.check("MESH071", place, port_problem(port.number or 0))
    if listener.bind:
        report.check("MESH081", (*path, "bind"), address_problem(listener.bind))


def _check_endpoint(endpoint: str, path: Path, report: Report) -> None:
    """``127.0.0.1:8080``, ``[::1]:8080``, ``:8080`` or a Unix socket."""
    if endpoint.startswith(_UNIX):
        report.check("MESH081", path, unix_problem(endpoint.removeprefix(_UNIX)))
        return
    hint = f"write it in one of the forms {_FORMS}"
    parts = _ENDPOINT.match(endpoint)
    if parts is None:
        report.add("MESH081", path, f"address {endpoint}: {_endpoint_problem(endpoint)}", hint)
        return
    host = parts["inner"] or parts["plain"] or ""
    if host not in _LOCAL:
        report.add("MESH081", path, f"sidecar: defaultEndpoint must be of form {_FORMS}", hint)
    number = parts["port"]
    if re.match(r"[+-]?[0-9]{1,18}\Z", number) is None:
        report.add("MESH081", path, f"sidecar: defaultEndpoint port ({number}) is not a number", hint)
    else:
        report.check("MESH081", path, port_problem(int(number)), hint)


def _endpoint_problem(endpoint: str) -> str:
    """Why it is no host and port, in the words of Go's net.SplitHostPort."""
    host, colon, port = endpoint.rpartition(":")
    if endpoint.startswith("[") and "]" not in endpoint and colon:
        return "missing ']' in address"
    if endpoint.startswith("["):
        after = endpoint.partition("]")[2]
        if not after.startswith(":"):
            return "missing port in address"
        host, port = endpoint[1 : -len(after)], after[1:]
    if not colon:
        return "missing port in address"
    if ":" in port or (":" in host and not endpoint.startswith("[")):
        return "too many colons in address"
    return f"unexpected '{'[' if '[' in host + port else ']'}' in address"


def _check_tls(tls: ServerTLSSettings, protocol: str, path: Path, report: Report) -> None:
    for field, is_written, message in (
        ("subjectAltNames", tls.subject_alt_names, "sidecar: subjectAltNames is not supported in ingress tls"),
        ("httpsRedirect", tls.https_redirect, "sidecar: httpsRedirect is not supported"),
        ("credentialName", tls.credential_name, "sidecar: credentialName is not currently supported"),
        ("credentialNames", tls.credential_names, "sidecar: credentialNames is not currently supported"),
        ("tlsCertificates", tls.tls_certificates, "sidecar: tls_certificates is not currently supported"),
    ):
        if is_written:
            report.add("MESH072", (*path, field), message, f"remove {field}")
    if tls.mode in ("ISTIO_MUTUAL", "AUTO_PASSTHROUGH"):
        message = f"configuration is invalid: cannot set mode to {tls.mode} in sidecar ingress tls"
        report.add("MESH072", (*path, "mode"), message, "use SIMPLE or MUTUAL")
    if protocol.lower() not in TLS:
        report.add("MESH072", path, "server cannot have TLS settings for non HTTPS/TLS ports", "set protocol: HTTPS")
    check_server_tls(tls, path, report)


def _check_pool_protocol(listener: IstioIngressListener, path: Path, report: Report) -> None:
    pool, port = listener.connection_pool, listener.port
    if pool is not None and pool.http is not None and (port.protocol or "").lower() not in HTTP:
        message = (
            f'sidecar: HTTP connection pool settings are configured for port {port.number or 0} ("{port.name or ""}") '
            f"but its protocol is not HTTP ({port.protocol or ''}); only TCP settings will apply"
        )
        report.warn((*path, "connectionPool", "http"), message)


# -- egress ------------------------------------------------------------------------------------------------


def _check_egress(listeners: Sequence[IstioEgressListener], namespace: str, report: Report) -> None:
    numbers: set[int] = set()
    sockets: set[str] = set()
    for index, listener in enumerate(listeners):
        path: Path = ("spec", "egress", index)
        if listener.port is None:
            if index < len(listeners) - 1:
                message = "sidecar: the egress listener with empty port should be the last listener in the list"
                report.add("MESH080", path, message)
        else:
            _check_egress_port(listener, path, report)
            number, bind = listener.port.number or 0, listener.bind or ""
            if number == 0 and bind in sockets:
                report.add("MESH080", path, "sidecar: unix domain socket values for listeners must be unique")
            elif number and number in numbers:
                report.add("MESH080", path, "sidecar: ports on IP bound listeners must be unique")
            numbers.add(number)
            if number == 0:
                sockets.add(bind)
        if not listener.hosts:
            report.add("MESH080", (*path, "hosts"), "sidecar: egress listener must contain at least one host")
        _check_egress_hosts(listener.hosts, namespace, (*path, "hosts"), report)


def _check_egress_port(listener: IstioEgressListener, path: Path, report: Report) -> None:
    port, bind = listener.port, listener.bind or ""
    if port is None:
        return
    place = (*path, "port")
    if port.target_port:
        report.add("MESH071", (*place, "targetPort"), "targetPort has no impact on Sidecars", "remove targetPort")
    if port.name:
        report.check("MESH071", (*place, "name"), port_name_problem(port.name))
    report.check("MESH071", (*place, "protocol"), protocol_problem(port.protocol))
    if port.number:
        report.check("MESH081", (*path, "bind"), address_problem(bind) if bind else "")
        return
    if not bind.startswith(_UNIX):
        report.add("MESH080", path, "sidecar: ports with 0 value must have a unix domain socket bind address")
    else:
        report.check("MESH081", (*path, "bind"), unix_problem(bind.removeprefix(_UNIX)))
    if listener.capture_mode == "IPTABLES":
        message = "sidecar: captureMode must be DEFAULT/NONE for unix domain socket listeners"
        report.add("MESH080", (*path, "captureMode"), message)


def _check_egress_hosts(hosts: Sequence[str], namespace: str, path: Path, report: Report) -> None:
    """``namespace/host`` each; what another entry covers already is a warning."""
    seen: dict[str, set[str]] = {}
    for index, host in enumerate(hosts):
        place = (*path, index)
        owner, slash, name = host.partition("/")
        if slash and not owner.startswith("~"):
            known = seen.setdefault(namespace if owner == "." else owner, set())
            if (name in known or "*" in known) if name != "*" else known:
                report.warn(place, f"duplicated egress host: {host}", "remove the host")
            known.add(name)
        for problem in namespaced_host_problems(host, "sidecar"):
            report.add("MESH070", place, problem, "write namespace/host, such as */* or ./reviews.default.svc")
    if "*" in seen.get("*", ()) and len(seen) > 1:
        report.warn(path, "`*/*` host select all resources, no other hosts can be added")


def _check_outbound(policy: OutboundTrafficPolicy, path: Path, report: Report) -> None:
    proxy, place = policy.egress_proxy, (*path, "egressProxy")
    if proxy is None:
        return
    if policy.mode != "ALLOW_ANY":
        message = "sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode"
        report.add("MESH080", place, message)
        return
    report.check("MESH070", (*place, "host"), fqdn_problem(proxy.host))
    if proxy.port is None:
        report.add("MESH080", (*place, "port"), "sidecar: egress_proxy port must be non-nil")
        return
    check_destination(proxy, place, report)
