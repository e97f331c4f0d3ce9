"""Texts that satisfy a matcher, so that a rule can be asked about."""

from __future__ import annotations

from typing import Final

from meshlib._regex.syntax import Alternate, Chars, Concat, Group, Node, RegexSyntaxError, Repeat, parse
from meshlib.model.strings import ExactMatch, PrefixMatch, RegexMatch, StringMatch

__all__ = ["sample_match", "sample_pattern", "sample_regex"]

_NICE: Final = "axAX01-/. "
"""Characters that people like to see in an example, the best first."""


def sample_match(match: StringMatch | None, default: str) -> str | None:
    """A text that the matcher takes; None if none can be made up. Without a matcher, or where any does: ``default``."""
    match match:
        case ExactMatch(value) | PrefixMatch(value):
            return value
        case RegexMatch(value):
            return sample_regex(value)
        case _:
            return default


def sample_pattern(pattern: str, filler: str = "x") -> str:
    """A text for a pattern of an authorization policy: ``*`` stands for any text at one of its ends."""
    return pattern.replace("{**}", filler).replace("{*}", filler).replace("*", filler)


def sample_regex(pattern: str) -> str | None:
    """The shortest text that comes to mind for a regular expression."""
    try:
        return _sample(parse(pattern))
    except (RegexSyntaxError, RecursionError):
        return None


def _sample(tree: Node) -> str:
    match tree:
        case Chars(ranges):
            return _character(ranges)
        case Group(item):
            return _sample(item)
        case Concat(items):
            return "".join(map(_sample, items))
        case Alternate(items):
            return _sample(items[0]) if items else ""
        case Repeat(item=item, low=low, high=high):
            return _sample(item) * (low or (1 if high is None or high > 0 else 0))
        case _:
            return ""


def _character(ranges: tuple[tuple[int, int], ...]) -> str:
    for nice in _NICE:
        if any(low <= ord(nice) <= high for low, high in ranges):
            return nice
    return chr(ranges[0][0]) if ranges else ""
