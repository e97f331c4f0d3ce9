"""What Istio's own code says of an object that the schema of the API server refuses.

Istio's analysis reads files without that schema: as protocol buffers, in which an absent
message is nil, an absent scalar zero, an unknown field nothing, a number may stand in
quotes. So the same rules run once more over a spec that is built in this way. What no
protocol buffer can hold (a wrong type, a duration that is none) Istio cannot read at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import new_class
from typing import Any, Final, cast

from meshlib._config.check import Path, Problem
from meshlib._config.rules import judge
from meshlib._config.written import dotted
from meshlib.model.base import EMPTY, Model, RuleError, Spec
from meshlib.model.hooks import PARSERS
from meshlib.model.kinds import Kind, spec_class
from meshlib.model.resource import Metadata
from meshlib.model.scalars import AnyDuration, parse_duration
from meshlib.model.shapes import Choice, Many, Parsed, Scalar, Shape, Struct, Table, shape_of
from meshlib.model.strings import StringMatch
from meshlib.model.urls import HttpUrl, ImageUrl

__all__ = ["UnreadableError", "judge_leniently"]

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_UNSIGNED: Final = 2**32 - 1
_SIGNED: Final = 2**31 - 1
_PORT: Final = 65535
# The messages that Istio's code misses, by kind and place; of others that are absent it says nothing.
_MISSING: Final[Mapping[str, Mapping[str, str]]] = {
    "Gateway": {"spec.servers[].port": "port is required"},
    "ServiceEntry": {},
    "Sidecar": {"spec.ingress[].port": "sidecar: port is required for ingress listeners"},
    "VirtualService": {
        "spec.http[].route[].destination": "destination is required",
        "spec.http[].mirrors[].destination": "destination is required for mirrors",
        "spec.tcp[].route[].destination": "destination is required",
        "spec.tls[].route[].destination": "destination is required",
    },
    "WorkloadGroup": {"spec.template": "template is required"},
}


class UnreadableError(ValueError):
    """No protocol buffer can hold the value."""


def judge_leniently(kind: Kind, raw: Any, metadata: Metadata, root: Path = ("spec",)) -> list[Problem]:
    """The problems that Istio's rules find. Raises UnreadableError for what Istio cannot read.

    What the schema has refused and Istio's code would refuse too is not among them:
    see :func:`meshlib._config.lenient_words.istios_words`.
    """
    building = _Building()
    spec = cast("Spec", building.message(raw, shape_of(spec_class(kind)), root))
    absent = building.absent
    found = [problem for problem in judge(kind.name, spec, metadata) if not _is_below(problem.path, absent)]
    messages = _MISSING.get(kind.name, {})
    for path in absent:
        place = "".join("[]" if isinstance(step, int) else f".{step}" for step in path)[1:]
        if place in messages:
            found.append(Problem("MESH073", path, messages[place], f"add {path[-1]}"))
    return found


def _is_below(path: Path, holders: list[Path]) -> bool:
    return any(path[: len(holder)] == holder for holder in holders)


class _Building:
    """One spec being built; ``absent`` are the places of messages that it should have and has not."""

    def __init__(self) -> None:
        self.absent: list[Path] = []

    def message(self, value: Any, shape: Struct, path: Path) -> Model:
        if not isinstance(value, dict):
            raise UnreadableError(dotted(path))
        values: dict[str, Any] = {}
        for name, field in shape.fields.items():
            part = value.get(name)
            if part is not None:
                values[field.attribute] = self._value(part, field.shape, (*path, name))
            elif field.required:
                values[field.attribute] = self._zero(field.shape, (*path, name))
        cls = cast("type[Model]", shape.cls)
        try:
            return cls(**values)
        except RuleError:  # of two members of a oneof one is taken
            return _unchecked(cls)(**values)

    def _value(self, value: Any, shape: Shape, path: Path) -> Any:
        match shape:
            case Struct():
                return self.message(value, shape, path)
            case Many(item=item) if isinstance(value, list):
                return tuple(
                    self._value(part, item, (*path, index)) if part is not None else self._nothing(item, (*path, index))
                    for index, part in enumerate(value)
                )
            case Table(key=key, value=item) if isinstance(value, dict) and all(_fits_key(name, key) for name in value):
                return {
                    name: self._value(part, item, (*path, name))
                    if part is not None
                    else self._nothing(item, (*path, name))
                    for name, part in value.items()
                }
            case Many() | Table():
                raise UnreadableError(dotted(path))
            case Parsed(kind=kind):
                return _parsed(value, kind, path)
            case Scalar():
                return _scalar(value, shape, path)
            case Choice(values=values) if value not in values:
                raise UnreadableError(dotted(path))
            case _:
                return value

    def _nothing(self, shape: Shape, path: Path) -> Any:
        """A null in a list: a message without fields, or the zero of a scalar."""
        return self.message({}, shape, path) if isinstance(shape, Struct) else self._zero(shape, path)

    def _zero(self, shape: Shape, path: Path) -> Any:
        match shape:
            case Struct():
                self.absent.append(path)
                return self.message({}, shape, path)
            case Many():
                return ()
            case Table():
                return EMPTY
            case Parsed(kind=kind):
                return kind() if issubclass(kind, str | bytes | float) else PARSERS[kind]({})
            case Scalar(types=types):
                return types[0]()
            case _:
                return ""


def _scalar(value: Any, shape: Scalar, path: Path) -> Any:
    """A value of the type, a number in its 32 bits; numbers may be quoted."""
    if isinstance(value, str) and str not in shape.types and _NUMBER.fullmatch(value):
        value = float(value) if float in shape.types else int(value)
    if type(value) not in shape.types:
        raise UnreadableError(dotted(path))
    if type(value) is int and shape.most is not None and shape.most <= _UNSIGNED:
        is_unsigned = shape.most in (_UNSIGNED, _PORT)
        if not (0 <= value <= _UNSIGNED if is_unsigned else -_SIGNED - 1 <= value <= _SIGNED):
            raise UnreadableError(dotted(path))
    return value


def _fits_key(name: str, shape: Scalar) -> bool:
    """Keys that are numbers have a pattern in the schema, and no other form in a protocol buffer."""
    is_number = shape.pattern is not None and shape.pattern.search("80") and not shape.pattern.search("a")
    return not is_number or (name.isascii() and name.isdigit())


def _parsed(value: Any, kind: type, path: Path) -> object:
    if kind is StringMatch and isinstance(value, dict):
        known = {name: text for name, text in value.items() if name in ("exact", "prefix", "regex")}
        value = dict(list(known.items())[:1])
    try:
        return PARSERS[kind](value)
    except (TypeError, ValueError):
        if kind in (HttpUrl, ImageUrl) and isinstance(value, str):
            return kind(value)
        if not (issubclass(kind, AnyDuration) and isinstance(value, str)):
            raise UnreadableError(dotted(path)) from None
    try:
        return kind(parse_duration(value) / 1e9)
    except ValueError:
        raise UnreadableError(dotted(path)) from None


@cache
def _unchecked(cls: type[Model]) -> type[Model]:
    """The same struct without its rules between fields."""

    def body(namespace: dict[str, Any]) -> None:
        namespace["__post_init__"] = lambda _: None
        namespace["__module__"] = cls.__module__

    return cast("type[Model]", new_class(cls.__name__, (cls,), {"frozen": True, "kw_only": True}, body))
