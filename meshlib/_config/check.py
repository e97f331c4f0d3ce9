"""All that is wrong with a value, not only the first thing.

msgspec has refused the value already; this walk over its shape finds every reason.
Rules between the fields of one struct (``__post_init__``) are tried on a copy without
the parts that are wrong by themselves, and only where that leaves all its fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from meshlib._config.suggest import field_hint, nearest
from meshlib.model.base import RuleError
from meshlib.model.hooks import PARSERS, decode_hook
from meshlib.model.shapes import (
    Anything,
    Choice,
    Many,
    Parsed,
    Scalar,
    Shape,
    Struct,
    Table,
)
from meshlib.model.strings import StringMatch

__all__ = ["Path", "Problem", "check"]

Path: TypeAlias = "tuple[str | int, ...]"

_WRONG: Final = object()
_SECRET: Final = frozenset({"jwks", "accessToken", "data", "stringData", "inlineCode"})


class Problem(NamedTuple):
    """One error: where, what, and what to do. ``at_key`` blames the name rather than the value."""

    code: str
    path: Path
    message: str
    hint: str = ""
    at_key: bool = False


def check(value: Any, shape: Shape, path: Path, kind: str, *, limit: int = 200) -> list[Problem]:
    """Everything wrong with ``value``, in the order of the shape; at most ``limit`` problems."""
    checker = _Checker([], kind, limit)
    checker.visit(value, shape, path)
    return checker.problems


@dataclass(slots=True)
class _Checker:
    problems: list[Problem]
    kind: str
    limit: int

    def visit(self, value: Any, shape: Shape, path: Path) -> Any:
        """The value without its wrong parts, or _WRONG if nothing of it is left."""
        if value is None and (shape.nullable or isinstance(shape, Anything)):
            return None
        match shape:
            case Anything():
                return value
            case Struct():
                return self._struct(value, shape, path)
            case Many():
                return self._list(value, shape, path)
            case Table():
                return self._table(value, shape, path)
            case Parsed():
                return self._parsed(value, shape, path)
            case _:
                return self._simple(value, shape, path)

    def _add(self, problem: Problem) -> Any:
        if len(self.problems) < self.limit:
            self.problems.append(problem)
        return _WRONG

    def _wrong_type(self, value: Any, expected: str, path: Path) -> Any:
        hint = ""
        if _SECRET.intersection(path):
            pass
        elif expected == "a string" and isinstance(value, int | float):
            hint = f'put it in quotes: "{_as_written(value)}"'
        elif isinstance(value, str) and expected in ("an integer", "a number", "true or false"):
            hint = f"write {expected}, without quotes"
        return self._add(Problem("MESH024", path, f"expected {expected}, got {_describe(value, path)}", hint))

    def _struct(self, value: Any, shape: Struct, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._wrong_type(value, "a mapping", path)
        kept: dict[str, Any] = {}
        whole = True
        for name, part in value.items():
            field = shape.fields.get(name)
            if field is None:
                if shape.closed:
                    hint = field_hint(str(name), shape.fields, self.kind)
                    self._add(Problem("MESH023", (*path, name), f"unknown field {_quoted(name)}", hint, at_key=True))
                continue
            result = self.visit(part, field.shape, (*path, name))
            if result is _WRONG:
                whole = False
            else:
                kept[name] = result
        for name, field in shape.fields.items():
            if field.required and name not in value:
                whole = False
                self._add(Problem("MESH025", path, f"required field {name} is missing", f"add {name}"))
        if whole and shape.has_rules:
            return self._rules(kept, shape, path)
        return kept

    def _rules(self, kept: dict[str, Any], shape: Struct, path: Path) -> Any:
        try:
            msgspec.convert(kept, shape.cls, dec_hook=decode_hook)
        except msgspec.ValidationError as error:
            cause = error.__cause__
            if not isinstance(cause, RuleError) or " - at `$" in str(error):
                return kept  # a part that was found wrong before
            for rule in cause.all:
                place = (*path, rule.field) if rule.field else path
                self._add(Problem("MESH028", place, rule.message, rule.hint))
            return _WRONG
        return kept

    def _list(self, value: Any, shape: Many, path: Path) -> Any:
        if not isinstance(value, list):
            return self._wrong_type(value, "a list", path)
        self._length(len(value), "items", shape, path)
        results = [self.visit(item, shape.item, (*path, index)) for index, item in enumerate(value)]
        return [result for result in results if result is not _WRONG]

    def _table(self, value: Any, shape: Table, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._wrong_type(value, "a mapping", path)
        self._length(len(value), "entries", shape, path)
        kept: dict[Any, Any] = {}
        for name, part in value.items():
            for message in _scalar_problems(name, shape.key, path):
                self._add(Problem("MESH026", (*path, name), f"the key is not allowed: {message}", at_key=True))
            result = self.visit(part, shape.value, (*path, name))
            if result is not _WRONG:
                kept[name] = result
        return kept

    def _length(self, length: int, noun: str, shape: Many | Table, path: Path) -> None:
        if shape.least is not None and length < shape.least:
            self._add(Problem("MESH026", path, f"expected at least {shape.least} {noun}, got {length}"))
        if shape.most is not None and length > shape.most:
            self._add(Problem("MESH026", path, f"expected at most {shape.most} {noun}, got {length}"))

    def _parsed(self, value: Any, shape: Parsed, path: Path) -> Any:
        if shape.kind is StringMatch:
            return self._string_match(value, shape, path)
        if not isinstance(value, str):
            return self._wrong_type(value, shape.expected, path)
        try:
            PARSERS[shape.kind](value)
        except ValueError as error:
            return self._add(Problem("MESH026", path, str(error)))
        return value

    def _string_match(self, value: Any, shape: Parsed, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._wrong_type(value, shape.expected, path)
        wrong = False
        for name, text in value.items():
            if name not in ("exact", "prefix", "regex"):
                hint = field_hint(str(name), ("exact", "prefix", "regex"), self.kind)
                self._add(Problem("MESH023", (*path, name), f"unknown field {_quoted(name)}", hint, at_key=True))
                wrong = True
            elif not isinstance(text, str):
                self._wrong_type(text, "a string", (*path, name))
                wrong = True
        if not wrong and len(value) > 1:
            written = " and ".join(value)
            message = f"at most one of exact, prefix, regex may be set, found {written}"
            return self._add(Problem("MESH028", path, message, "keep one of them"))
        return _WRONG if wrong else value

    def _simple(self, value: Any, shape: Scalar | Choice, path: Path) -> Any:
        if isinstance(shape, Choice):
            if not isinstance(value, str):
                return self._wrong_type(value, f"one of the strings {', '.join(shape.values)}", path)
            if value not in shape.values:
                meant = nearest(value, shape.values)
                hint = f"did you mean {meant}?" if meant else ""
                message = f"expected one of {', '.join(shape.values)}, got {_describe(value, path)}"
                return self._add(Problem("MESH027", path, message, hint))
            return value
        if not _has_type(value, shape.types):
            return self._wrong_type(value, _expected(shape.types), path)
        wrong = False
        for message in _scalar_problems(value, shape, path):
            self._add(Problem("MESH026", path, message))
            wrong = True
        return _WRONG if wrong else value


def _has_type(value: Any, types: tuple[type, ...]) -> bool:
    return type(value) in types


def _expected(types: tuple[type, ...]) -> str:
    if types == (int, float):
        return "a number"
    names = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
    return " or ".join(names[kind] for kind in types)


def _scalar_problems(value: Any, shape: Scalar, path: Path) -> Iterator[str]:
    got = _describe(value, path)
    if isinstance(value, str):
        if (shape.min_length or 0) > len(value):
            yield f"expected at least {shape.min_length} character(s), got {got}"
        elif shape.max_length is not None and len(value) > shape.max_length:
            yield f"expected {shape.expected or f'at most {shape.max_length} characters'}, got {len(value)}"
        elif shape.pattern is not None and not shape.pattern.search(value):
            yield f"expected {shape.expected or f'a text that matches {shape.pattern.pattern}'}, got {got}"
        return
    if shape.least is not None and shape.most is not None and not shape.least <= value <= shape.most:
        yield f"expected a number from {shape.least:g} to {_bound(shape.most)}, got {got}"
    elif shape.least is not None and value < shape.least:
        yield f"expected at least {shape.least:g}, got {got}"
    elif shape.most is not None and value > shape.most:
        yield f"expected at most {_bound(shape.most)}, got {got}"
    if (shape.above is not None and value <= shape.above) or (shape.below is not None and value >= shape.below):
        yield f"expected a number between {shape.above} and {shape.below}, got {got}"


def _bound(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _describe(value: Any, path: Path) -> str:
    """A value as an error shows it; what may be a secret is named by its type only."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if _SECRET.intersection(path):
        return f"a {type(value).__name__}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the string {_quoted(value)}"
    return f"the number {_as_written(value)}"


def _as_written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text if len(text) <= 60 else text[:57] + "…"}"'
