"""Mesh networks (ConfigMap ``istio``, key ``meshNetworks``). Istio 1.31: analyzers/multicluster/meshnetworks.go."""

from __future__ import annotations

from typing import Any, Final

from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, View
from meshlib._config.reader import read
from meshlib.diagnostics import Finding

__all__ = ["analyze_networks"]

_REGISTRIES: Final = frozenset({"Mock", "Kubernetes", "External"})
_REMOTE: Final = "istio/multiCluster"
_KEY: Final = "meshNetworks"


def analyze_networks(view: View, report: Reporter) -> None:
    """Endpoints that come from a registry that nobody knows: the clusters of remote secrets count too."""
    known = set(_REGISTRIES)
    for secret in view.all("Secret"):
        if secret.labels.get(_REMOTE) == "true":
            known.update(secret.top.node("data").value or ())
    for item in view.all("ConfigMap"):
        if item.name == "istio":
            _check_networks(item, known, report)


def _check_networks(item: Item, known: set[str], report: Reporter) -> None:
    networks = Node(_embedded(item), ()).node("networks")
    for name in networks.value if isinstance(networks.value, dict) else ():
        for endpoint in networks.node(name).items("endpoints"):
            registry = endpoint.text("fromRegistry")
            if registry and registry not in known:
                report.add("IST0126", item, registry, name, show=("data", _KEY))


def _embedded(item: Item) -> Any:
    problems: list[Finding] = []
    text = item.top.node("data").text(_KEY)
    return next((document.value for document in read(text, item.document.file, problems)), None)
