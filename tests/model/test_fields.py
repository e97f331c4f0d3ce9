"""Every field of Istio's CRDs has a place in the models, of the same type, that keeps its value."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import pytest

from meshlib.model.hooks import decode_hook
from meshlib.model.kinds import kind_named, spec_class
from meshlib.model.scalars import AnyDuration, Base64
from meshlib.model.shapes import Choice, Many, Parsed, Scalar, Shape, Struct, Table, shape_of, walk
from meshlib.model.strings import ExactMatch, PrefixMatch, RegexMatch, StringMatch
from tests.corpus import load_corpus
from tests.model.samples import crd_fields, sample, spec_paths


def as_written(value: object) -> object:
    """A value of one of our types as it could be written."""
    match value:
        case AnyDuration():
            return f"{round(value * 1e9)}ns"
        case ExactMatch(value=text):
            return {"exact": text}
        case PrefixMatch(value=text):
            return {"prefix": text}
        case RegexMatch(value=text):
            return {"regex": text}
        case Base64():
            return base64.b64encode(value).decode("ascii")
        case StringMatch():
            return {}
        case str():
            return str(value)
        case _:
            raise NotImplementedError(f"{type(value).__name__} has no written form")


PATHS = list(spec_paths())
KINDS = list(load_corpus("crds/fields.json")["kinds"])


@cache
def shapes(kind: str) -> Mapping[str, Shape]:
    found = kind_named(kind)
    assert found is not None
    return dict(walk(shape_of(spec_class(found)), "spec"))


def type_of(shape: Shape) -> str:
    match shape:
        case Choice():
            return "string"
        case Parsed(kind=kind):
            return "object" if kind is StringMatch else "string"
        case Scalar(types=types):
            return {str: "string", bool: "boolean"}.get(types[0], "number" if float in types else "integer")
        case Many():
            return "array"
        case _:
            return "object"


def test_all_paths_are_counted() -> None:
    """The corpus has 1,215 paths below spec; a change of it must be seen."""
    assert len(PATHS) == 1215


@pytest.mark.parametrize("kind", KINDS)
def test_every_path_has_a_place_of_its_type(kind: str) -> None:
    """No path is missing, and strings are strings, lists are lists."""
    wrong = {
        path: (field["type"], type_of(shapes(kind)[path]) if path in shapes(kind) else "missing")
        for found, path, field in PATHS
        if found == kind and (path not in shapes(kind) or type_of(shapes(kind)[path]) != field["type"])
    }
    assert wrong == {}


@pytest.mark.parametrize("kind", KINDS)
def test_constants_are_those_of_the_schema(kind: str) -> None:
    """An enum of the schema is a choice of the same constants, and nothing else is a choice."""
    for path, field in crd_fields(kind).items():
        if path.startswith("spec."):
            shape = shapes(kind)[path]
            assert (set(shape.values) if isinstance(shape, Choice) else None) == (
                set(field["enum"]) if "enum" in field else None
            ), path


@pytest.mark.parametrize("kind", KINDS)
def test_null_may_stand_where_the_schema_says_so(kind: str) -> None:
    """Only fields that are nullable in the schema take null."""
    for path, field in crd_fields(kind).items():
        if path.startswith("spec."):
            assert shapes(kind)[path].nullable == bool(field.get("nullable")), path


@pytest.mark.parametrize("kind", KINDS)
def test_required_fields_are_required(kind: str) -> None:
    """A field is required in the model exactly if it is in the schema."""
    for path, shape in shapes(kind).items():
        if isinstance(shape, Struct):
            for name, field in shape.fields.items():
                known = crd_fields(kind).get(f"{path}.{name}")
                if known is not None:
                    assert field.required == known["required"], f"{path}.{name}"


@pytest.mark.parametrize("kind", KINDS)
def test_limits_are_at_least_as_tight(kind: str) -> None:
    """A number or a length that the schema refuses is refused by the model."""
    for path, field in crd_fields(kind).items():
        shape = shapes(kind).get(path)
        if isinstance(shape, Scalar):
            if "minimum" in field:
                assert max(x for x in (shape.least, shape.above) if x is not None) >= field["minimum"], path
            if "maximum" in field:
                assert 0 < (shape.most or 0) <= field["maximum"], path
            if "maxLength" in field:
                assert 0 < (shape.max_length or 0) <= field["maxLength"], path
        if isinstance(shape, Many | Table) and ("maxItems" in field or "maxProperties" in field):
            assert shape.most == field.get("maxItems", field.get("maxProperties")), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_keeps_its_value(kind: str) -> None:
    """A spec with the field is decoded, and the field reads as it was written."""
    found = kind_named(kind)
    assert found is not None
    for name, path, _ in PATHS:
        if name == kind:
            written = sample(kind, path)
            spec = msgspec.convert(written, spec_class(found), dec_hook=decode_hook)
            read = msgspec.to_builtins(spec, enc_hook=as_written)
            assert contained(written, read), (path, written, read)


def contained(written: Any, read: Any) -> bool:
    """Whether all that was written can be read; what is written empty may be absent."""
    match written:
        case dict():
            return all(contained(part, read.get(name, type(part)())) for name, part in written.items())
        case list():
            return len(written) == len(read) and all(map(contained, written, read))
        case _:
            return bool(written == read)
