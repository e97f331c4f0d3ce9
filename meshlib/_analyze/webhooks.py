"""Admission webhooks of Istio: overlaps, missing services, addresses (analyzers/webhook, externalcontrolplane)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from itertools import product
from typing import Final
from urllib.parse import urlsplit

from meshlib._analyze.label_selectors import selects
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, View

__all__ = ["analyze_addresses", "analyze_webhooks"]

_GROUP: Final = "admissionregistration.k8s.io"
_REVISION: Final = "istio.io/rev"
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INJECTION: Final = ("istio-injection", "enabled", "disabled")
_INJECT: Final = ("sidecar.istio.io/inject", "true", "false")


def analyze_webhooks(view: View, report: Reporter) -> None:
    """Injectors that would both act on a pod, and ones whose service is not there."""
    hooks: list[tuple[Item, Node]] = []
    revisions: dict[str, None] = {}
    for item in view.all("MutatingWebhookConfiguration", _GROUP):
        found = list(_revisions(item))
        if found or any(hook.text("name").endswith("istio.io") for hook in item.top.items("webhooks")):
            hooks += [(item, hook) for hook in item.top.items("webhooks")]
            revisions.update(dict.fromkeys(found))
    _check_overlaps(hooks, list(revisions), report)
    for item, hook in hooks:
        service = hook.node("clientConfig", "service")
        name = (service.text("namespace"), service.text("name"))
        if service and view.find("Service", name) is None:
            text = f"Injector refers to a control plane service that does not exist: {'/'.join(filter(None, name))}."
            report.add("IST0139", item, text, show=service.path)


def _revisions(item: Item) -> Iterator[str]:
    if _REVISION in item.labels:
        yield item.labels[_REVISION]
    for hook in item.top.items("webhooks"):
        for selector in (hook.node("namespaceSelector"), hook.node("objectSelector")):
            labels = selector.labels("matchLabels")
            if _REVISION in labels:
                yield labels[_REVISION]
            for entry in selector.items("matchExpressions"):
                if entry.text("key") == _REVISION:
                    yield from entry.texts("values")


def _check_overlaps(hooks: list[tuple[Item, Node]], revisions: list[str], report: Reporter) -> None:
    """Every combination of labels that injection knows must be acted upon at most once."""
    for space, pod in product(_choices(_INJECTION, revisions), _choices(_INJECT, revisions)):
        acting = {
            f"{item.name}/{hook.text('name')}": item
            for item, hook in hooks
            if selects(hook.node("namespaceSelector"), space) and selects(hook.node("objectSelector"), pod)
        }
        if len(acting) > 1:
            for name, item in acting.items():
                others = " ".join(sorted(set(acting) - {name}))
                text = f"Webhook overlaps with others: [{others}]. This may cause injection to occur twice."
                report.add("IST0139", item, text)


def _choices(label: tuple[str, ...], revisions: list[str]) -> list[dict[str, str]]:
    name, *values = label
    plain: list[dict[str, str]] = [{}, *({name: value} for value in values)]
    return plain + [{**choice, _REVISION: revision} for revision in revisions for choice in plain]


def analyze_addresses(view: View, report: Reporter) -> None:
    """Webhooks of a control plane elsewhere: their URL should have a host name."""
    for kind, prefixes in (
        ("ValidatingWebhookConfiguration", ("istiod-default-validator", "istio-validator")),
        ("MutatingWebhookConfiguration", ("istio-sidecar-injector",)),
    ):
        for item in view.all(kind, _GROUP):
            if _is_named(item.name, prefixes):
                for hook in item.top.items("webhooks"):
                    _check_address(item, hook, report)


def _is_named(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix if prefix.startswith("istiod") else name.startswith(prefix) for prefix in prefixes)


def _check_address(item: Item, hook: Node, report: Reporter) -> None:
    client, name = hook.node("clientConfig"), hook.text("name")
    url, place = client.get("url"), (*client.path, "url")
    if not isinstance(url, str):
        if not client.node("service"):
            report.add("IST0163", item, "", name, "is blank", show=client.path)
        return
    try:
        host = (urlsplit(url).hostname or "") if _ESCAPE.search(url) is None else None
    except ValueError:
        host = None
    if host is None:
        report.add("IST0163", item, url, name, "was provided in an invalid format", show=place)
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    report.add("IST0164", item, url, name, show=place)
