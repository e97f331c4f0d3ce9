"""Sidecar injection: namespaces and pods that have it, or should. Istio 1.31: analyzers/injection, util/in_mesh.go."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from meshlib._analyze.label_selectors import selects
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, View

__all__ = ["analyze_auto_images", "analyze_images", "analyze_injection", "is_in_mesh", "is_pod_in_mesh"]

_PROXY: Final = "istio-proxy"
_INJECTION: Final = "istio-injection"
_REVISION: Final = "istio.io/rev"
_MODE: Final = "istio.io/dataplane-mode"
_INJECT: Final = "sidecar.istio.io/inject"
_CONFIG_MAP: Final = "istio-sidecar-injector"
_WEBHOOKS: Final = "admissionregistration.k8s.io"


def is_pod_in_mesh(view: View, pod: Item) -> bool:
    """Whether a pod has a sidecar, or will get one."""
    containers = [*pod.spec.items("containers"), *pod.spec.items("initContainers")]
    return is_in_mesh(view, pod.namespace, pod.labels, pod.annotations, containers)


def is_in_mesh(
    view: View, namespace: str, labels: Mapping[str, str], annotations: Mapping[str, str], containers: list[Node]
) -> bool:
    """The container decides, then the label, the annotation, and the label of the namespace."""
    if _proxy_image(containers):
        return True
    for choice in (labels, annotations):
        if _INJECT in choice:
            return choice[_INJECT] == "true"
    home = view.namespaces.get(namespace)
    return home is not None and home.labels.get(_INJECTION) == "enabled"


def _proxy_image(containers: list[Node]) -> str:
    return next((container.text("image") for container in containers if container.text("name") == _PROXY), "")


def analyze_injection(view: View, report: Reporter) -> None:
    """Namespaces that say nothing or too much about injection, and pods that it missed."""
    injected = set()
    for item in view.all("Namespace"):
        if item.name == "istio-system":
            continue
        _check_labels(item, report)
        label = item.labels.get(_INJECTION, "")
        if item.labels.get(_MODE) == "ambient":
            continue
        if not label and _REVISION not in item.labels:
            if _is_default(view, ""):
                report.add("IST0148", item)
            else:
                report.add("IST0102", item, item.name, item.name, at=("metadata", "name"))
        elif label == "enabled":
            injected.add(item.name)
    for pod in view.pods.all:
        choice = pod.labels.get(_INJECT, pod.annotations.get(_INJECT, ""))
        if pod.namespace not in injected or choice.lower() == "false" or pod.spec.flag("hostNetwork"):
            continue
        if not _proxy_image([*pod.spec.items("containers"), *pod.spec.items("initContainers")]):
            report.add("IST0103", pod, pod.full_name)


def _check_labels(item: Item, report: Reporter) -> None:
    label = item.labels.get(_INJECTION)
    found = [] if label is None else [f"{_INJECTION}={label}"]
    if label in (None, "enabled"):
        found += [f"{name}={item.labels[name]}" for name in (_REVISION, _MODE) if name in item.labels]
    if len(found) > 1:
        report.add("IST0123", item, found)


def _injectors(view: View) -> Iterator[tuple[str, Node]]:
    """The values that each injector was installed with, by the name of its ConfigMap."""
    for item in view.all("ConfigMap"):
        if item.name.startswith(_CONFIG_MAP):
            try:
                values = json.loads(item.top.node("data").text("values"))
            except ValueError:
                values = None
            yield item.name, Node(values, ())


def _is_default(view: View, revision: str) -> bool:
    """Whether namespaces without label are injected too."""
    name = _map_name(revision)
    return any(
        values.node("sidecarInjectorWebhook").flag("enableNamespacesByDefault")
        for found, values in _injectors(view)
        if found == name
    )


def _map_name(revision: str) -> str:
    return _CONFIG_MAP if revision in ("", "default") else f"{_CONFIG_MAP}-{revision}"


# -- images ----------------------------------------------------------------------------------------


def analyze_images(view: View, report: Reporter) -> None:
    """Pods whose sidecar is of another version than the injector would give them now."""
    images = {name: _image(values) for name, values in _injectors(view)}
    mismatched: dict[str, list[str]] = {}
    for pod in view.pods.all:
        home = view.namespaces.get(pod.namespace)
        if home is None or pod.annotations.get("sidecar.istio.io/proxyImage"):
            continue
        if _REVISION not in home.labels and home.labels.get(_INJECTION) != "enabled":
            continue
        expected = images.get(_map_name(home.labels.get(_REVISION, "default")))
        if expected is None:
            continue
        accepted = (expected, f"{expected}-{_variant(view, pod)}")
        for container in [*pod.spec.items("containers"), *pod.spec.items("initContainers")]:
            if container.text("name") == _PROXY and container.text("image") not in accepted:
                mismatched.setdefault(home.name, []).append(pod.name)
    for namespace, names in mismatched.items():
        report.add("IST0158", view.namespaces[namespace], sorted(names))


def _image(values: Node) -> str:
    settings = values.node("global")
    image = settings.node("proxy").text("image")
    return image if "/" in image else f"{settings.text('hub')}/{image}:{settings.text('tag')}"


def _variant(view: View, pod: Item) -> str:
    """The image type (``distroless`` …): of the mesh, its root namespace, the namespace, the workload."""
    mesh = view.mesh.default_config
    found = mesh.image.image_type or "" if mesh is not None and mesh.image is not None else ""
    root = view.mesh.root_namespace or "istio-system"
    levels: list[list[str]] = [[], [], []]
    for item in view.all("ProxyConfig"):
        labels = item.spec.node("selector").labels("matchLabels")
        kind = item.spec.node("image").text("imageType")
        if item.namespace == root:
            levels[0].append(kind)
        elif item.namespace == pod.namespace and labels.items() <= pod.labels.items():
            levels[2 if item.spec.node("selector") else 1].append(kind)
    for level in levels:
        found = next(filter(None, reversed(level)), found)
    return "" if found == "default" else found


def analyze_auto_images(view: View, report: Reporter) -> None:
    """``image: auto`` that no injector replaces."""
    hooks = [
        hook
        for item in view.all("MutatingWebhookConfiguration", _WEBHOOKS)
        for hook in item.top.items("webhooks")
        if hook.text("name").endswith("istio.io")
    ]
    for pod in view.pods.all:
        if _is_auto(pod.spec):
            report.add("IST0147", pod, "Pod", pod.name)
    for item in view.all("Deployment"):
        template = item.spec.node("template")
        if not _is_auto(template.node("spec")):
            continue
        home = view.namespaces.get(item.namespace)
        labels = home.labels if home is not None else {}
        workload = template.node("metadata").labels("labels")
        if not any(
            selects(hook.node("namespaceSelector"), labels) and selects(hook.node("objectSelector"), workload)
            for hook in hooks
        ):
            report.add("IST0146", item, "Deployment", item.name)


def _is_auto(spec: Node) -> bool:
    return any(one.text("name") == _PROXY and one.text("image") == "auto" for one in spec.items("containers"))
