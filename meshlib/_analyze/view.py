"""What the analyzers look at: every object of a configuration, by kind and name, with the place of each part.

Analyzers read the values as they are written, not the typed models: an object that breaks
a rule is still an object that others refer to, and what is said about it needs its line.
Absent, null and of another type than expected all read as the empty value, as they do in
the protobuf messages that Istio's analyzers read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from typing import Any, Final, TypeAlias

from meshlib._config.document import Document
from meshlib.model.kinds import KINDS, Kind, kind_named
from meshlib.model.mesh_config import MeshConfig

__all__ = ["Item", "Name", "Node", "Path", "View", "view_of"]

Path: TypeAlias = "tuple[str | int, ...]"
Name: TypeAlias = "tuple[str, str]"
"""Namespace and name."""

_IGNORED_NAMESPACES: Final = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})
_CLUSTER_WIDE: Final = frozenset(
    {"CustomResourceDefinition", "GatewayClass", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
)


class Node:
    """A part of an object: its value, and the path to it from the top of the document."""

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: Path) -> None:
        self.value = value
        self.path = path

    def __bool__(self) -> bool:
        """Whether the part is there."""
        return self.value is not None

    def get(self, name: str) -> Any:
        """The value of a field under its YAML name, or in snake case, as protobuf JSON also has it."""
        value = self.value
        if not isinstance(value, dict):
            return None
        found = value.get(name)
        return found if found is not None or name.islower() else value.get(_snake(name))

    def node(self, *names: str) -> Node:
        """The part at the end of a path of fields."""
        node = self
        for name in names:
            node = Node(node.get(name), (*node.path, name))
        return node

    def text(self, name: str) -> str:
        """A string, empty if there is none."""
        found = self.get(name)
        return found if isinstance(found, str) else ""

    def number(self, name: str) -> int:
        """A whole number, 0 if there is none; protobuf JSON takes it in quotes too."""
        found = self.get(name)
        if isinstance(found, str) and found.lstrip("-").isdigit():
            return int(found)
        return int(found) if isinstance(found, int | float) else 0

    def flag(self, name: str) -> bool:
        """A boolean, False if there is none."""
        return self.get(name) is True

    def items(self, name: str) -> list[Node]:
        """The items of a list, without those that are null."""
        found = self.get(name)
        if not isinstance(found, list):
            return []
        path = (*self.path, name)
        return [Node(item, (*path, index)) for index, item in enumerate(found) if item is not None]

    def texts(self, name: str) -> list[str]:
        """The strings of a list."""
        found = self.get(name)
        return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []

    def labels(self, name: str) -> dict[str, str]:
        """A map of strings."""
        return _labels(self.get(name))

    def __repr__(self) -> str:
        return f"<Node {'.'.join(map(str, self.path))}>"


class Item:
    """One object. ``namespace`` is empty for what belongs to the whole cluster.

    ``is_placed``: the namespace was written, or the reader of the file said which one to take.
    """

    __slots__ = ("annotations", "document", "group", "is_placed", "kind", "labels", "name", "namespace", "spec", "top")

    def __init__(self, document: Document, group: str, kind: str, namespace: str, *, is_placed: bool) -> None:
        value = document.value
        self.document = document
        self.group = group
        self.kind = kind
        self.top = Node(value, ())
        metadata = self.top.node("metadata")
        self.name = metadata.text("name")
        self.namespace = namespace
        self.is_placed = is_placed
        self.labels: Mapping[str, str] = metadata.labels("labels")
        self.annotations: Mapping[str, str] = metadata.labels("annotations")
        self.spec = self.top.node("spec")

    @property
    def full_name(self) -> str:
        """``namespace/name``, or the name alone of what has no namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def key(self) -> Name:
        """Namespace and name, to look things up by."""
        return (self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.full_name}"

    def __repr__(self) -> str:
        return f"<Item {self}>"


class View:
    """All objects, and the mesh configuration in force."""

    def __init__(self, items: Iterable[Item], mesh: MeshConfig) -> None:
        self.mesh = mesh
        self._kinds: dict[tuple[str, str], dict[Name, Item]] = {}
        for item in items:
            self._kinds.setdefault((item.group, item.kind), {})[item.key] = item

    def all(self, kind: str, group: str | None = None) -> Iterator[Item]:
        """The objects of a kind in the order in which they were read; ``group`` for kinds that we do not know."""
        return iter(self._of(kind, group).values())

    def find(self, kind: str, name: Name, group: str | None = None) -> Item | None:
        """The object of that namespace and name."""
        return self._of(kind, group).get(name)

    def items(self) -> Iterator[Item]:
        """All objects."""
        for items in self._kinds.values():
            yield from items.values()

    def count(self) -> int:
        """How many objects there are."""
        return sum(map(len, self._kinds.values()))

    @cached_property
    def pods(self) -> Pods:
        """The Pods, to be found by their labels."""
        return Pods(self.all("Pod"))

    @cached_property
    def namespaces(self) -> Mapping[str, Item]:
        """The Namespaces by name."""
        return {item.name: item for item in self.all("Namespace")}

    def _of(self, kind: str, group: str | None) -> Mapping[Name, Item]:
        if group is None:
            known = kind_named(kind)
            group = known.group if known is not None else ""
        return self._kinds.get((group, kind), {})

    def __repr__(self) -> str:
        return f"<View items={self.count()}>"


class Pods:
    """Pods by label. Selectors name few labels, so the rarest of them leaves few pods to compare."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.all = list(items)
        self._by_label: dict[tuple[str, str], list[Item]] = {}
        for pod in self.all:
            for label in pod.labels.items():
                self._by_label.setdefault(label, []).append(pod)

    def matching(self, selector: Mapping[str, str], namespace: str | None = None) -> Iterator[Item]:
        """The pods with all these labels (none: every pod), in ``namespace`` if one is given."""
        candidates = self.all
        if selector:
            candidates = min((self._by_label.get(label, []) for label in selector.items()), key=len)
        for pod in candidates:
            if (namespace is None or pod.namespace == namespace) and selector.items() <= pod.labels.items():
                yield pod


def view_of(documents: Iterable[Document], mesh: MeshConfig, namespace: str = "") -> View:
    """The view of documents; ``namespace`` is that of objects that name none, ``default`` if nobody says."""
    return View(_items(documents, namespace), mesh)


def _items(documents: Iterable[Document], namespace: str) -> Iterator[Item]:
    for document in documents:
        top = Node(document.value, ())
        kind, version = top.text("kind"), top.text("apiVersion")
        group = version.rpartition("/")[0]
        known = KINDS.get((group, kind))
        if not kind or (known is not None and not _is_served(known, version)):
            continue
        home = written = ""
        if known.namespaced if known is not None else kind not in _CLUSTER_WIDE:
            written = top.node("metadata").text("namespace") or namespace
            home = written or "default"
        item = Item(document, group, kind, home, is_placed=bool(written))
        if (item.name if kind == "Namespace" else home) not in _IGNORED_NAMESPACES:
            yield item


def _is_served(kind: Kind, version: str) -> bool:
    return version.rpartition("/")[2] in kind.versions


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}


@cache
def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
