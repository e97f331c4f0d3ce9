"""Label selectors of Kubernetes: ``matchLabels`` and ``matchExpressions``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from meshlib._analyze.view import Item, Node

__all__ = ["Services", "selects"]


class Services:
    """The Services of each namespace by a label of their selector: pods have few labels, namespaces many Services."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._unselective: dict[str, list[Item]] = {}
        self._by_label: dict[tuple[str, tuple[str, str]], list[Item]] = {}
        for item in items:
            selector = item.spec.labels("selector")
            if selector:
                self._by_label.setdefault((item.namespace, min(selector.items())), []).append(item)
            else:
                self._unselective.setdefault(item.namespace, []).append(item)

    def selecting(self, namespace: str, labels: Mapping[str, str]) -> Iterator[Item]:
        """The Services with a selector that holds for these labels."""
        for label in labels.items():
            for item in self._by_label.get((namespace, label), ()):
                if item.spec.labels("selector").items() <= labels.items():
                    yield item

    def unselective(self, namespace: str) -> list[Item]:
        """The Services without selector, which in Istio's analysis select everything."""
        return self._unselective.get(namespace, [])


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
