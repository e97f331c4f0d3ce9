"""AuthorizationPolicy and RequestAuthentication: workloads and namespaces that they are about.

Istio 1.31: analyzers/authz, analyzers/authn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshlib._analyze.injection import is_pod_in_mesh
from meshlib._analyze.report import Reporter, selector_text
from meshlib._analyze.selectors import is_ambient_pod
from meshlib._analyze.view import Item, Pods, View

__all__ = ["analyze_key_fetch", "analyze_policies"]

_ROOT: Final = "istio-system"
_VARIABLE: Final = "BLOCKED_CIDRS_IN_JWKS_URIS"
_SHOWN: Final = 5


def analyze_policies(view: View, report: Reporter) -> None:
    """Policies without workloads, and namespaces in rules that do not exist."""
    governed = Pods(pod for pod in view.pods.all if is_pod_in_mesh(view, pod) or is_ambient_pod(pod))
    inhabited = {pod.namespace for pod in governed.all}
    root = view.mesh.root_namespace or _ROOT
    names = frozenset(view.namespaces)
    for item in view.all("AuthorizationPolicy"):
        selector = item.spec.node("selector")
        labels = selector.labels("matchLabels")
        is_meshwide = item.namespace == root
        if not selector:
            if not is_meshwide and item.namespace not in inhabited:
                report.add("IST0127", item, "")
        elif not any(True for _ in governed.matching(labels, None if is_meshwide else item.namespace)):
            report.add("IST0127", item, selector_text(labels), show=selector.path)
        _check_namespaces(item, names, report)


def _check_namespaces(item: Item, names: frozenset[str], report: Reporter) -> None:
    for rule in item.spec.items("rules"):
        for source in rule.items("from"):
            part = source.node("source")
            for field in ("namespaces", "notNamespaces"):
                for index, name in enumerate(part.texts(field)):
                    if not _exists(name, names):
                        at = (*part.path, "namespaces", index)  # Istio looks both up there
                        report.add("IST0101", item, "namespace", name, at=at, show=(*part.path, field, index))


def _exists(pattern: str, names: frozenset[str]) -> bool:
    """``names`` are in lower case, as those of namespaces always are."""
    if pattern == "*":
        return bool(names)
    if pattern.startswith("*"):
        return any(name.endswith(pattern[1:]) for name in names)
    if pattern.endswith("*"):
        return any(name.startswith(pattern[:-1]) for name in names)
    return pattern.lower() in names


def analyze_key_fetch(view: View, report: Reporter) -> None:
    """A control plane that fetches key sets from anywhere."""
    names = [item.full_name for item in view.all("RequestAuthentication")]
    if not names:
        return
    shown = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        shown += f", and {len(names) - _SHOWN} more"
    for item in view.all("Deployment"):
        if item.labels.get("app") == "istiod" and not any(_variables(item)):
            report.add("IST0175", item, len(names), shown)


def _variables(deployment: Item) -> Iterator[bool]:
    for container in deployment.spec.node("template", "spec").items("containers"):
        for variable in container.items("env"):
            yield variable.text("name") == _VARIABLE and bool(variable.text("value"))
