"""Scalars with a unit or a range, as the API server and Istio read them."""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

__all__ = [
    "AnyDuration",
    "Base64",
    "Duration",
    "FineDuration",
    "HttpStatus",
    "Int32",
    "Int64",
    "NonNegativeInt32",
    "PercentInt",
    "Port",
    "PortOrZero",
    "TlsVersion",
    "UInt32",
    "UInt64",
    "parse_duration",
]

UInt32: TypeAlias = Annotated[int, Meta(ge=0, le=4294967295)]
Int32: TypeAlias = Annotated[int, Meta(ge=-2147483648, le=2147483647)]
Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
# The API server checks ``minimum: 0`` on a signed 64-bit number.
UInt64: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
NonNegativeInt32: TypeAlias = Annotated[int, Meta(ge=0, le=2147483647)]
Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
"""A port that the schema itself limits to 1–65535; elsewhere a port is a :data:`UInt32`."""

PortOrZero: TypeAlias = Annotated[int, Meta(ge=0, le=65535)]
PercentInt: TypeAlias = Annotated[int, Meta(ge=0, le=100)]
HttpStatus: TypeAlias = Annotated[int, Meta(ge=200, le=600)]
"""Istio says 200–599, and takes 600."""

TlsVersion: TypeAlias = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]

# As Go's time.ParseDuration: sign, then numbers with units; a lone zero needs none.
DURATION = re.compile(r"[-+]?(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)")
PART = re.compile(r"([0-9]*)\.?([0-9]*)(ns|us|µs|μs|ms|s|m|h)")
NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


class AnyDuration(float):
    """Seconds, written as Go writes durations (``1h30m``, ``1.5s``, ``100ms``); also zero and below."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{float(self):g}s"


class FineDuration(AnyDuration):
    """Seconds, at least one millisecond."""

    __slots__ = ()


class Duration(FineDuration):
    """Seconds in whole milliseconds, at least one: what Istio asks of nearly every timeout and interval."""

    __slots__ = ()


class Base64(bytes):
    """Bytes, written in base64 with padding and without line breaks."""

    __slots__ = ()


@lru_cache(maxsize=4096)
def parse_duration(text: str) -> int:
    """A duration in nanoseconds. Raises ValueError for what Go's time.ParseDuration refuses."""
    if DURATION.fullmatch(text) is None:
        raise ValueError(f"expected a duration such as 5s, 1.5s, 100ms or 1h30m, got {shown(text)}")
    total = 0
    for whole, fraction, unit in PART.findall(text):
        scale = NANOSECONDS[unit]
        total += int(whole or 0) * scale
        if fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
    if total > 2**63 - 1:
        raise ValueError(f"expected a duration below 2562047h, got {shown(text)}")
    return -total if text.startswith("-") else total


@lru_cache(maxsize=4096)
def any_duration(text: str) -> AnyDuration:
    """Any duration that can be written."""
    return AnyDuration(parse_duration(text) / 1e9)


@lru_cache(maxsize=4096)
def fine_duration(text: str) -> FineDuration:
    """A duration of at least one millisecond."""
    nanoseconds = parse_duration(text)
    if nanoseconds < 1_000_000:
        raise ValueError(f"must be a valid duration of at least 1ms, got {shown(text)}")
    return FineDuration(nanoseconds / 1e9)


@lru_cache(maxsize=4096)
def duration(text: str) -> Duration:
    """A duration in whole milliseconds, at least one."""
    seconds = fine_duration(text)
    if parse_duration(text) % 1_000_000:
        raise ValueError(f"only durations to ms precision are supported, got {shown(text)}")
    return Duration(seconds)


def decode_base64(text: str) -> Base64:
    """The bytes of a padded base64 text."""
    try:
        if text:
            return Base64(base64.b64decode(text, validate=True))
    except binascii.Error:
        pass
    # The text itself may be a secret: it is not quoted.
    raise ValueError("expected base64, not empty, with padding and without line breaks")


def shown(text: str) -> str:
    """A text as an error quotes it: never longer than a line can bear."""
    return f'"{text if len(text) <= 60 else text[:57] + "…"}"'
