"""What protects one workload: peer modes, token rules and authorization, from all resources that are about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from meshlib._compile.authorization import compile_policies, selects
from meshlib._compile.findings import Findings
from meshlib._compile.index import Entry, Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.order import by_age
from meshlib._compile.request_authentication import compile_authentication
from meshlib._compile.visibility import View
from meshlib._snapshot.conditions import HeaderCondition, Not
from meshlib._snapshot.routes import Origin
from meshlib._snapshot.security import Authorizer, Normalization, PeerMode, Policy, Security
from meshlib.model.mesh_config import MeshConfig
from meshlib.model.mesh_providers import EnvoyExternalAuthorizationHttpProvider
from meshlib.model.peer_authentication import MutualTLS, PeerAuthenticationSpec
from meshlib.workload import Workload

__all__ = ["compile_security"]

_TIMEOUT: Final = 600.0  # Istio's default for ext_authz
_NORMALIZATIONS: Final[Mapping[str | None, Normalization]] = {
    "NONE": "NONE",
    "MERGE_SLASHES": "MERGE_SLASHES",
    "DECODE_AND_MERGE_SLASHES": "DECODE_AND_MERGE_SLASHES",
}


def compile_security(index: Index, mesh: MeshSettings, view: View, workload: Workload, findings: Findings) -> Security:
    """The security of a workload, for requests that arrive at it."""
    config = MeshConfig()
    for entry in index.of("MeshConfig", MeshConfig):
        config = entry.spec
    domains = tuple(dict.fromkeys((mesh.trust_domain, *config.trust_domain_aliases)))
    policies = compile_policies(index, workload, mesh.root_namespace, domains, findings)
    mode, modes = _peer_modes(index, mesh, workload)
    normalization = config.path_normalization.normalization if config.path_normalization else None
    return Security(
        mode=mode,
        modes=modes,
        trust_domains=frozenset(domains),
        normalization=_NORMALIZATIONS.get(normalization, "BASE"),
        authentication=compile_authentication(index, workload, mesh.root_namespace),
        authorizer=_authorizer(policies.providers, config, view, findings) if policies.providers else None,
        custom=policies.custom,
        audit=policies.audit,
        deny=policies.deny,
        allow=policies.allow,
        shadow_deny=policies.shadow_deny,
        shadow_allow=policies.shadow_allow,
        read_headers=frozenset(
            _read_headers(
                *policies.audit, *policies.deny, *policies.allow, *policies.shadow_deny, *policies.shadow_allow
            )
        ),
    )


def _read_headers(*policies: Policy) -> Iterator[str]:
    """The headers that the conditions of policies look at."""
    for condition in (one for policy in policies for rule in policy.rules for one in rule.when):
        inner = condition.condition if isinstance(condition, Not) else condition
        if isinstance(inner, HeaderCondition):
            yield inner.header


# -- PeerAuthentication (semantics 6.1) ----------------------------------------------------------------


def _peer_modes(index: Index, mesh: MeshSettings, workload: Workload) -> tuple[PeerMode, dict[int, PeerMode]]:
    """The mode of the workload, and of those of its ports that differ by rule. In each scope the oldest wins."""
    scopes: dict[str, PeerAuthenticationSpec] = {}
    for entry in sorted(index.of("PeerAuthentication", PeerAuthenticationSpec), key=by_age):
        scope = _scope(entry, mesh, workload)
        if scope is not None:
            scopes.setdefault(scope, entry.spec)
    mode: PeerMode = "PERMISSIVE"
    for scope in ("mesh", "namespace", "workload"):
        if scope in scopes:
            mode = _mode(scopes[scope].mtls, mode)
    own = scopes.get("workload")
    ports = own.port_level_mtls if own is not None else {}
    return mode, {int(port): _mode(level, mode) for port, level in ports.items()}


def _scope(entry: Entry[PeerAuthenticationSpec], mesh: MeshSettings, workload: Workload) -> str | None:
    namespace, selector = entry.meta.namespace, entry.spec.selector
    if selector is not None and selector.match_labels:
        is_own = namespace == workload.namespace and namespace != mesh.root_namespace
        return "workload" if is_own and selects(selector, workload.labels) else None
    if namespace == mesh.root_namespace:
        return "mesh"
    return "namespace" if namespace == workload.namespace else None


def _mode(level: MutualTLS | None, inherited: PeerMode) -> PeerMode:
    match level.mode if level is not None else None:
        case "STRICT":
            return "STRICT"
        case "DISABLE":
            return "DISABLE"
        case "PERMISSIVE":
            return "PERMISSIVE"
        case _:
            return inherited


# -- external authorizers (semantics 6.5) ----------------------------------------------------------------


def _authorizer(providers: tuple[str, ...], config: MeshConfig, view: View, findings: Findings) -> Authorizer | None:
    """The one authorizer of the workload; None, with a finding, if Istio denies what its policies match."""
    origin = Origin("MeshConfig", "extensionProviders")
    if len(providers) > 1:
        findings.add("MESH091", origin, f"a workload can have one authorizer, not {', '.join(providers)}")
        return None
    name = next(iter(providers))
    provider = next((one for one in config.extension_providers if one.name == name), None)
    if provider is not None and provider.envoy_ext_authz_http is not None:
        return _http_authorizer(name, provider.envoy_ext_authz_http, view, findings)
    if provider is not None and provider.envoy_ext_authz_grpc is not None:
        findings.add("MESH091", origin, f"the authorizer {name!r} speaks gRPC, which meshlib does not yet")
        grpc = provider.envoy_ext_authz_grpc
        return Authorizer(
            name=name,
            is_usable=False,
            asks_connections=True,
            fail_open=bool(grpc.fail_open),
            status_on_error=_status(grpc.status_on_error),
        )
    what = f"there is no authorizer {name!r}" if provider is None else f"the provider {name!r} is no authorizer"
    findings.add("MESH091", origin, what)
    return None


def _status(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 403


def _http_authorizer(
    name: str, http: EnvoyExternalAuthorizationHttpProvider, view: View, findings: Findings
) -> Authorizer | None:
    problem = _problem(http)
    if problem:
        findings.add("MESH091", Origin("MeshConfig", "extensionProviders"), f"the authorizer {name!r}: {problem}")
        return None
    host = (http.service or "").rpartition("/")[2]
    is_known = host in view.services
    if not is_known:
        origin = Origin("MeshConfig", "extensionProviders")
        findings.add("MESH091", origin, f"the service {http.service!r} of the authorizer {name!r} is not known")
    body = http.include_request_body_in_check
    return Authorizer(
        name=name,
        host=host,
        port=http.port or 0,
        is_usable=is_known,
        timeout=float(http.timeout) if http.timeout is not None else _TIMEOUT,
        path_prefix=http.path_prefix or "",
        fail_open=bool(http.fail_open),
        status_on_error=_status(http.status_on_error),
        # The old name counts only where the new one is absent.
        request_headers=_names(http.include_request_headers_in_check or http.include_headers_in_check),
        added_headers=dict(http.include_additional_headers_in_check),
        upstream_headers=_names(http.headers_to_upstream_on_allow),
        deny_headers=_names(http.headers_to_downstream_on_deny),
        allow_headers=_names(http.headers_to_downstream_on_allow),
        body_limit=(body.max_request_bytes or 0) if body is not None else 0,
        allows_partial_body=bool(body is not None and body.allow_partial_message),
    )


def _problem(http: EnvoyExternalAuthorizationHttpProvider) -> str:
    """What makes Istio refuse a provider; empty if nothing does."""
    if not 0 < (http.port or 0) <= 65535:
        return f"the port {http.port} is not between 1 and 65535"
    if http.path_prefix and not http.path_prefix.startswith("/"):
        return f"the pathPrefix {http.path_prefix!r} does not begin with /"
    status = http.status_on_error
    if status and (not status.isascii() or not status.isdigit() or not 100 <= int(status) < 600):
        return f"the statusOnError {status!r} is no HTTP status"
    return ""


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
