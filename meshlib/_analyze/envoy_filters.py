"""EnvoyFilter: patches that have no effect, or one that depends on the order. Istio 1.31: analyzers/envoyfilter."""

from __future__ import annotations

from typing import Final

from meshlib._analyze.envoy_messages import MESSAGES
from meshlib._analyze.messages import quoted
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, View
from meshlib.model.base import yaml_name

__all__ = ["analyze_patches"]

_ROUTES: Final = ("ROUTE_CONFIGURATION", "HTTP_ROUTE")
_REPLACEABLE: Final = ("NETWORK_FILTER", "HTTP_FILTER", "VIRTUAL_HOST")


def analyze_patches(view: View, report: Reporter) -> None:
    """All patches, in order: a filter that an earlier one patches for a proxy version is told apart."""
    versioned: set[str] = set()
    for item in view.all("EnvoyFilter"):
        for entry in item.spec.items("configPatches"):
            patch = entry.node("patch")
            if not patch:
                break
            name = _filter_name(entry)
            _check_value(item, entry, report)
            _check_patch(item, entry, "IST0155" if name in versioned else "IST0151", report)
            if entry.node("match", "proxy").text("proxyVersion"):
                versioned.add(name)


def _check_patch(item: Item, entry: Node, relative: str, report: Reporter) -> None:
    """``relative`` is the message about an operation that depends on what other filters do."""
    kind, patch = entry.text("applyTo"), entry.node("patch")
    code = ""
    match patch.text("operation"):
        case "ADD":
            code = "IST0153" if kind in _ROUTES else ""
        case "REMOVE":
            code = "IST0154" if kind in _ROUTES else relative
        case "REPLACE":
            code = relative if kind in _REPLACEABLE else "IST0152"
        case "INSERT_BEFORE" | "INSERT_AFTER":
            code = relative
        case _:
            pass  # ADD of other kinds, MERGE and what Istio does not know depend on nothing
    if code and (code != relative or not item.spec.number("priority")):
        report.add(code, item, at=(*patch.path, "value"), show=(*patch.path, "operation"))


def _check_value(item: Item, entry: Node, report: Reporter) -> None:
    """A field that Envoy does not have (Istio names the first one), or a filter that is only named."""
    value = entry.node("patch", "value")
    message, fields = MESSAGES.get(entry.text("applyTo"), ("", frozenset()))
    if not message or not isinstance(value.value, dict):
        return
    known = {*fields, *map(yaml_name, fields)}
    unknown = min((name for name in value.value if name not in known), default="")
    if unknown:
        text = f"Envoy filter: unknown field {quoted(unknown)} in {message}"
        report.add("IST0133", item, text, show=(*value.path, unknown))
    elif "typed_config" in fields and not any(value.get(name) for name in ("typedConfig", "configDiscovery")):
        text = f"using deprecated types by name without typed_config; {value.text('name')}"
        report.add("IST0133", item, text, show=value.path)


def _filter_name(entry: Node) -> str:
    """The filter that a patch brings, else the one that it matches; nothing if the patch has no value."""
    value = entry.node("patch", "value")
    if not isinstance(value.value, dict) or not value.value:
        return ""
    if value.get("name") is not None:
        return f"string_value:{value.get('name')}"
    return entry.node("match", "listener", "filterChain", "filter").text("name")
