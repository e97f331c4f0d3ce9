"""What protects one workload: peer modes, token rules and authorization, from all resources that are about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from meshlib._compile.attachments import selects
from meshlib._compile.authorization import compile_policies
from meshlib._compile.authorizers import compile_authorizer
from meshlib._compile.findings import Findings
from meshlib._compile.index import Entry, Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.order import by_age
from meshlib._compile.request_authentication import compile_authentication
from meshlib._compile.visibility import View
from meshlib._snapshot.authentication import Authentication
from meshlib._snapshot.conditions import HeaderCondition, Not
from meshlib._snapshot.security import Normalization, PeerMode, Policy, Security
from meshlib.model.mesh_config import MeshConfig
from meshlib.model.peer_authentication import MutualTLS, PeerAuthenticationSpec
from meshlib.workload import Workload

__all__ = ["compile_security"]

_FORWARDED: Final = ("x-forwarded-for", "x-forwarded-client-cert")
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
    authorizer, problem = None, ""
    if policies.providers:
        authorizer, problem = compile_authorizer(policies.providers, config, view, findings)
    mode, modes = _peer_modes(index, mesh, workload)
    normalization = config.path_normalization.normalization if config.path_normalization else None
    authentication = compile_authentication(index, workload, mesh.root_namespace)
    read = frozenset(
        _read_headers(*policies.audit, *policies.deny, *policies.allow, *policies.shadow_deny, *policies.shadow_allow)
    )
    return Security(
        mode=mode,
        modes=modes,
        trust_domains=frozenset(domains),
        normalization=_NORMALIZATIONS.get(normalization, "BASE"),
        authentication=authentication,
        authorizer=authorizer,
        authorizer_problem=problem,
        custom=policies.custom,
        audit=policies.audit,
        deny=policies.deny,
        allow=policies.allow,
        shadow_deny=policies.shadow_deny,
        shadow_allow=policies.shadow_allow,
        read_headers=read,
        underscored=_underscored({*read, *_read_headers(*policies.custom)}, authentication),
    )


def _read_headers(*policies: Policy) -> Iterator[str]:
    """The headers that the conditions of policies look at."""
    for condition in (one for policy in policies for rule in policy.rules for one in rule.when):
        inner = condition.condition if isinstance(condition, Not) else condition
        if isinstance(inner, HeaderCondition):
            yield inner.header


def _underscored(read: set[str], authentication: Authentication | None) -> dict[str, str]:
    """The names with underscores of headers that are read, carry tokens or are filled with claims."""
    names = {*read, *_FORWARDED}
    if authentication is not None:
        names.update(authentication.output_headers)
        names.update(header.name for rule in authentication.rules for header in rule.headers)
    dashed = {name: name.replace("_", "-") for name in sorted(names) if "_" in name}
    return {name: "" if other in names else other for name, other in dashed.items()}


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
