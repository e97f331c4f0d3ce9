"""MeshConfig: what Istio refuses to start with (ValidateMeshConfig), and the providers that it warns about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from meshlib._config.rules.destination_rule import check_connection_pool, check_outliers
from meshlib._config.rules.locality import check_locality, check_zone_aware
from meshlib._config.rules.names import domain_problem, fqdn_problem, is_address, is_label, namespaced_host_problems
from meshlib._config.rules.ports import port_problem
from meshlib._config.rules.report import Report
from meshlib.model.mesh_config import MeshConfig, TLSConfig
from meshlib.model.mesh_providers import ExtensionProvider
from meshlib.model.resource import Metadata
from meshlib.model.traffic_policy import OutlierDetection

__all__ = ["check_mesh_config"]

_LONGEST_CONNECT: Final = 3600.0
_CURVES: Final = frozenset("P-224 P-256 P-521 P-384 X25519 X25519Kyber768Draft00 X25519MLKEM768".split()) | {""}
_HAS_OUTLIERS: Final = OutlierDetection()


def check_mesh_config(config: MeshConfig, metadata: Metadata, report: Report) -> None:
    """All rules of the mesh's own configuration that its schema does not have."""
    del metadata
    if config.proxy_listen_port is not None:
        problem = port_problem(config.proxy_listen_port)
        report.check("MESH071", ("proxyListenPort",), f"invalid proxy listen port: {problem}" if problem else "")
    if config.connect_timeout is not None and config.connect_timeout > _LONGEST_CONNECT:
        message = "invalid connect timeout: time must be >1ms and <1h0m0s"
        report.add("MESH078", ("connectTimeout",), message)
    _check_trust_domains(config, report)
    _check_balancing(config, report)
    if config.mesh_mtls is not None and config.mesh_mtls.ecdh_curves:
        report.add("MESH072", ("meshMTLS", "ecdhCurves"), "mesh TLS does not support ECDH curves configuration")
    if config.tls_defaults is not None:
        _check_curves(config.tls_defaults, report)
    _check_providers(config, report)


def _check_balancing(config: MeshConfig, report: Report) -> None:
    if config.locality_lb_setting is not None:
        check_locality(config.locality_lb_setting, _HAS_OUTLIERS, ("localityLbSetting",), report)
    if config.zone_aware_lb_setting is not None:
        check_zone_aware(config.zone_aware_lb_setting, _HAS_OUTLIERS, ("zoneAwareLbSetting",), report)
    for index, settings in enumerate(config.service_settings):
        for position, host in enumerate(settings.hosts):
            problem = domain_problem(host)
            if problem:
                message = f"serviceSettings[{index}], host `{host}`: {problem}"
                report.add("MESH070", ("serviceSettings", index, "hosts", position), message)
    policy = config.default_traffic_policy
    if policy is not None and policy.connection_pool is not None:
        check_connection_pool(policy.connection_pool, ("defaultTrafficPolicy", "connectionPool"), report)
    if policy is not None and policy.outlier_detection is not None:
        check_outliers(policy.outlier_detection, ("defaultTrafficPolicy", "outlierDetection"), report)


def _check_trust_domains(config: MeshConfig, report: Report) -> None:
    if config.trust_domain is not None:
        problem = _trust_domain_problem(config.trust_domain)
        report.check("MESH070", ("trustDomain",), f"trustDomain: {problem}" if problem else "")
    for index, alias in enumerate(config.trust_domain_aliases):
        problem = _trust_domain_problem(alias)
        if problem:
            message = f"trustDomainAliases[{index}], domain `{alias}` : {problem}"
            report.add("MESH070", ("trustDomainAliases", index), message)


def _trust_domain_problem(domain: str) -> str:
    if not domain:
        return "empty domain name not allowed"
    labels = domain.split(".")
    if not labels[-1]:
        labels.pop()
    return "" if all(map(is_label, labels)) else f'trust domain name "{domain}" invalid'


def _check_curves(tls: TLSConfig, report: Report) -> None:
    path = ("tlsDefaults", "ecdhCurves")
    counts = Counter(tls.ecdh_curves)
    unknown = sorted(counts.keys() - _CURVES)
    if unknown:
        report.warn(path, f"detected unrecognized ECDH curves: [{' '.join(unknown)}]")
    twice = sorted(name for name in counts.keys() & _CURVES if counts[name] > 1)
    if twice:
        report.warn(path, f"detected duplicate ECDH curves: [{' '.join(twice)}]")


def _check_providers(config: MeshConfig, report: Report) -> None:
    """Istio only logs what is wrong with a provider: whoever uses it notices."""
    names = Counter(provider.name or "" for provider in config.extension_providers)
    for index, provider in enumerate(config.extension_providers):
        for problem in _provider_problems(provider, names):
            message = f"found invalid extension provider {provider.name or ''}: {problem}"
            report.warn(("extensionProviders", index), message, "correct it, or do not use it")


def _provider_problems(provider: ExtensionProvider, names: Counter[str]) -> Iterator[str]:
    if not provider.name:
        yield "empty extension provider name"
    elif names[provider.name] > 1:
        yield f"duplicate extension provider name {provider.name}"
    for field in provider.__struct_fields__:
        backend = getattr(provider, field)
        if not hasattr(backend, "service") or not hasattr(backend, "port"):
            continue
        yield from filter(None, [port_problem(backend.port or 0), _service_problem(backend.service or "")])
        prefix = getattr(backend, "path_prefix", None)
        if prefix and not prefix.startswith("/"):
            yield f'pathPrefix should begin with `/` but found "{prefix}"'


def _service_problem(service: str) -> str:
    if not service:
        return "service must not be empty"
    if "/" in service:
        return "; ".join(namespaced_host_problems(service, "sidecar"))
    if fqdn_problem(service) and not is_address(service):
        return f"invalid service fmt {service}: it is neither a host name nor an address"
    return ""
