"""Which rules of a policy can be about a path, so that a request looks at a few of many.

A rule counts for a path if each of its operations names paths, exact or by prefix, and
one of them fits; a rule that says nothing of paths, or says it by suffix, template or
``*``, counts for every path. Sets of rules are the bits of a number, the first rule is
the lowest.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["RuleIndex"]


class RuleIndex(msgspec.Struct, frozen=True, gc=False):
    """``exact`` and ``prefixes`` (by their length) lead to rules; ``others`` count for every path."""

    exact: Mapping[str, int]
    prefixes: tuple[tuple[int, Mapping[str, int]], ...]
    others: int

    def candidates(self, path: str) -> int:
        """The rules that can be about a path, as bits."""
        found = self.others | self.exact.get(path, 0)
        for length, rules in self.prefixes:
            found |= rules.get(path[:length], 0)
        return found
