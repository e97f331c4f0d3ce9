"""One request to the admin interface and its answer, whatever server they came through."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from meshlib._explain.explanation import Json
from meshlib.admin.redaction import HIDDEN, is_secret, redacted

__all__ = ["BODY_LIMIT", "Answer", "Ask", "BadAskError", "Streamed", "json_answer", "problem", "text_answer"]

Streamed: TypeAlias = "Json | Iterator[Json] | Sequence[Streamed] | Mapping[str, Streamed]"
"""JSON, of which long lists may be iterators: they are written as they come."""

BODY_LIMIT: Final = 65_536
"""Bytes of a request's body that are read; a longer one is refused."""


class BadAskError(Exception):
    """The request cannot be answered; the message says why. ``status`` is what its client gets."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request. ``headers`` by lower-case name; ``path`` begins after ``mount``, where the interface is mounted.

    ``client`` is the address of the other end of the connection, empty for a socket of the file system.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)
    client: str = ""
    mount: str = ""
    body: bytes = b""

    @staticmethod
    def parse_query(text: str) -> dict[str, str]:
        """The parameters of a query; of a repeated one the last."""
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=200))

    def number(self, name: str, default: int, most: int) -> int:
        """A parameter that is a whole number, at most ``most``."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise BadAskError(f"{name} must be a whole number, not {text[:40]!r}")
        return min(int(text), most)

    def json(self) -> dict[str, Json]:
        """The body, which must be a JSON object. Raises BadAskError."""
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise BadAskError("the body must be JSON (content-type: application/json)", 415)
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadAskError(f"the body is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise BadAskError("the body must be a JSON object")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the client gets."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def json_answer(value: Streamed, status: int = 200, *, levels: int = 4) -> Answer:
    """JSON without secrets, whatever stood in ``value``.

    It is made in pieces: those of the outer ``levels``, in which the iterators must stand, and the items of these.
    """
    return Answer(status=status, body=b"".join(part.encode("utf-8", "replace") for part in _encoded(value, levels)))


_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _encoded(value: Any, levels: int) -> Iterator[str]:
    """JSON in pieces, made and redacted one after the other.

    The dump of a large mesh in one go would keep all other threads waiting, and the
    garbage collector with it, for half a second.
    """
    if isinstance(value, Iterator):
        yield from _listed(value, 0)
    elif levels and value and isinstance(value, list):
        yield from _listed(value, levels - 1)
    elif levels and value and isinstance(value, dict) and "kty" not in value:
        for start, (key, item) in zip(chain("{", repeat(",")), value.items(), strict=False):
            yield f"{start}{_encode(key)}:"
            yield from _encoded(HIDDEN if is_secret(key, item) else item, levels - 1)
        yield "}"
    else:
        yield _encode(redacted(value))


def _listed(items: Iterable[Any], levels: int) -> Iterator[str]:
    start = "["
    for item in items:
        yield start
        yield from _encoded(item, levels)
        start = ","
    yield "[]" if start == "[" else "]"


def text_answer(text: str, status: int = 200, *, media_type: str = "text/plain; charset=utf-8") -> Answer:
    """Plain text."""
    return Answer(status=status, body=text.encode("utf-8", "replace"), media_type=media_type)


def problem(message: str, status: int) -> Answer:
    """``{"error": …}``."""
    return json_answer({"error": message}, status)
