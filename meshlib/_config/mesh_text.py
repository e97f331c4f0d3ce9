"""MeshConfig, wherever it stands: in ConfigMap ``istio``, or as a document of its own.

Istio reads it as protobuf JSON, which takes more than the API server does: names in
``snake_case``, null for absent, numbers in quotes. All of that is turned into the
usual form first. Unknown fields, which Istio only logs, and constants by number are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from meshlib._config.codes import finding
from meshlib._config.document import Document
from meshlib._config.reader import read
from meshlib.diagnostics import Finding
from meshlib.model.base import yaml_name
from meshlib.model.kinds import KINDS, spec_class
from meshlib.model.shapes import Many, Scalar, Shape, Struct, Table, shape_of

__all__ = ["Embedded", "Located", "embedded_mesh_config", "is_mesh_config", "mesh_key", "usual_form", "without_header"]

_MESH: Final = KINDS["", "MeshConfig"]
_KEY: Final = "mesh"
_OTHER_KEY: Final = "meshConfig.yaml"
_HEADER: Final = ("apiVersion", "kind", "metadata")


class Located(Protocol):
    """What decoding needs of a document."""

    @property
    def value(self) -> Any: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    def locate(self, path: Sequence[str | int]) -> tuple[int, int]: ...
    def locate_key(self, path: Sequence[str | int]) -> tuple[int, int]: ...


class Embedded:
    """A document inside a string of another one; places are those of the outer file.

    The text of a block scalar begins one line below its key. How far it is indented
    is not known, so columns are not given.
    """

    def __init__(self, value: Any, inner: Document | None, outer: Located, path: tuple[str, ...]) -> None:
        self.value, self.file = value, outer.file
        self._inner, self._outer, self._path = inner, outer, path

    @property
    def line(self) -> int:
        """The line of the key that holds the text."""
        return self._outer.locate(self._path)[0]

    def locate(self, path: Sequence[str | int]) -> tuple[int, int]:
        """As :meth:`Document.locate`."""
        if self._inner is None or not self.line:
            return self._outer.locate(self._path)
        return (self.line + self._inner.locate(path)[0], 0)

    def locate_key(self, path: Sequence[str | int]) -> tuple[int, int]:
        """As :meth:`Document.locate_key`."""
        if self._inner is None or not self.line:
            return self._outer.locate(self._path)
        return (self.line + self._inner.locate_key(path)[0], 0)


def is_mesh_config(value: Mapping[str, Any]) -> bool:
    """Whether a document without ``apiVersion`` is a MeshConfig: it says so, or has one of its fields."""
    if "apiVersion" in value or "spec" in value:
        return False
    fields = shape_of(spec_class(_MESH)).fields
    return value.get("kind") == "MeshConfig" or (
        "kind" not in value and any(_usual_name(name, fields) in fields for name in value)
    )


def mesh_key(value: Mapping[str, Any]) -> str | None:
    """The key of a ConfigMap under which there is a mesh configuration."""
    data = value.get("data")
    found = (key for key in (_KEY, _OTHER_KEY) if isinstance(data, dict) and isinstance(data.get(key), str))
    return next(found, None)


def embedded_mesh_config(document: Located, resource: str, findings: list[Finding]) -> Embedded | None:
    """The MeshConfig in a ConfigMap that has a :func:`mesh_key`; None if its text cannot be read."""
    key = mesh_key(document.value) or _KEY
    path = ("data", key)
    text = document.value["data"][key]
    line, column = document.locate_key(path)
    if key == _OTHER_KEY:
        message = f"the mesh configuration stands under the key {_OTHER_KEY}"
        note = finding(
            "MESH032", message, file=document.file, line=line, column=column, resource=resource, field=f"data.{key}"
        )
        findings.append(note)
    inside: list[Finding] = []
    inner = next(read(text, document.file, inside), None)
    findings += [dataclasses.replace(note, line=note.line + line, column=0, resource=resource) for note in inside]
    if any(note.level == "error" for note in inside):
        return None
    return Embedded({} if inner is None else inner.value, inner, document, path)


def usual_form(value: Any, shape: Shape | None = None) -> Any:
    """A value of protobuf JSON as the API server would have it."""
    shape = shape_of(spec_class(_MESH)) if shape is None else shape
    match shape:
        case Struct(fields=fields) if isinstance(value, Mapping):
            return {
                (usual := _usual_name(name, fields)): usual_form(part, fields[usual].shape if usual in fields else None)
                if usual in fields
                else part
                for name, part in value.items()
                if part is not None
            }
        case Many(item=item) if isinstance(value, list):
            return [usual_form(part, item) for part in value]
        case Table(value=item) if isinstance(value, Mapping):
            return {name: usual_form(part, item) for name, part in value.items()}
        case Scalar(types=types) if isinstance(value, str) and int in types:
            return _number(value, types)
        case _:
            return value


def without_header(value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a bare MeshConfig document that are not there only to say what it is."""
    return {name: part for name, part in value.items() if name not in _HEADER}


def _usual_name(name: Any, fields: Mapping[str, Any]) -> Any:
    if name in fields or not isinstance(name, str) or "_" not in name:
        return name
    return "meshMTLS" if name == "mesh_mTLS" else yaml_name(name)


def _number(text: str, types: tuple[type, ...]) -> Any:
    for kind in (int, float):
        if kind in types:
            try:
                return kind(text)
            except ValueError:
                continue
    return text
