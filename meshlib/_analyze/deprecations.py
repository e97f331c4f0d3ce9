"""Fields that Istio will drop or has dropped. Istio 1.31: analyzers/deprecation.

Its check for removed kinds never speaks (asked with their definitions in files, 1.31 says nothing).
"""

from __future__ import annotations

from meshlib._analyze.report import Reporter
from meshlib._analyze.view import View

__all__ = ["analyze_deprecations"]


def analyze_deprecations(view: View, report: Reporter) -> None:
    """Whole numbers as percentages of delays, and a proxy that is ignored."""
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
