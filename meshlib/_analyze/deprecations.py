"""Fields and kinds that Istio will drop or has dropped. Istio 1.31: analyzers/deprecation."""

from __future__ import annotations

from typing import Final

from meshlib._analyze.report import Reporter
from meshlib._analyze.view import View

__all__ = ["analyze_deprecations"]

_CRD_GROUP: Final = "apiextensions.k8s.io"
_REMOVED: Final = frozenset({"ClusterRbacConfig", "RbacConfig", "ServiceRole", "ServiceRoleBinding"})


def analyze_deprecations(view: View, report: Reporter) -> None:
    """Whole numbers as percentages of delays, a proxy that is ignored, and kinds that are gone."""
    for item in view.all("VirtualService"):
        for rule in item.spec.items("http"):
            delay = rule.node("fault", "delay")
            if delay.number("percent") > 0:
                text = "HTTPRoute.fault.delay.percent is deprecated; use HTTPRoute.fault.delay.percentage"
                report.add("IST0002", item, text, show=(*delay.path, "percent"))
    for item in view.all("Sidecar"):
        proxy = item.spec.node("outboundTrafficPolicy", "egressProxy")
        if proxy:
            report.add("IST0002", item, "OutboundTrafficPolicy.EgressProxy ignored", show=proxy.path)
    for item in view.all("CustomResourceDefinition", _CRD_GROUP):
        group, kind = item.spec.text("group"), item.spec.node("names").text("kind")
        if group == "rbac.istio.io" and kind in _REMOVED:
            report.add("IST0002", item, f"Custom resource type {group} {kind} is removed")
