"""Faults where nobody wants them."""

from __future__ import annotations

from fnmatch import fnmatchcase

from meshlib._analyze.hazards.scene import HazardSettings, Scene
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Node

__all__ = ["find_faults"]


def find_faults(scene: Scene, settings: HazardSettings, report: Reporter) -> None:
    """Faults in the namespaces that are production."""
    for item in scene.view.all("VirtualService"):
        if not any(fnmatchcase(item.namespace, pattern) for pattern in settings.production):
            continue
        for rule in item.spec.items("http"):
            for kind in ("delay", "abort"):
                fault = rule.node("fault", kind)
                percent = _percent(fault)
                if fault and percent > 0:
                    text = f"{percent:g} % of the requests get a fault ({kind}) in namespace {item.namespace}"
                    report.hazard("MESH141", item, text, fault.path)


def _percent(fault: Node) -> float:
    """The share of requests; none where nothing is said, as Envoy reads it."""
    if fault.node("percentage"):
        value = fault.node("percentage").get("value")
        return float(value) if isinstance(value, int | float) else 0.0
    return float(fault.number("percent"))
