"""Header operations of the model, as levels of the snapshot (semantics 2.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from meshlib._snapshot.routes import HeaderOps, HeaderValue
from meshlib.model.virtual_service import HeaderOperations, Headers

__all__ = [
    "NO_HEADERS",
    "NO_LEVELS",
    "CompiledHeaders",
    "HeaderFormatError",
    "compile_headers",
    "merged_levels",
    "without_type",
]

NO_LEVELS: Final[tuple[HeaderOps, ...]] = ()

PERCENT: Final = re.compile(r"%%|%([A-Z_0-9]+)(?:\(([^)]*)\))?(?::(\d+))?%|%")
REQ: Final = re.compile(r"([^?]+)(?:\?(.+))?")
PLAIN: Final = frozenset({"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_ADDRESS", "PROTOCOL"})


class HeaderFormatError(ValueError):
    """A header value with an operator that is not known here."""


@dataclass(frozen=True, slots=True)
class CompiledHeaders:
    """The operations of one place: on the request, on the response, and the Host header they set."""

    request: HeaderOps | None = None
    response: HeaderOps | None = None
    authority: str = ""


NO_HEADERS: Final = CompiledHeaders()


def compile_headers(headers: Headers | None) -> CompiledHeaders:
    """The operations of a rule or of a destination. Raises HeaderFormatError."""
    if headers is None:
        return NO_HEADERS
    request = headers.request
    authority = ""
    if request is not None:
        # A Host set or added becomes a rewrite of the authority; ``set`` beats ``add``.
        authority = last_authority(request.set) or last_authority(request.add)
    return CompiledHeaders(compile_operations(request), compile_operations(headers.response), authority)


def compile_operations(operations: HeaderOperations | None) -> HeaderOps | None:
    """One level of operations; None if there are none."""
    if operations is None:
        return None
    ops = HeaderOps(
        tuple(name.lower() for name in operations.remove if not is_internal(name)),
        tuple(named_values(operations.set)),
        tuple(named_values(operations.add)),
    )
    return ops if ops.remove or ops.set or ops.add else None


def merged_levels(levels: Iterable[HeaderOps | None]) -> tuple[HeaderOps, ...]:
    """Several places run as one level: all their removes, all their sets, all their adds."""
    present = [level for level in levels if level is not None]
    if len(present) < 2:
        return tuple(present)
    return (
        HeaderOps(
            tuple(name for level in present for name in level.remove),
            tuple(pair for level in present for pair in level.set),
            tuple(pair for level in present for pair in level.add),
        ),
    )


def without_type(levels: tuple[HeaderOps, ...]) -> tuple[HeaderOps, ...]:
    """The operations on an answer without a body: Envoy takes a Content-Type that they give it off again."""
    return tuple(
        HeaderOps(
            level.remove,
            tuple(pair for pair in level.set if pair[0] != "content-type"),
            tuple(pair for pair in level.add if pair[0] != "content-type"),
        )
        for level in levels
    )


def named_values(fields: Mapping[str, str]) -> Iterator[tuple[str, HeaderValue]]:
    """Names in lower case with their values, in lexical order of the names as written."""
    for name in sorted(fields):
        if not is_internal(name):
            yield name.lower(), header_value(fields[name])


def last_authority(fields: Mapping[str, str]) -> str:
    """The value given to the Host header, empty if it is not named."""
    found = ""
    for name, value in fields.items():
        if name.lower() in (":authority", "host"):
            found = value
    return found


def is_internal(name: str) -> bool:
    """True for a name that operations cannot change."""
    return name.startswith(":") or name.lower() == "host"


@lru_cache(maxsize=4096)
def header_value(text: str) -> HeaderValue:
    """A header value, parsed: literals and format operators. Raises HeaderFormatError."""
    if "%" not in text:
        return HeaderValue((text,))
    parts: list[str | tuple[str, ...]] = []
    end = 0
    for found in PERCENT.finditer(text):
        add_literal(parts, text[end : found.start()])
        end = found.end()
        if found[0] == "%%":
            add_literal(parts, "%")
        elif found[0] == "%":
            raise HeaderFormatError(
                f"the percent sign at {found.start()} begins no operator; write %% for a percent sign"
            )
        else:
            parts.append(operator(found[1], found[2], found[3] or ""))
    add_literal(parts, text[end:])
    return HeaderValue(tuple(parts))


def add_literal(parts: list[str | tuple[str, ...]], text: str) -> None:
    """Append text, joined to a literal before it."""
    if not text:
        return
    if parts and isinstance(parts[-1], str):
        parts[-1] += text
    else:
        parts.append(text)


def operator(name: str, argument: str | None, length: str) -> tuple[str, ...]:
    """One operator as the engine reads it."""
    if name == "REQ" and argument and (fields := REQ.fullmatch(argument)) is not None:
        names = [field.strip().lower() for field in fields.groups() if field]
        return ("REQ", *names, length)
    if name == "START_TIME" and not length:
        return ("START_TIME", argument) if argument else ("START_TIME",)
    if name in PLAIN and argument is None and not length:
        return (name,)
    raise HeaderFormatError(f"the operator %{name}% is not supported; REQ, START_TIME, PROTOCOL and the address are")
