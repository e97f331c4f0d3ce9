"""Regular expressions as Envoy runs them: RE2, the whole text, linear time.

With google-re2 installed (extra ``re2``) the expression is RE2's own. Without it,
RE2's syntax is enforced by our own parser and the expression runs on our own automaton
or, where backtracking cannot hurt, on ``re``; see :mod:`meshlib._regex.syntax`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Protocol

from meshlib._regex.automaton import Automaton
from meshlib._regex.syntax import RegexSyntaxError, emit, is_plain, parse
from meshlib._snapshot.matchers import RegexProgram

__all__ = ["HAS_RE2", "RegexError", "Substitution", "compile_regex", "compile_substitution"]


def find_re2() -> ModuleType | None:
    """google-re2, if it is installed."""
    try:
        return import_module("re2")
    except ImportError:
        return None


RE2: Final = find_re2()
HAS_RE2: Final = RE2 is not None

# As Istio's validation; it keeps the automaton small too.
MAX_LENGTH: Final = 1024

GROUP: Final = re.compile(r"\\(.?)", re.DOTALL)


class RegexError(ValueError):
    """An expression that RE2 would refuse; the message says why."""


class Match(Protocol):
    """What both engines call a match."""

    def span(self) -> tuple[int, int]: ...

    def group(self, index: int, /) -> str | None: ...


class Program:
    """A compiled expression. ``match`` is the engine's full match on a text: true or false."""

    __slots__ = ("_match", "pattern")

    def __init__(self, pattern: str, match: Callable[[str], object]) -> None:
        self.pattern = pattern
        self._match = match

    def matches(self, text: str) -> bool:
        """True if the whole text matches."""
        try:
            return bool(self._match(text))
        except UnicodeEncodeError:
            # A lone surrogate has no UTF-8 form: Envoy could never see it.
            return False

    def __repr__(self) -> str:
        return f"<RegexProgram {self.pattern!r}>"


class Substitution:
    """Replace every occurrence of an expression, as RE2's GlobalReplace does.

    ``parts`` alternates literals and group numbers.
    """

    __slots__ = ("_search", "parts", "pattern")

    def __init__(self, pattern: str, parts: tuple[str | int, ...], search: Callable[[str, int], Match | None]) -> None:
        self.pattern = pattern
        self.parts = parts
        self._search = search

    def apply(self, text: str) -> str:
        """The text with all non-overlapping occurrences replaced."""
        return "".join(self._pieces(text))

    def _pieces(self, text: str) -> Iterator[str]:
        at, last_end = 0, -1
        while at <= len(text) and (match := self._search(text, at)) is not None:
            start, end = match.span()
            yield text[at:start]
            if start == end == last_end:
                # RE2 allows no empty match right behind the last one.
                yield text[start : start + 1]
                at = start + 1
                continue
            for part in self.parts:
                yield part if isinstance(part, str) else match.group(part) or ""
            at = last_end = end
        yield text[at:]

    def __repr__(self) -> str:
        return f"<Substitution {self.pattern!r}>"


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> RegexProgram:
    """The program of an RE2 expression. Raises RegexError if RE2 would refuse it."""
    if len(pattern) > MAX_LENGTH:
        raise RegexError(f"the expression has {len(pattern)} characters, more than the {MAX_LENGTH} that Istio allows")
    if RE2 is not None:
        return Program(pattern, re2_pattern(RE2, pattern).fullmatch)
    try:
        tree = parse(pattern)
    except RegexSyntaxError as error:
        raise RegexError(str(error)) from None
    if is_plain(tree):
        return Program(pattern, re.compile(emit(tree), re.ASCII).fullmatch)
    return Program(pattern, Automaton(tree).matches)


@lru_cache(maxsize=1024)
def compile_substitution(pattern: str, replacement: str) -> Substitution:
    """The substitution of an expression by a text that may name its groups. Raises RegexError."""
    if RE2 is not None:
        compiled = re2_pattern(RE2, pattern)
        return Substitution(pattern, replacement_parts(replacement, compiled.groups), compiled.search)
    try:
        tree = parse(pattern)
    except RegexSyntaxError as error:
        raise RegexError(str(error)) from None
    if not is_plain(tree):
        raise RegexError("nested or repeated wildcards need RE2; install proxyless-mesh[re2]")
    program = re.compile(emit(tree), re.ASCII)
    return Substitution(pattern, replacement_parts(replacement, program.groups), program.search)


def re2_pattern(module: ModuleType, pattern: str) -> Any:
    """The expression compiled by google-re2, quietly."""
    options = module.Options()
    options.log_errors = False
    try:
        return module.compile(pattern, options)
    except module.error as error:
        detail = error.args[0] if error.args else error
        raise RegexError(detail.decode() if isinstance(detail, bytes) else str(detail)) from None


def replacement_parts(text: str, groups: int) -> tuple[str | int, ...]:
    """A replacement as literals and group numbers: a backslash escapes a digit or itself, nothing else."""
    parts: list[str | int] = []
    end = 0
    for escape in GROUP.finditer(text):
        parts.append(text[end : escape.start()])
        end = escape.end()
        char = escape[1]
        if char == "\\":
            parts.append("\\")
        elif not char.isdigit():
            raise RegexError(f"invalid rewrite: \\{char} names no group")
        elif int(char) > groups:
            raise RegexError(f"invalid rewrite: \\{char} names a group, but the expression has {groups}")
        else:
            parts.append(int(char))
    parts.append(text[end:])
    return tuple(part for part in parts if part != "")
