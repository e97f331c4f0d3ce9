"""One document of a text: its value and where each part of it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from meshlib._config.codes import finding
from meshlib.diagnostics import Finding

__all__ = ["LINE", "Document", "Mark", "Place", "ValueText", "expand_lists", "resource_label"]


class Mark(Protocol):
    """A position as the YAML parser gives it: both counted from 0."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


LINE: Final = 1 << 20
"""A position made by us is one number, the cheapest to keep: line times this, plus the column."""

# The position tree mirrors the value. A scalar has its bare mark; a collection has
# (mark, children, marks of the keys): children is a dict or a list of places. Marks are
# kept as they come: taking numbers out of the parser's would cost as much time as the
# rest of the builder, and few of them are ever asked for.
Place: TypeAlias = "Mark | int | tuple[Mark | int, dict[str, Place] | list[Place], dict[str, Mark | int] | None]"
Path: TypeAlias = "Sequence[str | int]"
Marks: TypeAlias = "tuple[int, int, dict[str, Any] | list[Any] | None]"


class ValueText(str):
    """The JSON of a value that never was a text, with the value: read without made-up positions."""

    __slots__ = ("value",)

    value: Any

    @classmethod
    def of(cls, value: Any) -> ValueText:
        """From a value of dicts with string keys, lists, strings, finite numbers, booleans and None."""
        text = cls(json.dumps(value, allow_nan=False))
        text.value = value
        return text


class Document:
    """A document as Kubernetes reads it.

    ``value`` holds plain dicts, lists, strings, numbers, booleans and None; parts
    that came by an alias are shared, so never change them. ``line`` is where the
    document's first node stands, counted from 1.
    """

    __slots__ = ("_base", "_place", "file", "value")

    def __init__(self, value: Any, place: Place | None, file: str, base: int = 0) -> None:
        self.value = value
        self.file = file
        self._place = place
        self._base = base + 1

    @property
    def line(self) -> int:
        """The line of the first node, counted from 1; 0 for a document that was no text."""
        return self.locate(())[0]

    def locate(self, path: Path) -> tuple[int, int]:
        """Line and column, from 1, of the deepest node that exists on ``path``; (0, 0) without a text."""
        return self._numbers(self._find(path)[0])

    def locate_key(self, path: Path) -> tuple[int, int]:
        """Like :meth:`locate`, but of the key itself where ``path`` ends at a value of a mapping."""
        place, depth = self._find(path[:-1])
        if path and depth == len(path) - 1 and isinstance(place, tuple) and place[2] is not None:
            mark = place[2].get(path[-1])  # type: ignore[arg-type]  # an index finds no key
            if mark is not None:
                return self._numbers(mark)
        return self.locate(path)

    @property
    def marks(self) -> Marks:
        """The whole position tree as ``(line, column, children)``; children is a dict, a list or None."""
        return self._marks(self._place, {})

    def __repr__(self) -> str:
        return f"<Document {resource_label(self.value) or type(self.value).__name__} {self.file}:{self.line}>"

    def with_value(self, value: Any) -> Document:
        """The same document with parts of its value left out; the places of all others stay."""
        return Document(value, self._place, self.file, self._base - 1)

    def _find(self, path: Path) -> tuple[Place | None, int]:
        place, depth = self._place, 0
        for step in path:
            if not isinstance(place, tuple):
                break
            children = place[1]
            try:
                place = children[step]  # type: ignore[index]  # a step of the wrong type is just not found
            except (KeyError, IndexError, TypeError):
                break
            depth += 1
        return place, depth

    def _numbers(self, place: Place | None) -> tuple[int, int]:
        if place is None:
            return (0, 0)
        mark = place[0] if isinstance(place, tuple) else place
        if isinstance(mark, int):
            return (mark // LINE + self._base, mark % LINE + 1)
        return (mark.line + self._base, mark.column + 1)

    def _marks(self, place: Place | None, seen: dict[int, Marks]) -> Marks:
        if not isinstance(place, tuple):
            return (*self._numbers(place), None)
        if (known := seen.get(id(place))) is not None:
            return known
        children = place[1]
        marks: dict[str, Any] | list[Any]
        if isinstance(children, dict):
            marks = {key: self._marks(child, seen) for key, child in children.items()}
        else:
            marks = [self._marks(child, seen) for child in children]
        seen[id(place)] = result = (*self._numbers(place), marks)
        return result

    def _part(self, value: Any, path: Path) -> Document:
        return Document(value, self._find(path)[0], self.file, self._base - 1)


def expand_lists(document: Document, findings: list[Finding]) -> Iterator[Document]:
    """The resources of a document: itself, or the items of a ``List`` (also of a ``VirtualServiceList`` …).

    What is no mapping is no resource: it becomes a finding. An item without kind
    takes it from its list, as in an answer of the Kubernetes API.
    """
    value = document.value
    if not isinstance(value, dict):
        line, column = document.locate(())
        message = f"this document is {_describe(value)}, not a resource"
        findings.append(finding("MESH014", message, file=document.file, line=line, column=column))
    elif not _is_list(value):
        yield document
    else:
        defaults = _item_defaults(value)
        for index, item in enumerate(value["items"] or ()):
            part = {**defaults, **item} if defaults and isinstance(item, dict) and "kind" not in item else item
            yield from expand_lists(document._part(part, ("items", index)), findings)


def _is_list(value: Mapping[str, Any]) -> bool:
    kind = value.get("kind")
    return isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items", 0), list | None)


def _item_defaults(value: Mapping[str, Any]) -> dict[str, Any]:
    kind = value["kind"].removesuffix("List")
    return {"apiVersion": value["apiVersion"], "kind": kind} if kind and "apiVersion" in value else {}


def _describe(value: object) -> str:
    return {list: "a list", str: "text", bool: "a boolean", type(None): "empty"}.get(type(value), "a number")


def resource_label(value: object) -> str:
    """``Kind namespace/name`` as far as the value has them; empty when it is no resource."""
    if not isinstance(value, Mapping) or not isinstance(kind := value.get("kind"), str):
        return ""
    metadata = value.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(name := metadata.get("name"), str):
        return kind
    namespace = metadata.get("namespace")
    return f"{kind} {namespace}/{name}" if isinstance(namespace, str) and namespace else f"{kind} {name}"
