"""Sidecar and Telemetry: each workload should have one of them, and each of them a workload.

Istio 1.31: analyzers/sidecar, analyzers/telemetry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from meshlib._analyze.report import Reporter, selector_text
from meshlib._analyze.view import Item, View

__all__ = ["analyze_providers", "analyze_sidecars", "analyze_telemetries", "is_ambient_pod"]

_REDIRECTION: Final = "ambient.istio.io/redirection"
_MODE: Final = "istio.io/dataplane-mode"


def is_ambient_pod(pod: Item) -> bool:
    """Whether a node proxy takes the connections of the pod, so that it has no sidecar."""
    return pod.annotations.get(_REDIRECTION) == "enabled"


def _is_ambient_namespace(namespace: Item | None) -> bool:
    labels = namespace.labels if namespace is not None else {}
    if labels.get("istio-injection") == "enabled" or labels.get("istio.io/rev"):
        return False  # then its pods have sidecars
    return labels.get(_MODE) == "ambient"


def analyze_sidecars(view: View, report: Reporter) -> None:
    """Sidecars that select the same pod, or none, or that stand beside another without selector."""
    by_namespace: dict[str, list[Item]] = {}
    chosen = []
    for item in view.all("Sidecar"):
        labels = item.spec.node("workloadSelector").labels("labels")
        if labels:
            chosen.append((item, labels))
        else:
            by_namespace.setdefault(item.namespace, []).append(item)
    ineffective: set[str] = set()
    for pod, items in _by_pod(view, chosen, ("spec", "workloadSelector", "labels"), report):
        names = sorted(item.name for item in items)
        for item in items:
            if is_ambient_pod(pod):
                _add_ineffective(item, "selected workload", ineffective, report)
            elif len(items) > 1:
                report.add("IST0110", item, names, pod.namespace, pod.name, at=("metadata", "name"))
    _check_namespaces(view, by_namespace, ineffective, report)


def _check_namespaces(
    view: View, by_namespace: Mapping[str, list[Item]], ineffective: set[str], report: Reporter
) -> None:
    for namespace, items in by_namespace.items():
        names = sorted(item.name for item in items)
        for item in items:
            if _is_ambient_namespace(view.namespaces.get(namespace)):
                _add_ineffective(item, "namespace", ineffective, report)
            elif len(items) > 1:
                report.add("IST0111", item, names, namespace)


def _add_ineffective(item: Item, subject: str, reported: set[str], report: Reporter) -> None:
    """At most once for a Sidecar."""
    if item.full_name not in reported:
        reported.add(item.full_name)
        report.add("IST0167", item, f"{subject} is in ambient mode, the policy has no impact")


def analyze_telemetries(view: View, report: Reporter) -> None:
    """As for Sidecars; an empty selector is neither a choice nor its absence."""
    by_namespace: dict[str, list[Item]] = {}
    chosen = []
    for item in view.all("Telemetry"):
        selector = item.spec.node("selector")
        labels = selector.labels("matchLabels")
        if labels:
            chosen.append((item, labels))
        elif not selector:
            by_namespace.setdefault(item.namespace, []).append(item)
    for pod, items in _by_pod(view, chosen, ("spec", "selector", "matchLabels"), report):
        names = sorted(item.name for item in items)
        if len(items) > 1:
            for item in items:
                report.add("IST0159", item, names, pod.namespace, pod.name, at=("metadata", "name"))
    for namespace, items in by_namespace.items():
        names = sorted(item.name for item in items)
        if len(items) > 1:
            for item in items:
                report.add("IST0160", item, names, namespace)


def _by_pod(
    view: View, chosen: Sequence[tuple[Item, Mapping[str, str]]], place: tuple[str, ...], report: Reporter
) -> list[tuple[Item, list[Item]]]:
    """The pods with those that select them; one that selects none is reported."""
    pods: dict[tuple[str, str], tuple[Item, list[Item]]] = {}
    for item, labels in chosen:
        found = list(view.pods.matching(labels, item.namespace))
        if not found:
            report.add("IST0101", item, "selector", selector_text(labels), at=(*place, min(labels)))
        for pod in found:
            pods.setdefault(pod.key, (pod, []))[1].append(item)
    return list(pods.values())


def analyze_providers(view: View, report: Reporter) -> None:
    """Access logging without any provider, and tracing by one that is deprecated."""
    defaults = view.mesh.default_providers
    lightstep = {provider.name for provider in view.mesh.extension_providers if provider.lightstep is not None}
    for item in view.all("Telemetry"):
        if defaults is None or not defaults.access_logging:
            for entry in item.spec.items("accessLogging"):
                if not entry.flag("disabled") and not entry.items("providers"):
                    report.add("IST0157", item, item.name, item.namespace, show=entry.path)
        for entry in item.spec.items("tracing"):
            for provider in entry.items("providers"):
                if provider.text("name") in lightstep:
                    name = provider.text("name")
                    text = f"The Lightstep provider {name} is deprecated, please migrate to OpenTelemetry provider."
                    report.add("IST0002", item, text, show=(*provider.path, "name"))
