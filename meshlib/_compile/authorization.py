"""From AuthorizationPolicies to the policies of one workload (semantics 6.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from meshlib._compile.attachments import is_about
from meshlib._compile.conditions import Conditions
from meshlib._compile.findings import Findings
from meshlib._compile.index import Entry, Index
from meshlib._compile.order import by_age
from meshlib._compile.rule_index import index_rules
from meshlib._snapshot.conditions import Condition
from meshlib._snapshot.routes import Origin
from meshlib._snapshot.security import Policy, Rule
from meshlib.model.authorization_policy import AuthorizationPolicySpec, From, To
from meshlib.model.authorization_policy import Condition as When
from meshlib.model.authorization_policy import Rule as RuleSpec
from meshlib.model.resource import Metadata
from meshlib.workload import Workload

__all__ = ["Policies", "compile_policies", "compile_rule"]

_DRY_RUN: Final = "istio.io/dry-run"


class Policies(NamedTuple):
    """The policies of a workload by action; ``providers`` are those that the CUSTOM ones name."""

    custom: tuple[Policy, ...] = ()
    audit: tuple[Policy, ...] = ()
    deny: tuple[Policy, ...] = ()
    allow: tuple[Policy, ...] = ()
    shadow_deny: tuple[Policy, ...] = ()
    shadow_allow: tuple[Policy, ...] = ()
    providers: tuple[str, ...] = ()


class Part(NamedTuple):
    """A condition, and whether it can only be asked of an HTTP request."""

    condition: Condition
    needs_http: bool


def compile_policies(
    index: Index, workload: Workload, root_namespace: str, trust_domains: tuple[str, ...], findings: Findings
) -> Policies:
    """The policies for a workload: those of the root namespace first, then those of its own."""
    found: dict[str, list[Policy]] = {name: [] for name in Policies._fields if name != "providers"}
    providers: dict[str, None] = {}
    entries = index.of("AuthorizationPolicy", AuthorizationPolicySpec)
    for entry in sorted(entries, key=lambda one: (one.meta.namespace != root_namespace, by_age(one))):
        spec = entry.spec
        if entry.meta.namespace not in (root_namespace, workload.namespace):
            continue
        if not is_about(spec, entry.meta.namespace, workload):
            continue
        action = spec.action or "ALLOW"
        is_shadow = _is_dry_run(entry.meta) and action in ("ALLOW", "DENY")
        policy = _policy(entry, action, trust_domains, findings)
        found[f"shadow_{action.lower()}" if is_shadow else action.lower()].append(policy)
        if action == "CUSTOM":
            providers[(spec.provider.name if spec.provider else None) or ""] = None
    return Policies(**{name: tuple(policies) for name, policies in found.items()}, providers=tuple(providers))


def _is_dry_run(meta: Metadata) -> bool:
    # Go's ParseBool, as Istio reads the annotation.
    return meta.annotations.get(_DRY_RUN, "") in ("1", "t", "T", "true", "TRUE", "True")


def _policy(
    entry: Entry[AuthorizationPolicySpec], action: str, trust_domains: tuple[str, ...], findings: Findings
) -> Policy:
    resource = entry.resource
    lines = resource.rule_lines.get("rules", ())
    rules, tcp_rules = [], []
    for index, spec in enumerate(entry.spec.rules):
        line = lines[index] if index < len(lines) else resource.line
        origin = Origin(str(resource), f"spec.rules[{index}]", resource.file, line)
        conditions = Conditions(
            namespace=entry.meta.namespace,
            allows=action == "ALLOW",
            trust_domains=trust_domains,
            origin=origin,
            findings=findings,
        )
        parts = _Parts(conditions, spec)
        rules.append(parts.http_rule(index))
        tcp_rules += parts.tcp_rule(index)
    return Policy(
        name=entry.meta.name,
        namespace=entry.meta.namespace,
        origin=Origin(str(resource), "", resource.file, resource.line),
        rules=tuple(rules),
        tcp_rules=tuple(tcp_rules),
        lines=tuple(lines),
        index=index_rules(rules),
    )


def compile_rule(spec: RuleSpec, namespace: str, trust_domains: tuple[str, ...], findings: Findings) -> Rule:
    """A rule that stands alone and allows, as of an ALLOW policy in a namespace."""
    origin = Origin("", "", "", 0)
    conditions = Conditions(
        namespace=namespace, allows=True, trust_domains=trust_domains, origin=origin, findings=findings
    )
    return _Parts(conditions, spec).http_rule(0)


class _Parts:
    """The conditions of one rule."""

    def __init__(self, conditions: Conditions, spec: RuleSpec) -> None:
        self._conditions = conditions
        self._sources = [self._source(one) for one in spec.from_]
        self._operations = [self._operation(one) for one in spec.to]
        self._when = [part for one in spec.when for part in self._condition(one)]

    def http_rule(self, index: int) -> Rule:
        """The rule for HTTP requests."""
        return Rule(
            index,
            tuple(tuple(part.condition for part in parts) for parts in self._sources),
            tuple(tuple(part.condition for part in parts) for parts in self._operations),
            tuple(part.condition for part in self._when),
        )

    def tcp_rule(self, index: int) -> list[Rule]:
        """The rule for connections without HTTP: conditions that need HTTP are dropped, and with them an ALLOW."""
        groups = [*self._sources, *self._operations, self._when]
        if self._conditions.allows and any(part.needs_http for parts in groups for part in parts):
            return []
        return [
            Rule(
                index,
                tuple(_without_http(parts) for parts in self._sources),
                tuple(_without_http(parts) for parts in self._operations),
                _without_http(self._when),
            )
        ]

    def _source(self, spec: From) -> list[Part]:
        source, make = spec.source, self._conditions
        if source is None:
            return []
        pairs = (
            (make.principals, "principals", source.principals, source.not_principals, False),
            (
                make.request_principals,
                "requestPrincipals",
                source.request_principals,
                source.not_request_principals,
                True,
            ),
            (make.namespaces, "namespaces", source.namespaces, source.not_namespaces, False),
            (make.service_accounts, "serviceAccounts", source.service_accounts, source.not_service_accounts, False),
            (make.ip_blocks, "ipBlocks", source.ip_blocks, source.not_ip_blocks, False),
            (make.remote_ip_blocks, "remoteIpBlocks", source.remote_ip_blocks, source.not_remote_ip_blocks, False),
            (make.peer_domains, "trustDomains", source.trust_domains, source.not_trust_domains, False),
        )
        return self._list(pairs)

    def _operation(self, spec: To) -> list[Part]:
        operation, make = spec.operation, self._conditions
        if operation is None:
            return []
        pairs = (
            (make.hosts, "hosts", operation.hosts, operation.not_hosts, True),
            (make.methods, "methods", operation.methods, operation.not_methods, True),
            (make.paths, "paths", operation.paths, operation.not_paths, True),
            (make.ports, "ports", operation.ports, operation.not_ports, False),
        )
        return self._list(pairs)

    def _list(self, pairs: Iterable[tuple]) -> list[Part]:  # type: ignore[type-arg]
        return [
            Part(condition, needs_http)
            for make, field, values, not_values, needs_http in pairs
            for condition in self._conditions.both(make, field, values, not_values)
        ]

    def _condition(self, spec: When) -> list[Part]:
        found = self._conditions.when(spec.key)
        if found is None:
            conditions = self._conditions
            conditions.findings.add("MESH090", conditions.origin, f"unknown attribute: {spec.key}", field="when")
            return [Part(conditions.doubt(spec.key), needs_http=False)]
        make, needs_http = found
        made = self._conditions.both(make, "values", spec.values, spec.not_values)
        return [Part(condition, needs_http) for condition in made]


def _without_http(parts: Iterable[Part]) -> tuple[Condition, ...]:
    return tuple(part.condition for part in parts if not part.needs_http)
