"""Who may call a workload: requests made from the rules of policies, decided by two configurations."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshlib._authorize import GivenKeys, authorize, inbound_from_json, token_check
from meshlib._compile import Config
from meshlib._diff.change import Change
from meshlib._diff.samples import sample_pattern
from meshlib._engine.decisions import Decision
from meshlib.model.authorization_policy import AuthorizationPolicySpec, Condition, Operation, Rule, Source
from meshlib.model.base import Spec
from meshlib.model.kubernetes import PodSpec, WorkloadSpec
from meshlib.model.peer_authentication import PeerAuthenticationSpec
from meshlib.model.request_authentication import RequestAuthenticationSpec
from meshlib.model.resource import Resource
from meshlib.workload import Workload

__all__ = ["access_changes", "workloads"]

_ARGUMENT: Final = re.compile(r"\[([^\]]*)\]")
_STRANGER: Final = "198.51.100.7"
_DECIDING: Final = (AuthorizationPolicySpec, PeerAuthenticationSpec, RequestAuthenticationSpec)
_PLAIN: Final[Mapping[str, Any]] = {"method": "GET", "host": "any", "path": "/", "source_ip": _STRANGER}


@dataclass(frozen=True, slots=True)
class _Caller:
    """A request, and its words."""

    request: Mapping[str, Any]

    @property
    def words(self) -> str:
        request = self.request
        text = f"{request['method']} {request['path']}"
        if request["host"] != "any":
            text += f" for {request['host']}"
        if request.get("port") not in (None, 80):
            text += f" at port {request['port']}"
        text += f" from {request['principal']}" if request.get("principal") else " without certificate"
        if request["source_ip"] != _STRANGER:
            text += f" at {request['source_ip']}"
        if request.get("claims"):
            text += " with a token of " + ", ".join(map(str, request["claims"].values()))
        for name, value in (request.get("headers") or {}).items():
            text += f" with {name}: {value}"
        return text


def workloads(resources: Iterable[Resource]) -> list[Workload]:
    """The workloads that can be told apart: those of pods, and one for each selector and namespace of policies."""
    found: dict[str, Workload] = {}
    for resource in resources:
        for labels in _labels(resource.spec, resource):
            workload = Workload(namespace=resource.namespace, labels=dict(labels))
            found.setdefault(repr((workload.namespace, sorted(workload.labels.items()))), workload)
    return list(found.values())


def _labels(spec: Spec, resource: Resource) -> Iterator[Mapping[str, str]]:
    match spec:
        case PodSpec():
            yield resource.metadata.labels
        case WorkloadSpec():
            pods = spec.pods
            if pods is not None and pods.metadata is not None:
                yield pods.metadata.labels or {}
        case AuthorizationPolicySpec() | PeerAuthenticationSpec() | RequestAuthenticationSpec():
            yield {}
            if spec.selector is not None:
                yield spec.selector.match_labels
        case _:
            return


def access_changes(
    old: Config, new: Config, resources: tuple[Iterable[Resource], Iterable[Resource]]
) -> Iterator[Change]:
    """Where a request that one configuration lets in is turned away by the other.

    Only workloads are asked about whose policies changed, or those of the root namespace.
    """
    before, after = (_policies(found) for found in resources)
    roots = {config.mesh.root_namespace for config in (old, new)}
    is_everywhere = old.mesh != new.mesh or any(before.get(root) != after.get(root) for root in roots)
    for workload in workloads(item for found in resources for item in found):
        home = workload.namespace
        if not is_everywhere and before.get(home) == after.get(home):
            continue
        specs = [spec for found in (before, after) for name in (home, *roots) for spec in found.get(name, {}).values()]
        yield from _of_workload(old, new, workload, specs)


def _policies(resources: Iterable[Resource]) -> dict[str, dict[tuple[str, str], Spec]]:
    """What decides about access, by namespace."""
    found: dict[str, dict[tuple[str, str], Spec]] = {}
    for item in resources:
        if isinstance(item.spec, _DECIDING):
            found.setdefault(item.namespace, {})[item.kind, item.name] = item.spec
    return found


def _of_workload(old: Config, new: Config, workload: Workload, specs: Iterable[Spec]) -> Iterator[Change]:
    before, after = (config.compile(workload).security for config in (old, new))
    policies = [spec for spec in specs if isinstance(spec, AuthorizationPolicySpec)]
    for caller in {repr(caller.request): caller for caller in _callers(policies)}.values():
        one, other = _decide(before, caller.request), _decide(after, caller.request)
        if (one.allowed, one.is_closed) != (other.allowed, other.is_closed):
            yield Change(
                area="access",
                subject=_name(workload),
                cases=(caller.words,),
                field="decision",
                old=_said(one),
                new=_said(other),
            )


def _decide(security: Any, request: Mapping[str, Any]) -> Decision:
    transport = "mtls" if request.get("principal") else "plaintext"
    check = None if request.get("claims") is not None else token_check(security, GivenKeys(), 0.0)
    return authorize(security, inbound_from_json(request), authenticate=check, transport=transport)


def _said(decision: Decision) -> str:
    """Only what is the same for all requests of a kind: which policy decided is for ``meshlib authorize``."""
    if decision.allowed:
        return "allowed"
    return "refused (the connection is closed)" if decision.is_closed else f"denied ({decision.status})"


def _name(workload: Workload) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in workload.labels.items())
    return f"workloads with {labels} in {workload.namespace}" if labels else f"workloads of {workload.namespace}"


# -- requests --------------------------------------------------------------------------------------


def _callers(policies: Iterable[AuthorizationPolicySpec]) -> Iterator[_Caller]:
    """Somebody unknown, somebody of the mesh, and whoever a rule is about."""
    mesh = "cluster.local/ns/default/sa/default"
    for principal in (None, mesh):
        for method in ("GET", "POST"):
            yield _Caller({**_PLAIN, "method": method, "principal": principal, "port": 80})
    for policy in policies:
        for rule in policy.rules:
            yield from _of_rule(rule)


def _of_rule(rule: Rule) -> Iterator[_Caller]:
    """Each source with the first operation, each operation with the first source, and all conditions."""
    sources = [part for entry in rule.from_ if entry.source is not None for part in _of_source(entry.source)] or [{}]
    targets = [part for entry in rule.to if entry.operation is not None for part in _of_operation(entry.operation)]
    targets = targets or [{}]
    condition: dict[str, Any] = {}
    for entry in rule.when:
        condition.update(_of_condition(entry))
    pairs = [(source, targets[0]) for source in sources] + [(sources[0], target) for target in targets[1:]]
    for source, target in pairs:
        yield _Caller({**_PLAIN, "principal": None, "port": 80, **source, **target, **condition})


def _of_source(source: Source) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    if source.namespaces:
        found["principal"] = f"cluster.local/ns/{sample_pattern(source.namespaces[0])}/sa/default"
    if source.service_accounts:
        namespace, slash, account = source.service_accounts[0].rpartition("/")
        found["principal"] = f"cluster.local/ns/{namespace if slash else 'default'}/sa/{account}"
    if source.request_principals:
        issuer, _, subject = sample_pattern(source.request_principals[0], "x").rpartition("/")
        found["claims"] = {"iss": issuer or "issuer", "sub": subject or "subject"}
    if source.remote_ip_blocks:
        found["remote_ip"] = _address(source.remote_ip_blocks[0])
    if source.ip_blocks:
        found["source_ip"] = _address(source.ip_blocks[0])
    if source.principals:
        for principal in source.principals:
            yield {**found, "principal": _principal(principal)}
    else:
        yield found


def _principal(pattern: str) -> str:
    """An identity for a pattern; ``*`` alone is anybody who has one."""
    if pattern == "*":
        return "cluster.local/ns/default/sa/default"
    if pattern.startswith("*"):
        return f"cluster.local/ns/default/sa/x{pattern[1:]}" if "/ns/" not in pattern else f"cluster.local{pattern[1:]}"
    return sample_pattern(pattern)


def _address(block: str) -> str:
    try:
        return str(ipaddress.ip_network(block, strict=False)[0])
    except ValueError:
        return _STRANGER


def _of_operation(operation: Operation) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    if operation.hosts:
        found["host"] = sample_pattern(operation.hosts[0], "any")
    if operation.ports and operation.ports[0].isdigit():
        found["port"] = int(operation.ports[0])
    methods = [sample_pattern(method, "GET") for method in operation.methods] or ["GET"]
    paths = [sample_pattern(path) if path != "*" else "/" for path in operation.paths] or ["/"]
    yield {**found, "method": methods[0], "path": _rooted(paths[0])}
    for method in methods[1:]:
        yield {**found, "method": method, "path": _rooted(paths[0])}
    for path in paths[1:]:
        yield {**found, "method": methods[0], "path": _rooted(path)}


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _of_condition(condition: Condition) -> dict[str, Any]:
    """What makes a condition hold, as far as it is about the request."""
    if not condition.values:
        return {}
    value, key = condition.values[0], condition.key
    argument = _ARGUMENT.search(key)
    if key.startswith("request.headers[") and argument:
        return {"headers": {argument[1]: sample_pattern(value)}}
    if key.startswith("request.auth.claims[") and argument:
        return {"claims": {"iss": "issuer", "sub": "subject", argument[1]: sample_pattern(value)}}
    if key == "source.ip":
        return {"source_ip": _address(value)}
    if key == "source.namespace":
        return {"principal": f"cluster.local/ns/{sample_pattern(value)}/sa/default"}
    if key == "source.principal":
        return {"principal": _principal(value)}
    return {}
