"""DestinationRule: what Istio's webhook refuses (validation.go)."""

from __future__ import annotations

from meshlib._config.check import Path
from meshlib._config.rules.load_balancer import check_balancer
from meshlib._config.rules.names import address_problem, domain_problem, fqdn_problem
from meshlib._config.rules.ports import port_problem
from meshlib._config.rules.report import Report
from meshlib._config.rules.routes import check_subset_name
from meshlib._config.rules.visibility import check_export_to, check_selector
from meshlib.model.destination_rule import DestinationRuleSpec
from meshlib.model.resource import Metadata
from meshlib.model.traffic_policy import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    OutlierDetection,
    PortTrafficPolicy,
    TrafficPolicy,
    TunnelSettings,
)

__all__ = ["check_client_tls", "check_connection_pool", "check_destination_rule", "check_outliers"]


def check_destination_rule(spec: DestinationRuleSpec, metadata: Metadata, report: Report) -> None:
    """All rules of a DestinationRule."""
    report.check("MESH070", ("spec", "host"), domain_problem(spec.host))
    if spec.traffic_policy is not None:
        _check_policy(spec.traffic_policy, ("spec", "trafficPolicy"), report)
    names: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        path: Path = ("spec", "subsets", index)
        if subset.name in names:
            message = f"duplicate subset names: {subset.name}"
            report.add("MESH077", (*path, "name"), message, "rename one of the subsets")
        names.add(subset.name)
        check_subset_name(subset.name, (*path, "name"), report)
        if subset.traffic_policy is not None:
            _check_policy(subset.traffic_policy, (*path, "trafficPolicy"), report.without_warnings())
    is_selective = spec.workload_selector is not None
    check_export_to(spec.export_to, metadata.namespace, report, is_selective=is_selective)
    if spec.workload_selector is not None:
        check_selector(spec.workload_selector, ("spec", "workloadSelector"), report)


def _check_policy(policy: TrafficPolicy, path: Path, report: Report) -> None:
    if not any(getattr(policy, name) for name in policy.__struct_fields__ if name != "port_level_settings"):
        if not policy.port_level_settings:
            report.add("MESH078", path, "traffic policy must have at least one field", "remove it, or fill it")
            return
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        report.add("MESH078", path, "tunnel and proxyProtocol must not be set together", "keep one of them")
        return
    _check_common(policy, path, report)
    for index, port in enumerate(policy.port_level_settings):
        place = (*path, "portLevelSettings", index)
        if port.port is None:
            report.add("MESH078", place, "portTrafficPolicy must have valid port", "add port: {number: …}")
        if not any((port.outlier_detection, port.connection_pool, port.load_balancer, port.tls)):
            report.add("MESH078", place, "port traffic policy must have at least one field")
        _check_common(port, place, report.without_warnings())
    if policy.tunnel is not None:
        _check_tunnel(policy.tunnel, (*path, "tunnel"), report)


def _check_tunnel(tunnel: TunnelSettings, path: Path, report: Report) -> None:
    if tunnel.protocol not in (None, "", "CONNECT", "POST"):
        report.add("MESH078", (*path, "protocol"), 'tunnel protocol must be "CONNECT" or "POST"')
    host = tunnel.target_host
    if fqdn_problem(host) and address_problem(host):
        problems = f"{fqdn_problem(host)}; {address_problem(host)}"
        message = f"tunnel target host must be valid FQDN or IP address: {problems}"
        report.add("MESH070", (*path, "targetHost"), message)
    problem = port_problem(tunnel.target_port)
    if problem:
        report.add("MESH071", (*path, "targetPort"), f"tunnel target port is invalid: {problem}")


def _check_common(policy: TrafficPolicy | PortTrafficPolicy, path: Path, report: Report) -> None:
    if policy.outlier_detection is not None:
        check_outliers(policy.outlier_detection, (*path, "outlierDetection"), report)
    if policy.connection_pool is not None:
        check_connection_pool(policy.connection_pool, (*path, "connectionPool"), report)
    if policy.load_balancer is not None:
        check_balancer(policy.load_balancer, policy.outlier_detection, (*path, "loadBalancer"), report)
    if policy.tls is not None:
        check_client_tls(policy.tls, (*path, "tls"), report)


def check_outliers(outliers: OutlierDetection, path: Path, report: Report) -> None:
    """When an endpoint is ejected."""
    if outliers.consecutive_errors:
        message = (
            "outlier detection consecutive errors is deprecated, "
            "use consecutiveGatewayErrors or consecutive5xxErrors instead"
        )
        report.warn((*path, "consecutiveErrors"), message)
    if outliers.consecutive_local_origin_failures and not outliers.split_external_local_origin_errors:
        message = (
            "outlier detection consecutive local origin failures is specified, "
            "but split external local origin errors is set to false"
        )
        report.add("MESH078", (*path, "consecutiveLocalOriginFailures"), message)


def check_connection_pool(pool: ConnectionPoolSettings, path: Path, report: Report) -> None:
    """The limits towards a destination, also those of a Sidecar's listener."""
    if pool.http is None and pool.tcp is None:
        report.add("MESH078", path, "connection pool must have at least one field")
    http = pool.http
    if http is None:
        return
    alive = http.http2_keep_alive
    for name in ("interval", "timeout") if alive is not None else ():
        if getattr(alive, name) is None:
            report.add("MESH078", (*path, "http", "http2KeepAlive"), f"http2 keepalive {name} is required")
    if http.use_client_protocol and http.h2_upgrade_policy == "UPGRADE":
        message = "use client protocol must not be true when H2UpgradePolicy is UPGRADE"
        report.add("MESH078", (*path, "http", "useClientProtocol"), message)


def check_client_tls(tls: ClientTLSSettings, path: Path, report: Report) -> None:
    """TLS towards a destination: certificates as the mode needs them, from one source."""
    if tls.insecure_skip_verify:
        if tls.mode == "SIMPLE" and (tls.ca_certificates or tls.credential_name or tls.subject_alt_names):
            names = "CaCertificates or CredentialName or SubjectAltNames"
            report.add("MESH072", path, f"cannot specify {names} when InsecureSkipVerify is set true")
        if tls.mode == "MUTUAL" and (tls.ca_certificates or tls.subject_alt_names):
            names = "CaCertificates or SubjectAltNames"
            report.add("MESH072", path, f"cannot specify {names} when InsecureSkipVerify is set true")
    if tls.mode in ("SIMPLE", "MUTUAL") and tls.credential_name:
        if tls.client_certificate or tls.ca_certificates or tls.private_key or tls.ca_crl:
            message = "cannot specify client certificates or CA certificate or CA CRL If credentialName is set"
            report.add("MESH072", path, message)
        return
    if tls.mode == "MUTUAL" and not tls.client_certificate:
        report.add("MESH072", path, "client certificate required for mutual tls")
    if tls.mode == "MUTUAL" and not tls.private_key:
        report.add("MESH072", path, "private key required for mutual tls")
