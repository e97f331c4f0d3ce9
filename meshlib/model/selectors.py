"""Who a resource is for: label selectors and references to other objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from msgspec import Meta

from meshlib.model.base import EMPTY, UNWRITTEN, Maybe, Model, RuleError

__all__ = [
    "LabelKey",
    "LabelName",
    "LabelText",
    "LabelValue",
    "Labels",
    "PolicyTargetReference",
    "TypeWorkloadSelector",
    "WorkloadSelector",
    "one_target",
]

LabelKey: TypeAlias = Annotated[
    str, Meta(pattern=r"^[^*]+\Z", description="a label key, not empty and without wildcard (*)")
]
LabelValue: TypeAlias = Annotated[
    str,
    Meta(max_length=63, pattern=r"^[^*]*\Z", description="a label value of at most 63 characters without wildcard (*)"),
]

_QUALIFIED = r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_DNS_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
LabelName: TypeAlias = Annotated[
    str,
    Meta(
        pattern=rf"^(?=.{{1,317}}\Z)(?:(?=[^/]{{1,253}}/){_DNS_LABEL}(?:\.{_DNS_LABEL})*/)?(?=[^/]{{1,63}}\Z){_QUALIFIED}\Z",
        description="a label key such as app or example.com/app: letters, digits, -, _ and .",
    ),
]
LabelText: TypeAlias = Annotated[
    str,
    Meta(pattern=rf"^(?:{_QUALIFIED})?\Z", description="a label value: letters, digits, -, _ and ., not at its ends"),
]
Labels: TypeAlias = Mapping[LabelName, LabelText]
"""Labels that a resource gives or asks for, as Istio checks them."""


class WorkloadSelector(Model, frozen=True, kw_only=True):
    """``{labels: {…}}`` as ServiceEntry, Sidecar and EnvoyFilter write it: workloads that have all these labels.

    https://istio.io/latest/docs/reference/config/networking/sidecar/#WorkloadSelector
    """

    labels: Annotated[Mapping[LabelKey, LabelValue], Meta(max_length=256)] = EMPTY


class TypeWorkloadSelector(Model, frozen=True, kw_only=True):
    """``{matchLabels: {…}}`` as DestinationRule, ProxyConfig, Telemetry and the security kinds write it.

    https://istio.io/latest/docs/reference/config/type/workload-selector/
    """

    match_labels: Annotated[Mapping[LabelKey, LabelValue], Meta(max_length=4096)] = EMPTY


class PolicyTargetReference(Model, frozen=True, kw_only=True):
    """The object a policy is attached to: a Gateway, GatewayClass, Service or ServiceEntry of the same namespace.

    https://istio.io/latest/docs/reference/config/type/workload-selector/#PolicyTargetReference
    """

    group: Maybe[
        Annotated[
            str,
            Meta(
                max_length=253,
                pattern=r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z",
                description="an API group such as gateway.networking.k8s.io",
            ),
        ]
    ] = None
    kind: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=63,
            pattern=r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z",
            description="a kind such as Gateway",
        ),
    ]
    name: Annotated[str, Meta(min_length=1, max_length=253)]
    namespace: Maybe[Annotated[str, Meta(max_length=0, description="no other namespace than the policy's")]] = None


def one_target(spec: Model) -> None:
    """Refuse more than one of ``selector``, ``targetRef`` and ``targetRefs``."""
    values = [getattr(spec, name, None) for name in ("selector", "target_ref", "target_refs")]
    if sum(value is not None and value is not UNWRITTEN for value in values) > 1:
        raise RuleError(
            "only one of targetRefs or selector can be set",
            field="selector",
            hint="keep the selector, or attach by targetRefs",
        )
