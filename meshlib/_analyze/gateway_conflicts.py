"""Gateways that listen for the same hosts at the same port of the same workload.

Istio 1.31: analyzers/gateway (conflictinggateway). Selectors count as the same if they are
equal, or if one is written within the other and a pod has the labels of both. Of several
servers of a Gateway at one port, the last one is what others conflict with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from meshlib._analyze.report import Reporter, selector_text
from meshlib._analyze.view import Item, Node, View

__all__ = ["analyze_conflicts"]

Bindings: TypeAlias = "dict[str, str]"
"""The address that each host is bound to."""


@dataclass(slots=True)
class _Selector:
    """The Gateways of one selector, by port and name."""

    labels: Mapping[str, str]
    ports: dict[int, dict[str, Bindings]] = field(default_factory=dict)


def analyze_conflicts(view: View, report: Reporter) -> None:
    """All Gateways."""
    selectors = _selectors(view)
    related: dict[str, list[_Selector]] = {}
    for item in view.all("Gateway"):
        labels = item.spec.labels("selector")
        text = selector_text(labels)
        if text not in related:
            related[text] = list(_related(view, text, labels, selectors))
        if text and not related[text]:
            report.add("IST0101", item, "selector", text, at=("spec", "selector", min(labels)))
            continue
        for server in item.spec.items("servers"):
            _check_server(item, server, text, related[text], report)


def _selectors(view: View) -> dict[str, _Selector]:
    found: dict[str, _Selector] = {}
    for item in view.all("Gateway"):
        labels = item.spec.labels("selector")
        selector = found.setdefault(selector_text(labels), _Selector(labels))
        for server in item.spec.items("servers"):
            hosts = dict.fromkeys(server.texts("hosts"), server.text("bind"))
            selector.ports.setdefault(server.node("port").number("number"), {})[item.full_name] = hosts
    return {text: selector for text, selector in found.items() if selector.ports}


def _related(
    view: View, text: str, labels: Mapping[str, str], selectors: Mapping[str, _Selector]
) -> Iterator[_Selector]:
    for other, selector in selectors.items():
        if other == text or ((text in other or other in text) and _share_pod(view, labels, selector.labels)):
            yield selector


def _share_pod(view: View, one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    both = {**one, **other}
    if both != {**other, **one}:
        return False  # a label with two values
    return any(True for _ in view.pods.matching(both))


def _check_server(item: Item, server: Node, selector: str, related: list[_Selector], report: Reporter) -> None:
    port, bind, hosts = server.node("port").number("number"), server.text("bind"), server.texts("hosts")
    rivals = {
        name
        for candidate in related
        for name, bindings in candidate.ports.get(port, {}).items()
        if name != item.full_name and any(bindings.get(host) == bind for host in hosts)
    }
    if rivals:
        names = ",".join(sorted(rivals))
        report.add("IST0145", item, names, selector, port, ",".join(hosts), show=(*server.path, "hosts"))
