"""Routes that an earlier prefix takes all requests from.

Istio compares prefixes with prefixes (IST0131); here exact paths are compared with the
prefixes before them. A prefix matches by letters: ``/api`` takes ``/apis`` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshlib._analyze.hazards.scene import HazardSettings, Scene
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node

__all__ = ["find_shadows"]


def find_shadows(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """All HTTP routes."""
    for item in scene.view.all("VirtualService"):
        _check(item, report)


def _check(item: Item, report: Reporter) -> None:
    prefixes: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for number, rule in enumerate(item.spec.items("http")):
        for match in rule.items("match"):
            exact = match.node("uri").text("exact")
            for length in range(1, len(exact) + 1):
                for earlier, conditions in prefixes.get(exact[:length], ()):
                    if earlier < number and conditions.items() <= _conditions(match).items():
                        text = f"{exact} is taken by the prefix {exact[:length]} of rule {earlier}"
                        report.hazard("MESH149", item, text, (*match.path, "uri", "exact"))
        for match in rule.items("match"):
            prefix = match.node("uri").text("prefix")
            if prefix:
                prefixes.setdefault(prefix, []).append((number, _conditions(match)))


def _conditions(match: Node) -> Mapping[str, Any]:
    """What a match asks for beside the path."""
    value = match.value if isinstance(match.value, dict) else {}
    left_out = ("uri", "name", "statPrefix", "ignoreUriCase")
    return {name: part for name, part in value.items() if name not in left_out and part not in (None, {}, [], "")}
