"""The Kubernetes Gateway API: selectors that do not reach its pods, and versions that are too old.

Istio 1.31: analyzers/k8sgateway.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib._analyze.report import Reporter
from meshlib._analyze.view import View

__all__ = ["analyze_crd_versions", "analyze_gateway_selectors"]

_NAME: Final = "gateway.networking.k8s.io/gateway-name"
_POLICIES: Final = ("AuthorizationPolicy", "RequestAuthentication", "Telemetry", "WasmPlugin")
_CRD_GROUP: Final = "apiextensions.k8s.io"
_BUNDLE: Final = "gateway.networking.k8s.io/bundle-version"
_MINIMUM: Final = {
    "grpcroutes.gateway.networking.k8s.io": (1, 1, 0),
    "backendtlspolicies.gateway.networking.k8s.io": (1, 4, 0),
    "tlsroutes.gateway.networking.k8s.io": (1, 5, 0),
    "tcproutes.gateway.networking.k8s.io": (1, 6, 0),
}
_VERSION: Final = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?\Z")


def analyze_gateway_selectors(view: View, report: Reporter) -> None:
    """Policies that select the pods of a Kubernetes Gateway, which listens to ``targetRefs`` only."""
    for kind in _POLICIES:
        for item in view.all(kind):
            selector = item.spec.node("selector")
            if item.spec.node("targetRef") or not selector:
                continue
            for pod in view.pods.matching(selector.labels("matchLabels"), item.namespace):
                if _NAME in pod.labels:
                    report.add("IST0166", item, pod.labels[_NAME], show=selector.path)


def analyze_crd_versions(view: View, report: Reporter) -> None:
    """Kinds of the Gateway API in a version that Istio does not process."""
    for item in view.all("CustomResourceDefinition", _CRD_GROUP):
        minimum = _MINIMUM.get(item.name)
        written = _VERSION.match(item.annotations.get(_BUNDLE, ""))
        if minimum is None or written is None:
            continue
        installed = tuple(int(part or 0) for part in written.groups()[:3])
        if installed < minimum:
            shown = ".".join(map(str, installed)) + (written[4] or "") + (written[5] or "")
            report.add("IST0176", item, item.name, shown, ".".join(map(str, minimum)))
