"""Who sees a resource, and to whom it applies: exportTo, gateways, targetRefs and selectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.names import fqdn_problem, is_label
from meshlib._config.rules.report import Report
from meshlib.model.base import Spec
from meshlib.model.selectors import PolicyTargetReference, TypeWorkloadSelector, WorkloadSelector

__all__ = ["check_export_to", "check_gateway_names", "check_selector", "check_target_refs", "takes_no_labels"]

_EXPORT_TO: Final = ("spec", "exportTo")
_TARGETS: Final = frozenset(
    {
        ("", "Service"),
        ("core", "Service"),
        ("networking.istio.io", "ServiceEntry"),
        ("gateway.networking.k8s.io", "Gateway"),
        ("gateway.networking.k8s.io", "GatewayClass"),
    }
)
_TARGETS_SHOWN: Final = (
    "[core/v1/Service networking.istio.io/v1/ServiceEntry gateway.networking.k8s.io/v1/Gateway "
    "gateway.networking.k8s.io/v1/GatewayClass]"
)


def check_export_to(
    names: Sequence[str], namespace: str, report: Report, *, is_service: bool = False, is_selective: bool = False
) -> None:
    """``exportTo``: namespaces, ``.`` and ``*``; ``~`` for services alone.

    ``is_selective``: the rule of some workloads, which stays in its namespace.
    """
    seen: set[str] = set()
    for index, name in enumerate(names):
        place = (*_EXPORT_TO, index)
        key = namespace if name == "." else name
        if key in seen:
            message = f"current namespace {namespace}" if key != name else f"entry {name}"
            prefix = "duplicate entries in exportTo: . and " if key != name else "duplicate entries in exportTo for "
            report.add("MESH076", place, prefix + message)
            continue
        problem = "" if key == "~" and is_service else _visibility_problem(key)
        report.check("MESH076", place, problem)
        if not problem:
            seen.add(key)
    if is_selective and seen:
        if namespace not in seen:
            message = "destination rule with workload selector cannot have exportTo beyond current namespace"
            report.add("MESH076", _EXPORT_TO, message)
        elif len(seen) > 1:
            message = "destination rule with workload selector cannot have multiple entries in exportTo"
            report.add("MESH076", _EXPORT_TO, message)
    if "*" in seen and len(names) > 1:
        message = "cannot have both public (*) and non-public exportTo values for a resource"
        report.add("MESH076", _EXPORT_TO, message)
    if "~" in seen and len(names) > 1:
        report.add("MESH076", _EXPORT_TO, "cannot export service entry to no one (~) and someone")


def _visibility_problem(name: str) -> str:
    if name == "~":
        return "exportTo ~ (none) is not allowed for Istio configuration objects"
    if name in (".", "*") or is_label(name):
        return ""
    return "only .,*, or a valid DNS 1123 label is allowed as exportTo entry"


def check_gateway_names(names: Sequence[str], path: Path, report: Report, *, takes_dots: bool = False) -> None:
    """Names of gateways: ``namespace/name``, a name alone, ``mesh``, or the old form with dots."""
    for index, name in enumerate(names):
        place = (*path, index)
        namespace, slash, gateway = name.partition("/")
        if not slash:
            if "." in name:
                parts = name.split(".")
                better = f"{parts[1]}/{parts[0]}"
                message = f'using legacy gatewayName format "{name}"; prefer the <namespace>/<name> format: "{better}"'
                report.warn(place, message, f"write {better}")
            report.check("MESH070", place, fqdn_problem(name))
            return  # Istio looks no further
        if not namespace or not gateway:
            report.add("MESH070", place, "config namespace and gateway name cannot be empty")
        if not is_label(namespace):
            report.add("MESH070", place, f'invalid value for namespace: "{namespace}"')
        if not is_label(gateway) and not takes_dots:
            report.add("MESH070", place, f'invalid value for gateway name: "{gateway}"')


def check_target_refs(spec: Spec, report: Report) -> None:
    """``selector``, ``targetRef`` and ``targetRefs`` of a policy: to what it can be attached."""
    selector = getattr(spec, "selector", None)
    if selector is not None:
        check_selector(selector, ("spec", "selector"), report)
    single: PolicyTargetReference | None = getattr(spec, "target_ref", None)
    if single is not None:
        _check_target(single, ("spec", "targetRef"), report)
    references: Sequence[PolicyTargetReference] = getattr(spec, "target_refs", ())
    for index, reference in enumerate(references):
        _check_target(reference, ("spec", "targetRefs", index), report)


def _check_target(target: PolicyTargetReference, path: Path, report: Report) -> None:
    if (target.group or "", target.kind) not in _TARGETS:
        message = f"targetRef must be to one of {_TARGETS_SHOWN} but was {target.group or ''}/{target.kind}"
        report.add("MESH079", path, message, "name a Gateway, GatewayClass, Service or ServiceEntry")


def check_selector(selector: TypeWorkloadSelector, path: Path, report: Report) -> None:
    """``{matchLabels: …}``: without labels it is for everything, which is hardly meant."""
    if not selector.match_labels:
        report.warn(path, "workload selector specified without labels", "add matchLabels, or remove the selector")


def takes_no_labels(selector: WorkloadSelector | None, what: str, report: Report) -> None:
    """``{labels: …}`` without labels, of a Sidecar, ServiceEntry or EnvoyFilter."""
    if selector is not None and not selector.labels:
        message = f"{what}: workload selector specified without labels, will be applied to all services in namespace"
        report.warn(("spec", "workloadSelector"), message, "add labels, or remove workloadSelector")
