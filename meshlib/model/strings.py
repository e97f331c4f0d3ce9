"""String matches: one class per alternative.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#StringMatch
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, cast

from meshlib.model.base import RuleError
from meshlib.model.scalars import shown

__all__ = ["ExactMatch", "PrefixMatch", "PresentMatch", "RegexMatch", "StringMatch", "string_match"]


class StringMatch:
    """Base of the alternatives; all comparisons respect case."""

    __slots__ = ()


class _ValueMatch(StringMatch):
    """A match that compares with ``value``. No dataclass: msgspec would write one without its alternative."""

    __slots__ = ("value",)
    __match_args__ = ("value",)

    value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "value", value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: models are frozen")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ValueMatch) and type(other) is type(self) and other.value == self.value

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class ExactMatch(_ValueMatch):
    """``exact``: the text equals ``value``."""

    __slots__ = ()


class PrefixMatch(_ValueMatch):
    """``prefix``: the text starts with ``value``."""

    __slots__ = ()


class RegexMatch(_ValueMatch):
    """``regex``: the whole text matches the RE2 expression ``value``."""

    __slots__ = ()


class PresentMatch(StringMatch):
    """``{}``: a header or query parameter is there, whatever its value."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PresentMatch)

    def __hash__(self) -> int:
        return hash(PresentMatch)

    def __repr__(self) -> str:
        return "PresentMatch()"


PRESENT: Final = PresentMatch()
ALTERNATIVES: Final[Mapping[str, Callable[[str], StringMatch]]] = {
    "exact": ExactMatch,
    "prefix": PrefixMatch,
    "regex": RegexMatch,
}


def string_match(value: object) -> StringMatch:
    """The match written as ``{exact: …}``, ``{prefix: …}``, ``{regex: …}`` or ``{}``. Raises ValueError."""
    if not isinstance(value, dict):
        raise TypeError("expected a match: one of exact, prefix or regex")
    written = cast("dict[object, object]", value)
    if len(written) == 1:
        ((kind, text),) = written.items()
        if kind in ALTERNATIVES and isinstance(text, str):
            return shared_match(cast("str", kind), text)
    return refuse_or_present(written)


@lru_cache(maxsize=4096)
def shared_match(kind: str, text: str) -> StringMatch:
    """Equal matches are one object: many routes ask for the same header value or the same path."""
    return ALTERNATIVES[kind](text)


def refuse_or_present(value: Mapping[object, object]) -> StringMatch:
    """Name the first thing wrong with a match; an empty one asks for presence."""
    for kind, text in value.items():
        if kind not in ALTERNATIVES:
            raise RuleError(
                f"unknown field {shown(str(kind))}", field=str(kind), hint="use one of exact, prefix or regex"
            )
        if not isinstance(text, str):
            raise RuleError(f"expected a string, got {type(text).__name__}", field=str(kind), hint="put it in quotes")
    if value:
        written = " and ".join(map(str, value))
        raise RuleError(f"at most one of exact, prefix, regex may be set, found {written}", hint="keep one of them")
    return PRESENT
