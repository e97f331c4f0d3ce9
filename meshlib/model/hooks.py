"""How our own scalar types are read and written: msgspec asks for each value of a type it does not know."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from meshlib.model.scalars import (
    AnyDuration,
    Base64,
    Duration,
    FineDuration,
    any_duration,
    decode_base64,
    duration,
    fine_duration,
)
from meshlib.model.strings import ExactMatch, PrefixMatch, RegexMatch, StringMatch, string_match

__all__ = ["PARSERS", "decode_hook", "encode_hook"]

PARSERS: Final[Mapping[type, Callable[[Any], object]]] = {
    Duration: duration,
    FineDuration: fine_duration,
    AnyDuration: any_duration,
    Base64: decode_base64,
    StringMatch: string_match,
}


def decode_hook(kind: type, value: Any) -> object:
    """The value of one of our types. Raises ValueError or TypeError for what does not fit."""
    if kind is not StringMatch and type(value) is not str:
        raise TypeError("expected a string")
    return PARSERS[kind](value)


def encode_hook(value: object) -> object:
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
        case _:
            raise NotImplementedError(f"{type(value).__name__} has no written form")
