"""Header fields as telemetry reads them, whichever library they come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from multidict import CIMultiDict, CIMultiDictProxy, istr

from meshlib._http import Headers, HeadersView

__all__ = ["NO_FIELDS", "Fields", "as_headers", "body_length", "head_size", "length_of"]

Fields: TypeAlias = HeadersView | Iterable[tuple[str, str]] | Iterable[tuple[str | bytes, str | bytes]]
"""Header fields as client and server libraries have them."""

NO_FIELDS: Final = Headers()

_CONTENT_LENGTH: Final = istr("content-length")
_DIGITS: Final = 18
_REMEMBERED: Final = 4096
_lengths: Final[dict[str, int]] = {}  # a lookup is a third of what reading a number costs


def as_headers(fields: Fields) -> HeadersView:
    """The fields of a response as one mapping, whoever made them: ASGI has them as bytes."""
    if isinstance(fields, CIMultiDict | CIMultiDictProxy):
        return fields
    pairs = [(_text(name), _text(value)) for name, value in fields]
    return Headers(pairs) if pairs else NO_FIELDS


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def body_length(headers: Any, otherwise: int) -> int:
    """What Content-Length says of the body; ``otherwise`` without one, or with nonsense."""
    text = headers.get(_CONTENT_LENGTH)
    length = None if text is None else length_of(text)
    return otherwise if length is None else length


def length_of(text: str) -> int | None:
    """The number that is the value of a Content-Length; None for nonsense."""
    known = _lengths.get(text)
    if known is not None:
        return known
    if len(text) > _DIGITS or not (text.isascii() and text.isdigit()):
        return None
    if len(_lengths) >= _REMEMBERED:
        _lengths.clear()
    length = _lengths[text] = int(text)
    return length


def head_size(headers: Any) -> int:
    """About the bytes of a head on the wire: its fields and its first line."""
    pairs: Iterable[tuple[str, str]] = headers.items() if hasattr(headers, "items") else headers
    return sum(len(name) + len(value) + 4 for name, value in pairs) + 16
