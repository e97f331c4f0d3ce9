"""How our own scalar types are read: msgspec asks for each value of a type it does not know."""

from __future__ import annotations

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
from meshlib.model.strings import StringMatch, string_match
from meshlib.model.urls import HttpUrl, ImageUrl, http_url, image_url

__all__ = ["PARSERS", "decode_hook"]

PARSERS: Final[Mapping[type, Callable[[Any], object]]] = {
    Duration: duration,
    FineDuration: fine_duration,
    AnyDuration: any_duration,
    Base64: decode_base64,
    StringMatch: string_match,
    HttpUrl: http_url,
    ImageUrl: image_url,
}


def decode_hook(kind: type, value: Any) -> object:
    """The value of one of our types. Raises ValueError or TypeError for what does not fit."""
    if kind is not StringMatch and type(value) is not str:
        raise TypeError("expected a string")
    return PARSERS[kind](value)
