"""Label selectors of Kubernetes: ``matchLabels`` and ``matchExpressions``."""

from __future__ import annotations

from collections.abc import Mapping

from meshlib._analyze.view import Node

__all__ = ["selects"]


def selects(selector: Node, labels: Mapping[str, str]) -> bool:
    """Whether all of the selector holds; an absent or empty one always does, a malformed one never."""
    if not selector.labels("matchLabels").items() <= labels.items():
        return False
    return all(_holds(entry, labels) for entry in selector.items("matchExpressions"))


def _holds(entry: Node, labels: Mapping[str, str]) -> bool:
    key, values = entry.text("key"), entry.texts("values")
    match entry.text("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return bool(values) and labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False
