"""AuthorizationPolicy: what Istio's webhook refuses (validation.go, pkg/config/security)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.names import is_address, is_block
from meshlib._config.rules.report import Report
from meshlib._config.rules.visibility import check_target_refs
from meshlib.model.authorization_policy import AuthorizationPolicySpec, Condition, Operation, Rule, Source
from meshlib.model.base import UNWRITTEN
from meshlib.model.resource import Metadata

__all__ = ["check_authorization_policy"]

_DRY_RUN: Final = "istio.io/dry-run"
_BOOLEANS: Final = frozenset("1 t T TRUE true True 0 f F FALSE false False".split())
_PORT: Final = re.compile(r"[0-9]{1,9}\Z")
_SEGMENT: Final = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+\Z")
_HTTP_WARNING: Final = (
    "configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of only HTTP "
    "attributes in a DENY rule; it is recommended to explicitly specify the port"
)
# Fields that an external authorizer cannot be asked for; Istio's name of each.
_NOT_CUSTOM: Final = (
    "namespaces",
    "not_namespaces",
    "service_accounts",
    "not_service_accounts",
    "trust_domains",
    "not_trust_domains",
    "principals",
    "not_principals",
    "request_principals",
    "not_request_principals",
)
_NOT_CUSTOM_KEYS: Final = ("source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal")
_CONNECTION: Final = (
    "principals",
    "not_principals",
    "ip_blocks",
    "not_ip_blocks",
    "namespaces",
    "not_namespaces",
    "remote_ip_blocks",
    "not_remote_ip_blocks",
    "service_accounts",
    "not_service_accounts",
)

# Attributes that may be compared with anything.
_FREE: Final = frozenset(
    {
        "source.namespace",
        "source.principal",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "connection.sni",
    }
)


def check_authorization_policy(spec: AuthorizationPolicySpec, metadata: Metadata, report: Report) -> None:
    """All rules of an AuthorizationPolicy that its schema does not have."""
    action = spec.action or "ALLOW"
    _check_dry_run(action, metadata, report)
    if report.problems:
        report = report.without_warnings()  # the webhook stops at a wrong annotation
    check_target_refs(spec, report)
    if action in ("DENY", "CUSTOM") and not spec.rules:
        message = (
            f"{action} action without `rules` is meaningless as it will never be triggered, "
            "add an empty rule `{}` if you want it be triggered for every request"
        )
        report.add("MESH079", ("spec",), message)
    elif action == "CUSTOM" and (spec.provider is None or not spec.provider.name):
        report.add("MESH079", ("spec", "provider"), "`provider.name` must not be empty")
    if action != "CUSTOM" and spec.provider is not None:
        message = f"`provider` must not be with non CUSTOM action, found {action}"
        report.add("MESH079", ("spec", "provider"), message, "remove provider, or set action: CUSTOM")
    for index, rule in enumerate(spec.rules):
        path: Path = ("spec", "rules", index)
        if action == "CUSTOM":
            _check_custom(rule, path, report)
        _check_rule(rule, index, path, report)
        if action == "DENY" and _is_http_only(rule):
            report.warn(path, _HTTP_WARNING, "add to.operation.ports")


def _check_dry_run(action: str, metadata: Metadata, report: Report) -> None:
    value = metadata.annotations.get(_DRY_RUN)
    if value is None:
        return
    where, path = f"{metadata.namespace}/{metadata.name}", ("metadata", "annotations", _DRY_RUN)
    if action not in ("ALLOW", "DENY"):
        message = (
            f"the annotation {_DRY_RUN} currently only supports action ALLOW/DENY, found action {action} in {where}"
        )
        report.add("MESH079", path, message)
    elif value not in _BOOLEANS:
        report.add("MESH079", path, f"{where} has annotation {_DRY_RUN} with invalid value ({value})", "write true")


def _check_custom(rule: Rule, path: Path, report: Report) -> None:
    for position, one in enumerate(rule.from_):
        for field in _NOT_CUSTOM if one.source is not None else ():
            if getattr(one.source, field):
                name = "".join(part.capitalize() for part in field.split("_"))
                message = f"From.{name} is currently not supported with CUSTOM action"
                report.add("MESH079", (*path, "from", position, "source"), message)
    for position, condition in enumerate(rule.when):
        if condition.key in _NOT_CUSTOM_KEYS or condition.key.startswith("request.auth."):
            message = f"{condition.key} is currently not supported with CUSTOM action"
            report.add("MESH079", (*path, "when", position, "key"), message)


def _check_rule(rule: Rule, index: int, path: Path, report: Report) -> None:
    for position, one in enumerate(rule.from_):
        place = (*path, "from", position, "source")
        if one.source is None or _is_empty(one.source):
            problem = "nil" if one.source is None else "empty"
            report.add("MESH079", place, f"`from.source` must not be {problem}, found at rule {index}")
        else:
            _check_source(one.source, place, report)
            if _mixes_accounts(one.source):
                message = f"cannot set serviceAccounts with namespaces or principals, found at rule {index}"
                report.add("MESH079", place, message, "write the namespace into serviceAccounts: namespace/account")
    for position, other in enumerate(rule.to):
        place = (*path, "to", position, "operation")
        if other.operation is None or _is_empty(other.operation):
            problem = "nil" if other.operation is None else "empty"
            report.add("MESH079", place, f"`to.operation` must not be {problem}, found at rule {index}")
        else:
            _check_operation(other.operation, place, report)
    for position, condition in enumerate(rule.when):
        _check_condition(condition, (*path, "when", position), report)


def _is_empty(part: Source | Operation) -> bool:
    return not any(getattr(part, field) for field in part.__struct_fields__)


def _mixes_accounts(source: Source) -> bool:
    """Whether accounts and whole identities are written together, be it without values."""
    accounts = (source.service_accounts, source.not_service_accounts)
    others = (source.principals, source.not_principals, source.namespaces, source.not_namespaces)
    return any(one is not UNWRITTEN for one in accounts) and any(one is not UNWRITTEN for one in others)


def _check_source(source: Source, path: Path, report: Report) -> None:
    for field in ("ip_blocks", "not_ip_blocks", "remote_ip_blocks", "not_remote_ip_blocks"):
        for problem in _block_problems(getattr(source, field)):
            report.add("MESH081", path, problem)
    for field in ("service_accounts", "not_service_accounts"):
        report.check("MESH079", path, _account_problem(_title(field), getattr(source, field)))
    for field in ("trust_domains", "not_trust_domains"):
        values = getattr(source, field)
        report.check("MESH079", path, _wildcard_problem(_title(field), values) or _slash_problem(field, values))


def _check_operation(operation: Operation, path: Path, report: Report) -> None:
    for field in ("ports", "not_ports"):
        for problem in _port_problems(getattr(operation, field)):
            report.add("MESH071", path, problem)
    for field in ("paths", "not_paths"):
        report.check("MESH079", path, _template_problem(_title(field), getattr(operation, field)))


def _check_condition(condition: Condition, path: Path, report: Report) -> None:
    if not condition.key:
        report.add("MESH079", path, "`key` must not be empty")
    elif not condition.values and not condition.not_values:
        message = f"at least one of `values` or `notValues` must be set for key {condition.key}"
        report.add("MESH079", path, message)
    else:
        for name, values in (("value", condition.values), ("notValue", condition.not_values)):
            for problem in _attribute_problems(condition.key, values):
                report.add("MESH079", path, f"invalid `{name}` for `key` {condition.key}: {problem}")


def _is_http_only(rule: Rule) -> bool:
    """Whether a rule of DENY says nothing that a TCP connection could be asked for."""
    sources = [one.source for one in rule.from_ if one.source is not None]
    operations = [one.operation for one in rule.to if one.operation is not None]
    if operations:
        return not any(one.ports or one.not_ports for one in operations)
    return bool(sources) and not any(getattr(one, field) for one in sources for field in _CONNECTION)


# -- values --------------------------------------------------------------------------------------------------


def _title(field: str) -> str:
    return "".join(part.capitalize() for part in field.split("_"))


def _block_problems(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        if "/" in value and not is_block(value):
            yield f"bad CIDR range ({value})"
        elif "/" not in value and not is_address(value):
            yield f"bad IP address ({value})"


def _port_problems(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        if _PORT.match(value) is None or int(value) > 65535:
            yield f"bad port ({value}): it is no number up to 65535"


def _account_problem(name: str, values: Sequence[str]) -> str:
    if len(values) > 16:
        return "may not have more than 16 values"
    for value in values:
        if not value:
            return f"empty value not allowed, found in {name}"
        if "*" in value:
            return f"wildcard not allowed, found in {name}"
        if value.count("/") > 1 or value.startswith("/") or value.endswith("/"):
            return f"expected format 'serviceAccount' or 'namespace/serviceAccount', found \"{value}\" in {name}"
        if len(value.encode("utf-8", "replace")) > 320:
            return f'value cannot exceed 320 characters, found "{value}" in {name}'
    return ""


def _wildcard_problem(name: str, values: Sequence[str]) -> str:
    if "" in values:
        return f"empty value not allowed, found in {name}"
    for value in values:
        if value.count("*") > 1:
            return f'at most one wildcard is allowed, found in {name}: "{value}"'
        if "*" in value and not value.startswith("*") and not value.endswith("*"):
            return f'wildcard is only allowed at the start or end, found in {name}: "{value}"'
    return ""


def _slash_problem(field: str, values: Sequence[str]) -> str:
    wrong = next((value for value in values if "/" in value), None)
    return "" if wrong is None else f"trust domain must not contain '/', found in {_title(field)}: \"{wrong}\""


def _template_problem(name: str, paths: Sequence[str]) -> str:
    for written in paths:
        is_template = "{*}" in written or "{**}" in written
        path, has_rest = written.strip("/"), False
        prefix = f"invalid or unsupported path {path}, found in {name}. "
        for segment in path.split("/"):
            if segment in ("{*}", "{**}"):
                if has_rest:
                    return prefix + "{**} is not the last operator"
                has_rest = segment == "{**}"
            elif "{" in segment or "}" in segment:
                return prefix + "Contains '{' or '}' beyond a supported path template"
            elif is_template and _SEGMENT.match(segment) is None:
                return prefix + f"Contains segment {segment} with invalid string literal"
    return ""


def _attribute_problems(key: str, values: Sequence[str]) -> Iterator[str]:
    """What is wrong with the attribute of a condition, or with the values that it is compared with."""
    if "" in values:
        yield f"empty value not allowed, found in {key}"
    elif key.startswith(("request.headers", "request.auth.claims", "experimental.envoy.filters.")):
        begin = key.find("[")
        if not key.endswith("]") or not 0 < begin < len(key) - 2:
            yield f"bad key ({key}): should have format a[b]"
    elif key in ("source.ip", "remote.ip", "destination.ip"):
        yield from _block_problems(values)
    elif key == "destination.port":
        yield from _port_problems(values)
    else:
        problem = _plain_problem(key, values)
        if problem:
            yield problem


def _plain_problem(key: str, values: Sequence[str]) -> str:
    if key == "source.serviceAccount":
        return _account_problem(key, values)
    if key == "source.trustDomain":
        return _wildcard_problem(key, values)
    if key == "destination.namespace":
        return f"attribute {key} is replaced by the metadata.namespace"
    if key.startswith("destination.labels"):
        return f"attribute {key} is replaced by the workload selector"
    if key in ("destination.name", "destination.user"):
        return f"deprecated attribute {key}: only supported in v1alpha1"
    return "" if key in _FREE else f"unknown attribute: {key}"
