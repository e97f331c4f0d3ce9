"""The words of an expression (cel-spec, "Syntax")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = ["END", "CelError", "Token", "tokens"]

Kind: TypeAlias = Literal["symbol", "name", "field", "int", "uint", "float", "string", "bytes", "end"]

_WORDS: Final = re.compile(
    r"""
      (?P<space>[ \t\r\n\f]+|//[^\n]*)
    | (?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    | (?P<number>0x[0-9a-fA-F]+|[0-9]+)(?P<unsigned>[uU]?)
    | (?P<text>(?P<marks>(?:[bB]?[rR]?))(?P<quote>\"\"\"|'''|"|'))
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    | `(?P<field>[_a-zA-Z0-9./ -]+)`
    | (?P<symbol>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    r"""\\(?:([abfnrtv\\?"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))"""
)
_SIMPLE: Final = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


class CelError(ValueError):
    """An expression that breaks the syntax; the message says where."""


class Token(NamedTuple):
    """A word, its value if it is a literal, and where it begins."""

    kind: Kind
    text: str
    value: int | float | str | bytes | None
    at: int


END: Final = "<EOF>"


def tokens(text: str) -> Iterator[Token]:
    """All words of an expression, and an end."""
    at = 0
    while at < len(text):
        found = _WORDS.match(text, at)
        if found is None:
            raise CelError(f"token recognition error at column {at}: {text[at]!r}")
        start, at = at, found.end()
        if found["quote"] is not None:
            token, at = _string(text, start, found["marks"].lower(), found["quote"], at)
            yield token
        elif found["float"] is not None:
            yield Token("float", found[0], float(found[0]), start)
        elif found["number"] is not None:
            yield _number(found["number"], bool(found["unsigned"]), start)
        elif found["field"] is not None:
            yield Token("field", found["field"], None, start)
        elif found["name"] is not None:
            yield Token("name", found[0], None, start)
        elif found["symbol"] is not None:
            yield Token("symbol", found[0], None, start)
    yield Token("end", END, None, len(text))


def _number(text: str, is_unsigned: bool, at: int) -> Token:  # noqa: FBT001 - part of the word
    value = int(text, 16 if text.startswith("0x") else 10)
    # The sign is a word of its own: 2**63 is only right after a minus.
    if value >= 1 << (64 if is_unsigned else 63) and not (value == 1 << 63 and not is_unsigned):
        raise CelError(f"invalid int literal at column {at}: {text}")
    return Token("uint" if is_unsigned else "int", text, value, at)


def _string(text: str, start: int, marks: str, quote: str, at: int) -> tuple[Token, int]:
    """A text up to its closing quote; raw ones take backslashes as they are."""
    is_raw, end = "r" in marks, at
    while not text.startswith(quote, end):
        if end >= len(text) or (len(quote) == 1 and text[end] in "\r\n"):
            raise CelError(f"token recognition error at column {start}: {text[start:end]!r} is not closed")
        end += 1 if is_raw or text[end] != "\\" else 2
    body = text[at:end]
    value = body if is_raw else _unescaped(body, start)
    is_bytes = "b" in marks
    token = Token("bytes" if is_bytes else "string", text[start:end], value.encode() if is_bytes else value, start)
    return token, end + len(quote)


def _unescaped(body: str, at: int) -> str:
    rest = _ESCAPE.sub("", body)
    if "\\" in rest:
        raise CelError(f"unable to unescape the text at column {at}")

    def plain(found: re.Match[str]) -> str:
        if found[1] is not None:
            return _SIMPLE.get(found[1], found[1])
        code = int(found[5], 8) if found[5] is not None else int(found[2] or found[3] or found[4], 16)
        if code > 0x10FFFF:
            raise CelError(f"unable to unescape the text at column {at}")
        return chr(code)

    return _ESCAPE.sub(plain, body)
