"""Istio's annotations: which there are, what they may stand on, and what their values must be.

Istio 1.31: analyzers/annotations, the annotations of istio.io/api, pkg/kube/inject/validate.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshlib._analyze.annotation_values import value_problem
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, View

__all__ = ["analyze_annotations"]

_KNOWN: Final = (
    (
        ("Any",),
        """
        galley.istio.io/analyze-suppress
        gateway.istio.io/controller-version
    """,
    ),
    (
        ("AuthorizationPolicy",),
        """
        istio.io/dry-run
    """,
    ),
    (
        ("Gateway",),
        """
        gateway.istio.io/name-override
        gateway.istio.io/service-account
        networking.istio.io/service-type
    """,
    ),
    (
        ("GatewayClass", "Gateway"),
        """
        ambient.istio.io/waypoint-inbound-binding
    """,
    ),
    (
        ("Ingress",),
        """
        kubernetes.io/ingress.class
    """,
    ),
    (
        ("Namespace",),
        """
        topology.istio.io/controlPlaneClusters
    """,
    ),
    (
        ("Namespace", "Service", "ServiceEntry"),
        """
        networking.istio.io/traffic-distribution
    """,
    ),
    (
        ("Pod",),
        """
        ambient.istio.io/bypass-inbound-capture
        ambient.istio.io/dns-capture
        ambient.istio.io/redirection
        inject.istio.io/templates
        istio.io/reroute-virtual-interfaces
        istio.io/rev
        prometheus.istio.io/merge-metrics
        proxy.istio.io/config
        proxy.istio.io/overrides
        readiness.status.sidecar.istio.io/applicationPorts
        readiness.status.sidecar.istio.io/failureThreshold
        readiness.status.sidecar.istio.io/initialDelaySeconds
        readiness.status.sidecar.istio.io/periodSeconds
        sidecar.istio.io/agentLogLevel
        sidecar.istio.io/bootstrapOverride
        sidecar.istio.io/componentLogLevel
        sidecar.istio.io/interceptionMode
        sidecar.istio.io/logLevel
        sidecar.istio.io/nativeSidecar
        sidecar.istio.io/proxyCPU
        sidecar.istio.io/proxyCPULimit
        sidecar.istio.io/proxyImage
        sidecar.istio.io/proxyImageType
        sidecar.istio.io/proxyMemory
        sidecar.istio.io/proxyMemoryLimit
        sidecar.istio.io/rewriteAppHTTPProbers
        sidecar.istio.io/statsEvictionInterval
        sidecar.istio.io/statsFlushInterval
        sidecar.istio.io/statsHistogramBins
        sidecar.istio.io/statsHistogramBuckets
        sidecar.istio.io/status
        sidecar.istio.io/userVolume
        sidecar.istio.io/userVolumeMount
        status.sidecar.istio.io/port
        traffic.sidecar.istio.io/excludeInboundPorts
        traffic.sidecar.istio.io/excludeInterfaces
        traffic.sidecar.istio.io/excludeOutboundIPRanges
        traffic.sidecar.istio.io/excludeOutboundPorts
        traffic.sidecar.istio.io/includeInboundPorts
        traffic.sidecar.istio.io/includeOutboundIPRanges
        traffic.sidecar.istio.io/includeOutboundPorts
    """,
    ),
    (
        ("Pod",),
        """
        sidecar.istio.io/discoveryAddress
        sidecar.istio.io/extraStatTags
        sidecar.istio.io/inject
        sidecar.istio.io/statsCompression
        sidecar.istio.io/statsInclusionPrefixes
        sidecar.istio.io/statsInclusionRegexps
        sidecar.istio.io/statsInclusionSuffixes
        traffic.sidecar.istio.io/kubevirtInterfaces
    """,
    ),
    (
        ("Service",),
        """
        networking.istio.io/exportTo
        traffic.istio.io/nodeSelector
    """,
    ),
    (
        ("Service",),
        """
        alpha.istio.io/canonical-serviceaccounts
        alpha.istio.io/kubernetes-serviceaccounts
    """,
    ),
    (
        ("Service", "ServiceEntry", "Namespace"),
        """
        istio.io/use-waypoint-canary-weight
    """,
    ),
    (
        ("WorkloadEntry",),
        """
        istio.io/autoRegistrationGroup
        istio.io/connectedAt
        istio.io/disconnectedAt
        istio.io/workloadController
    """,
    ),
)
"""Kinds, and the annotations that belong there."""

_DEPRECATED: Final = frozenset(
    """
    alpha.istio.io/canonical-serviceaccounts
    alpha.istio.io/kubernetes-serviceaccounts
    sidecar.istio.io/discoveryAddress
    sidecar.istio.io/extraStatTags
    sidecar.istio.io/inject
    sidecar.istio.io/statsCompression
    sidecar.istio.io/statsInclusionPrefixes
    sidecar.istio.io/statsInclusionRegexps
    sidecar.istio.io/statsInclusionSuffixes
    traffic.sidecar.istio.io/kubevirtInterfaces
    """.split()
)
_SILENT: Final = frozenset({"sidecar.istio.io/status", "gateway.istio.io/controller-version", "istio.io/rev"})
"""What Istio writes by itself."""

_INJECT: Final = "sidecar.istio.io/inject"
_KINDS: Final[Mapping[str, tuple[str, ...]]] = {name: kinds for kinds, names in _KNOWN for name in names.split()}


def analyze_annotations(view: View, report: Reporter) -> None:
    """Annotations of Istio on namespaces, Services, pods and Deployments."""
    for kind in ("Namespace", "Service", "Pod", "Deployment"):
        for item in view.all(kind):
            for name, value in item.annotations.items():
                if _is_ours(name) and name not in _SILENT:
                    _check(item, name, value, report)


def _is_ours(name: str) -> bool:
    return name == "kubernetes.io/ingress.class" or name.partition("/")[0].endswith("istio.io")


def _check(item: Item, name: str, value: str, report: Reporter) -> None:
    show = ("metadata", "annotations", name)
    kinds = _KINDS.get(name)
    if kinds is None:
        report.add("IST0108", item, name, show=show)
        return
    if name in _DEPRECATED and not (name == _INJECT and _INJECT in item.labels):
        extra = f' in favor of the "{_INJECT}" label' if name == _INJECT else ""
        report.add("IST0135", item, name, extra, show=show)
    if "Any" in kinds:
        return
    if item.kind not in kinds:
        report.add("IST0107", item, name, ", ".join(kinds), show=show)
        return
    problem = value_problem(name, value)
    if problem:
        report.add("IST0125", item, name, problem, show=show)
