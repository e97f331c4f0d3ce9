"""``metadata`` of a document: strict types, as Kubernetes has them, and no opinion about fields it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from meshlib._config.check import Problem, check
from meshlib.model.base import Json
from meshlib.model.resource import Metadata
from meshlib.model.shapes import shape_of

__all__ = ["read_metadata"]

_USUAL: Final = frozenset({"name", "namespace", "labels", "annotations"})
_NOTHING: Final = Metadata()


class _ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The fields of ObjectMeta whose type Kubernetes checks; null means absent."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    self_link: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str | None] | None = None
    annotations: dict[str, str | None] | None = None
    finalizers: tuple[str | None, ...] | None = None
    owner_references: tuple[dict[str, Json] | None, ...] | None = None
    managed_fields: tuple[dict[str, Json] | None, ...] | None = None


for _cls in (Metadata, _ObjectMeta):
    msgspec.json.Decoder(_cls)  # collects its types while nobody else can: two threads at once would crash msgspec


def read_metadata(raw: Any, kind: str) -> tuple[Metadata, list[Problem]]:
    """The metadata, and what is wrong with it."""
    if raw is None:
        return _NOTHING, []
    try:
        metadata = msgspec.convert(raw, Metadata)
        if not raw.keys() <= _USUAL:
            msgspec.convert(raw, _ObjectMeta)
    except msgspec.ValidationError as error:
        return _read_slowly(raw, kind, error)
    return metadata, []


def _read_slowly(raw: Any, kind: str, error: msgspec.ValidationError) -> tuple[Metadata, list[Problem]]:
    """Nulls count as absent, also as values of labels; everything else msgspec refused is a problem."""
    problems = check(raw, shape_of(_ObjectMeta), ("metadata",), kind)
    if problems:
        return _best_effort(raw), problems
    cleaned = {name: _without_nulls(value) for name, value in raw.items() if value is not None}
    try:
        return msgspec.convert(cleaned, Metadata), []
    except msgspec.ValidationError as again:
        error = again
    path = ("metadata", "creationTimestamp") if "creationTimestamp" in str(error) else ("metadata",)
    return _best_effort(raw), [Problem("MESH026", path, str(error).partition(" - at")[0], "write it as in RFC 3339")]


def _without_nulls(value: Any) -> Any:
    return {name: part or "" for name, part in value.items()} if isinstance(value, Mapping) else value


def _best_effort(raw: Any) -> Metadata:
    """Name and namespace as far as they can be read, for messages."""
    if not isinstance(raw, Mapping):
        return _NOTHING
    name, namespace = (value if isinstance(value := raw.get(key), str) else "" for key in ("name", "namespace"))
    return Metadata(name=name, namespace=namespace)
