"""Conditions in the status of objects that say no. Istio 1.31: analyzers/conditions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, View

__all__ = ["analyze_conditions"]

_GATEWAY_API: Final = "gateway.networking.k8s.io"
_WAYPOINT: Final = frozenset({"istio.io/WaypointBound"})
_ROUTE: Final = frozenset({"Accepted", "Programmed", "ResolvedRefs"})
_NEGATIVE: Final = (
    ("Service", None, _WAYPOINT),
    ("ServiceEntry", None, _WAYPOINT),
    ("WorkloadEntry", None, _WAYPOINT),
    ("AuthorizationPolicy", None, frozenset({"ZtunnelAccepted", "WaypointAccepted"})),
    ("Gateway", _GATEWAY_API, _ROUTE),
    ("HTTPRoute", _GATEWAY_API, _ROUTE),
    ("GRPCRoute", _GATEWAY_API, _ROUTE),
)


def analyze_conditions(view: View, report: Reporter) -> None:
    """What controllers wrote into the objects."""
    for kind, group, negative in _NEGATIVE:
        for item in view.all(kind, group):
            for condition in _conditions(item):
                name, reason = condition.text("type"), condition.text("reason")
                is_partial = kind == "AuthorizationPolicy" and (name, reason) == (
                    "WaypointAccepted",
                    "PartiallyInvalid",
                )
                if (name in negative and condition.text("status") == "False") or is_partial:
                    report.add("IST0171", item, name, reason, condition.text("message"), show=condition.path)


def _conditions(item: Item) -> Iterator[Node]:
    status = item.top.node("status")
    if item.kind in ("HTTPRoute", "GRPCRoute"):
        for parent in status.items("parents"):
            yield from parent.items("conditions")
    else:
        yield from status.items("conditions")
