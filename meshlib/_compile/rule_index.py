"""From the rules of a policy to the index that finds them by path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshlib._snapshot.conditions import PATH, Condition, TextCondition, TextSet
from meshlib._snapshot.rule_index import RuleIndex
from meshlib._snapshot.security import Rule

__all__ = ["index_rules"]

_FEWEST: Final = 4
"""Below this many rules looking at all of them is as quick."""


def index_rules(rules: Sequence[Rule]) -> RuleIndex | None:
    """The index; None for few rules, or for rules that name no paths."""
    exact: dict[str, int] = {}
    prefixes: dict[int, dict[str, int]] = {}
    others = 0
    for number, rule in enumerate(rules):
        bit = 1 << number
        paths = [_paths(conditions) for conditions in rule.operations]
        known = [one for one in paths if one is not None]
        if not paths or len(known) != len(paths):
            others |= bit
            continue
        for values in known:
            for path in values.exact:
                exact[path] = exact.get(path, 0) | bit
            for prefix in values.prefixes:
                of_length = prefixes.setdefault(len(prefix), {})
                of_length[prefix] = of_length.get(prefix, 0) | bit
    if len(rules) < _FEWEST or others == (1 << len(rules)) - 1:
        return None
    return RuleIndex(exact, tuple(prefixes.items()), others)


def _paths(conditions: Sequence[Condition]) -> TextSet | None:
    """The paths of an operation, if they are exact or prefixes."""
    for condition in conditions:
        if isinstance(condition, TextCondition) and condition.name == PATH:
            values = condition.values
            return None if values.suffixes or values.programs or values.has_any else values
    return None
