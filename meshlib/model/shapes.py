"""What a model allows at each place, as data: derived once from the struct types.

msgspec converts in C but stops at the first error. These shapes are what the slower
readers walk instead: the checker that finds all errors, the suggestions, the support
matrix. Nothing here is written by hand, so it cannot disagree with the models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, TypeAlias

import msgspec
from msgspec import inspect

from meshlib.model.hooks import PARSERS
from meshlib.model.scalars import AnyDuration, Base64, Duration, FineDuration
from meshlib.model.strings import StringMatch
from meshlib.model.urls import HttpUrl, ImageUrl

__all__ = [
    "Anything",
    "Choice",
    "Field",
    "Many",
    "Parsed",
    "Scalar",
    "Shape",
    "Struct",
    "Table",
    "shape_of",
    "walk",
]

_EXPECTED: Final[Mapping[type, str]] = {
    Duration: "a duration such as 5s, 1.5s or 1h30m",
    FineDuration: "a duration such as 5s, 1.5s or 1h30m",
    AnyDuration: "a duration such as 5s, 1.5s or 1h30m",
    Base64: "a string in base64",
    StringMatch: "a match: one of exact, prefix or regex",
    HttpUrl: "an http or https URL",
    ImageUrl: "a URL with one of the schemes http, https, oci and file",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, number or boolean with its limits."""

    types: tuple[type, ...]
    nullable: bool = False
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: re.Pattern[str] | None = None
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few constants."""

    values: tuple[str, ...]
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Parsed:
    """A value of one of our own types: durations, base64, string matches."""

    kind: type
    nullable: bool = False

    @property
    def expected(self) -> str:
        """What may be written."""
        return _EXPECTED[self.kind]


@dataclass(frozen=True, slots=True)
class Many:
    """A list."""

    item: Shape
    nullable: bool = False
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A map from strings."""

    key: Scalar
    value: Shape
    nullable: bool = False
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value; ``nullable`` because null is one."""

    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct: its shape, attribute name, and whether it must be there."""

    shape: Shape
    attribute: str
    required: bool


@dataclass(slots=True, eq=False)
class Struct:
    """A message. ``closed`` ones refuse unknown fields, ``has_rules`` ones check their fields against each other."""

    cls: type[msgspec.Struct]
    closed: bool
    has_rules: bool
    nullable: bool = False
    fields: dict[str, Field] = field(default_factory=dict)


Shape: TypeAlias = Scalar | Choice | Parsed | Many | Table | Anything | Struct


@cache
def shape_of(cls: type[msgspec.Struct]) -> Struct:
    """The shape of a struct type. Fields of recursive types refer to one shape."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return _struct(info, nullable=False)


def _struct(info: inspect.StructType, *, nullable: bool) -> Struct:
    cls = info.cls
    shape = Struct(cls, info.forbid_unknown_fields, hasattr(cls, "__post_init__"), nullable)
    for entry in info.fields:
        shape.fields[entry.encode_name] = Field(_shape(entry.type), entry.name, entry.required)
    return shape


def _shape(info: inspect.Type, *, nullable: bool = False, expected: str = "") -> Shape:
    match info:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return _shape(inner, nullable=nullable, expected=(extra or {}).get("description", expected))
        case inspect.UnionType(types=types):
            return _union(types)
        case inspect.StructType():
            return _struct(info, nullable=nullable)
        case inspect.VarTupleType(item_type=item, min_length=least, max_length=most):
            return Many(_shape(item), nullable, least, most)
        case inspect.DictType(key_type=key, value_type=value, min_length=least, max_length=most):
            return Table(_key(key), _shape(value), nullable, least, most)
        case inspect.LiteralType(values=values):
            return Choice(tuple(map(str, values)), nullable)
        case inspect.CustomType(cls=cls) if cls in PARSERS:
            return Parsed(cls, nullable)
        case inspect.AnyType():
            return Anything()
        case _:
            return _scalar(info, nullable=nullable, expected=expected)


def _union(types: tuple[inspect.Type, ...]) -> Shape:
    nullable = any(isinstance(member, inspect.NoneType) for member in types)
    members = [member for member in types if not isinstance(member, inspect.NoneType)]
    if len(members) == 1:
        return _shape(members[0], nullable=nullable)
    return Scalar(tuple(_python_type(member) for member in members), nullable)


def _key(info: inspect.Type) -> Scalar:
    shape = _shape(info)
    return shape if isinstance(shape, Scalar) else Scalar((str,))


def _scalar(info: inspect.Type, *, nullable: bool, expected: str) -> Scalar:
    match info:
        case inspect.IntType(ge=least, le=most, gt=above, lt=below):
            return Scalar((int,), nullable, least, most, above, below, expected=expected)
        case inspect.FloatType(ge=least, le=most, gt=above, lt=below):
            return Scalar((int, float), nullable, least, most, above, below, expected=expected)
        case inspect.StrType(min_length=shortest, max_length=longest, pattern=pattern):
            compiled = None if pattern is None else re.compile(pattern)
            return Scalar(
                (str,), nullable, min_length=shortest, max_length=longest, pattern=compiled, expected=expected
            )
        case _:
            return Scalar((_python_type(info),), nullable)


def _python_type(info: inspect.Type) -> type:
    types: Mapping[type[inspect.Type], type] = {
        inspect.BoolType: bool,
        inspect.IntType: int,
        inspect.FloatType: float,
        inspect.StrType: str,
        inspect.DateTimeType: str,
    }
    return types[type(info)]


def walk(shape: Shape, path: str = "") -> Iterator[tuple[str, Shape]]:
    """Every place below a shape in the path syntax of the field lists: ``a.b[].c``, ``.*`` for any key."""
    yield path, shape
    match shape:
        case Struct(fields=fields):
            for name, entry in fields.items():
                yield from walk(entry.shape, f"{path}.{name}" if path else name)
        case Many(item=item):
            yield from walk(item, f"{path}[]")
        case Table(value=value):
            yield from walk(value, f"{path}.*")
        case Parsed(kind=kind) if kind is StringMatch:
            for name in ("exact", "prefix", "regex"):
                yield f"{path}.{name}", Scalar((str,))
        case _:
            pass
