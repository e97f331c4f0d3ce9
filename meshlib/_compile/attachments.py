"""Which workloads a policy is about: by selector, or by the Gateway that it is attached to (semantics 6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshlib.model.authorization_policy import AuthorizationPolicySpec
from meshlib.model.request_authentication import RequestAuthenticationSpec
from meshlib.model.selectors import PolicyTargetReference, TypeWorkloadSelector
from meshlib.workload import Workload

__all__ = ["is_about", "selects"]

_GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
_GROUP: Final = "gateway.networking.k8s.io"


def is_about(spec: AuthorizationPolicySpec | RequestAuthenticationSpec, namespace: str, workload: Workload) -> bool:
    """Whether a policy of a namespace is about a workload, as far as its selector or its targets say."""
    targets = spec.target_refs or ((spec.target_ref,) if spec.target_ref is not None else ())
    if not targets:
        return selects(spec.selector, workload.labels)
    # Only gateways of the Gateway API and waypoints are targets: asked of Istio 1.31, also for what is a sidecar.
    gateway = workload.labels.get(_GATEWAY_NAME)
    if gateway is None or namespace != workload.namespace:
        return False
    return any(_is_gateway(target, namespace) and target.name == gateway for target in targets)


def _is_gateway(target: PolicyTargetReference, namespace: str) -> bool:
    return target.kind == "Gateway" and target.group == _GROUP and target.namespace in (None, "", namespace)


def selects(selector: TypeWorkloadSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether a selector is about a workload with these labels; none at all is about everything."""
    return selector is None or selector.match_labels.items() <= labels.items()
