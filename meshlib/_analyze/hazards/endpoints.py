"""What cannot happen with the endpoints that there are: failover, ejection, answers from an empty subset."""

from __future__ import annotations

from typing import Final

from meshlib._analyze.hazards.scene import HazardSettings, Policy, Scene
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node
from meshlib._compile.hosts import resolve

__all__ = ["find_idle_failovers", "find_idle_outliers", "find_lost_weights"]

_DEFAULT_PERCENT: Final = 10


def find_idle_failovers(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """Locality failover without outlier detection: only ejection tells that a locality is bad."""
    for policy in scene.policies():
        _check_failover(policy.item, policy.node, policy.part("outlierDetection"), report)
        for port in policy.node.items("portLevelSettings"):
            _check_failover(policy.item, port, port.node("outlierDetection"), report)


def _check_failover(item: Item, node: Node, outliers: Node, report: Reporter) -> None:
    settings = node.node("loadBalancer", "localityLbSetting")
    for name in ("failover", "failoverPriority"):
        if settings.get("enabled") is not False and settings.get(name) and not outliers:
            report.hazard("MESH139", item, f"{name} is set, but outlierDetection is not", (*settings.path, name))


def find_idle_outliers(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """Outlier detection that may never eject any of the few endpoints.

    Envoy ejects only while the share of ejected endpoints, with the new one, stays within the limit.
    """
    for policy in scene.policies():
        outliers = policy.node.node("outlierDetection")
        if not outliers:
            continue
        written = outliers.get("maxEjectionPercent")
        percent = (outliers.number("maxEjectionPercent") if written is not None else 0) or _DEFAULT_PERCENT
        count = _count(scene, policy)
        if count and percent * count < 100:
            share = f"{100 / count:.3g} %"
            ones = "the only endpoint" if count == 1 else f"one of {count} endpoints"
            text = f"{ones} is {share}, more than the {percent} % that may be ejected"
            at = (*outliers.path, "maxEjectionPercent") if written is not None else outliers.path
            report.hazard("MESH140", policy.item, text, at)


def _count(scene: Scene, policy: Policy) -> int:
    """How many endpoints a policy is about, as far as they are known."""
    endpoints = scene.endpoints(policy.item.spec.text("host"), policy.item.namespace)
    if policy.subset is None:
        return len(endpoints)
    labels = policy.subset.labels("labels")
    return sum(labels.items() <= endpoint.labels.items() for endpoint in endpoints)


def find_lost_weights(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """Routes to a subset that none of the known endpoints belongs to."""
    for item in scene.view.all("VirtualService"):
        for rule in item.spec.items("http"):
            routes = rule.items("route")
            total = sum(route.number("weight") for route in routes) or 1
            for route in routes:
                weight = route.number("weight") if len(routes) > 1 else total
                if weight > 0:
                    _check_subset(scene, item, route, weight / total, report)


def _check_subset(scene: Scene, item: Item, route: Node, share: float, report: Reporter) -> None:
    destination = route.node("destination")
    host, subset = destination.text("host"), destination.text("subset")
    if not subset:
        return
    labels = _subset_labels(scene, resolve(host, item.namespace), subset)
    endpoints = scene.endpoints(host, item.namespace)
    if labels is None or not endpoints:
        return
    if not any(labels.items() <= endpoint.labels.items() for endpoint in endpoints):
        requests = "every request goes" if share >= 1 else f"{share:.3g} of the requests go"
        wanted = ", ".join(f"{name}={value}" for name, value in labels.items())
        text = f"{requests} to subset {subset}, but none of the {len(endpoints)} endpoints of {host} has {wanted}"
        report.hazard("MESH147", item, text, (*destination.path, "subset"))


def _subset_labels(scene: Scene, host: str, name: str) -> dict[str, str] | None:
    for rule in scene.rules.get(host, ()):
        for subset in rule.spec.items("subsets"):
            if subset.text("name") == name:
                return subset.labels("labels")
    return None
