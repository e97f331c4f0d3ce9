"""JSON that is no YAML: escaped slashes, surrogate pairs, very long keys, values one after another.

Kubernetes reads a text that begins with a brace as JSON first. The reader tries
YAML first, because that gives positions, and comes here only when it fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from meshlib._config.limits import Limits
from meshlib._config.scalars import json_value
from meshlib._config.syntax import BREAK

__all__ = ["JSON_SIZE", "Start", "read_json"]

JSON_SIZE = 8 << 20
"""Longer texts are not tried as JSON."""

_SPACE = " \t\r\n"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""In the text it stands for a byte that is no UTF-8; from an escape it is half a character, to Go U+FFFD."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a JSON value begins, counted from 0: the only position it has."""

    line: int
    column: int


def read_json(text: str, limits: Limits) -> Iterator[tuple[Any, Start]]:
    """The JSON values of ``text``, one after another; raises ValueError for what is no JSON we accept."""
    if _SURROGATE.search(text):
        raise ValueError("not UTF-8")
    decoder = json.JSONDecoder(object_pairs_hook=_mapping, parse_constant=_refuse, strict=True)
    line = line_start = begin = seen = 0
    while True:
        while begin < len(text) and text[begin] in _SPACE:
            begin += 1
        breaks = list(BREAK.finditer(text, seen, begin))
        if breaks:
            line, line_start = line + len(breaks), breaks[-1].end()
        if begin == len(text):
            return
        column, seen = begin - line_start, begin
        try:
            value, begin = decoder.raw_decode(text, begin)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        yield _normal(value, limits.depth), Start(line, column)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a key stands twice")
    return mapping


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _normal(value: Any, depth: int) -> Any:
    """The value with numbers as everywhere in the reader: whole floats are integers, none is infinite."""
    if isinstance(value, dict | list) and depth <= 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {_whole(key): _normal(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item, depth - 1) for item in value]
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 64:
        value = float(value)
    return json_value(value)


def _whole(text: str) -> str:
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
