"""Istio's own rules: what its admission webhook refuses although the schema accepts it.

One module for each kind, all plain code over the typed spec. The wording is Istio's
where it has one (pkg/config/validation of Istio 1.31), so that what is found here can
be looked up there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from meshlib._config.check import Problem
from meshlib._config.rules.authentication import check_peer_authentication, check_request_authentication
from meshlib._config.rules.authorization import check_authorization_policy
from meshlib._config.rules.destination_rule import check_destination_rule
from meshlib._config.rules.envoy_filter import check_envoy_filter
from meshlib._config.rules.gateway import check_gateway
from meshlib._config.rules.mesh_config import check_mesh_config
from meshlib._config.rules.report import Report
from meshlib._config.rules.service_entry import check_service_entry, check_workload_entry
from meshlib._config.rules.sidecar import check_sidecar
from meshlib._config.rules.telemetry import check_telemetry
from meshlib._config.rules.virtual_service import check_virtual_service
from meshlib._config.rules.visibility import check_target_refs
from meshlib._config.rules.workload_group import check_workload_group
from meshlib.model.base import Spec
from meshlib.model.resource import Metadata

__all__ = ["judge"]

Check: TypeAlias = Callable[[Any, Metadata, Report], None]


def _attachment(spec: Spec, _: Metadata, report: Report) -> None:
    """Kinds of which nothing is checked but what they are attached to."""
    check_target_refs(spec, report)


def _checks() -> Mapping[str, Check]:
    """The check of each kind, which takes the spec of that kind only."""
    return {
        "AuthorizationPolicy": check_authorization_policy,
        "DestinationRule": check_destination_rule,
        "EnvoyFilter": check_envoy_filter,
        "Gateway": check_gateway,
        "MeshConfig": check_mesh_config,
        "PeerAuthentication": check_peer_authentication,
        "ProxyConfig": _attachment,
        "RequestAuthentication": check_request_authentication,
        "ServiceEntry": check_service_entry,
        "Sidecar": check_sidecar,
        "Telemetry": check_telemetry,
        "TrafficExtension": _attachment,
        "VirtualService": check_virtual_service,
        "WasmPlugin": _attachment,
        "WorkloadEntry": check_workload_entry,
        "WorkloadGroup": check_workload_group,
    }


_CHECKS: Final = _checks()
_DRY_RUN: Final = "istio.io/dry-run"
_REJECTED: Final = "internal.istio.io/webhook-always-reject"
_INTERNAL: Final = ("internal.istio.io/parent-namespace", "internal.istio.io/parents")


def judge(kind: str, spec: Spec, metadata: Metadata) -> Sequence[Problem]:
    """Everything that Istio's webhook says of a resource; an error refuses it, a warning does not."""
    check = _CHECKS.get(kind)
    if check is None:
        return ()
    report = Report()
    if metadata.annotations:
        _check_annotations(kind, metadata, report)
    # The webhook stops at a wrong annotation, so that it warns about nothing else.
    check(spec, metadata, report.without_warnings() if report.problems else report)
    return report.problems


def _check_annotations(kind: str, metadata: Metadata, report: Report) -> None:
    annotations, path = metadata.annotations, ("metadata", "annotations")
    if _DRY_RUN in annotations and kind != "AuthorizationPolicy":
        where = f"{metadata.namespace}/{metadata.name}"
        message = f"{where} has unsupported annotation {_DRY_RUN}, please remove the annotation"
        report.add("MESH079", (*path, _DRY_RUN), message)
    if _REJECTED in annotations:
        report.add("MESH079", (*path, _REJECTED), f'"{_REJECTED}" annotation found, rejecting')
    for name in _INTERNAL:
        if name in annotations:
            message = f'"{name}" annotation found, this may not be set by users'
            report.add("MESH079", (*path, name), message, "remove the annotation")
