"""Plain and tagged scalars as Kubernetes reads them.

Kubernetes turns YAML into JSON (sigs.k8s.io/yaml on top of Go's yaml v2). Its
rules are neither YAML 1.1 nor 1.2, in short:

* The first character decides what a plain scalar may be: a digit or sign a
  number, a dot a float, one of ``yYnNtTfFoO~`` a word of the table below;
  everything else is text.
* Numbers lose their underscores first. An integer has Go's prefixes (``0x``,
  ``0o``, ``0b``, and ``0`` for octal) and 64 bits; what does not fit or does
  not parse (``08``) may still be a decimal float; what is too large for a float
  (``1e400``) is text. There is no base 60, and a date is text.
* On the way to JSON, whole floats become integers (``1.0`` is ``1``), infinity
  and NaN are refused, and keys become text.
"""

from __future__ import annotations

import math
import re
import struct
from decimal import Decimal
from typing import TypeAlias

__all__ = ["CORE_TAGS", "Scalar", "TagMismatchError", "json_value", "key_text", "resolve", "resolve_tagged"]

Scalar: TypeAlias = "str | int | float | bool | None"

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INT = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII)
_SIGNED_BINARY = re.compile(r"0b([-+]?)([01]+)", re.ASCII)
_DOTTED = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_MIN_INT, _MAX_INT, _MAX_UINT = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1

CORE_TAGS = {
    f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
}
"""The tags we read, by their long form."""


class TagMismatchError(ValueError):
    """A scalar cannot be read as the type that its tag asks for."""


def resolve(text: str) -> Scalar:
    """The value of a plain scalar without a tag; floats stay floats, infinity and NaN included."""
    first = text[:1]
    if first in "0123456789+-":  # also the empty text
        return _WORDS[text] if text in _WORDS else _number(text)
    if first == ".":
        return _WORDS[text] if text in _WORDS else _dotted(text)
    if first in "yYnNtTfFoO~":
        return _WORDS.get(text, text)
    return text


def _number(text: str) -> Scalar:
    plain = text.replace("_", "")
    number: Scalar = _integer(plain)
    if number is None and _FLOAT.fullmatch(plain):
        number = _finite(plain)
    if number is None and (match := _SIGNED_BINARY.fullmatch(plain)):
        # A quirk of Go's reader: after "0b" it takes another sign.
        number = _in_range(match[1], int(match[2], 2))
    return text if number is None else number


def _integer(plain: str) -> int | None:
    match = _INT.fullmatch(plain)
    if match is None:
        return None
    sign, hexadecimal, binary, octal, decimal = match.groups()
    digits, base = (
        (hexadecimal, 16) if hexadecimal else (binary, 2) if binary else (octal, 8) if octal else (decimal, 10)
    )
    if len(digits) > 64 and (digits := digits.lstrip("0") or "0") and len(digits) > 64:
        return None  # far out of range, and int() of a long text costs quadratic time
    return _in_range(sign, int(digits, base))


def _in_range(sign: str, number: int) -> int | None:
    """The signed number if it fits 64 bits; only an unsigned one may use the 64th bit."""
    if sign == "-":
        return -number if -number >= _MIN_INT else None
    return number if number <= (_MAX_INT if sign else _MAX_UINT) else None


def _dotted(text: str) -> Scalar:
    if not _DOTTED.fullmatch(text):
        return text
    number = _finite(text)
    return text if number is None else number


def _finite(text: str) -> float | None:
    number = float(text)
    return None if math.isinf(number) else number


def resolve_tagged(tag: str, text: str) -> Scalar:
    """The value of a scalar with one of the core tags; a quoted scalar counts like a plain one."""
    name = CORE_TAGS[tag]
    if name in {"str", "map", "seq", "merge"}:  # the last three say nothing about a scalar
        return text
    value = resolve(text)
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, float)
        or (isinstance(value, int) and not isinstance(value, bool) and value <= _MAX_INT),
        "bool": isinstance(value, bool),
        "null": value is None,
    }
    if not fits.get(name, False):
        raise TagMismatchError(f"{text!r} cannot be read as !!{name}")
    return float(value) if name == "float" and isinstance(value, int) else value


def json_value(value: Scalar) -> Scalar:
    """The value as JSON shows it: whole floats are integers; infinity and NaN raise ValueError."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise ValueError("no JSON form")
    if value.is_integer() and abs(value) < 1e21:
        # Beyond 2**53 JSON shows the shortest digits that give the same float, filled up with zeros.
        return int(value) if abs(value) < 1 << 53 else int(Decimal(repr(value)))
    return value


def key_text(value: Scalar) -> str | None:
    """A key as text; None for what Kubernetes does not accept as a key."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value <= _MAX_INT else None
    return None if value is None else _float_key(value)


def _float_key(value: float) -> str:
    """A float key: the shortest digits of a 32-bit float, with an exponent from 1e+06 on, as Go's format 'g'."""
    try:
        single = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        single = math.copysign(math.inf, value)
    if math.isnan(single):
        return ".nan"
    if math.isinf(single):
        return ".inf" if single > 0 else "-.inf"
    shortest = next(
        digits
        for precision in range(9)
        if struct.unpack("<f", struct.pack("<f", float(digits := f"{single:.{precision}e}")))[0] == single
    )
    mantissa, exponent = shortest.split("e")
    if int(exponent) < -4 or int(exponent) >= 6:
        return f"{mantissa}e{int(exponent):+03d}"
    return f"{Decimal(shortest):f}"
