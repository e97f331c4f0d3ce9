"""Rules of a VirtualService that no request reaches, and matches that an earlier rule covers.

Istio 1.31, pkg/config/validation (analyzeUnreachableHTTPRules and its siblings):

1. A rule without matches takes everything: what comes after it is never used.
2. A match that an earlier rule has word by word is never used; a rule of such matches only, neither.
3. A match by path prefix is covered by an earlier one of a shorter prefix, if ports are the same,
   headers, query parameters and negative headers have the same names, and each value of the
   earlier match begins with the value of the later one. A missing method counts as ``GET``,
   and only what is matched exactly or by prefix is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshlib._analyze.messages import quoted
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, View

__all__ = ["analyze_unreachable"]


def analyze_unreachable(view: View, report: Reporter) -> None:
    """All VirtualServices."""
    for item in view.all("VirtualService"):
        for section in ("http", "tcp", "tls"):
            _check_rules(item, item.spec.items(section), report)
        _check_prefixes(item, report)


def _check_rules(item: Item, rules: list[Node], report: Reporter) -> None:
    seen: dict[str, tuple[int, Node]] = {}
    takes_all = False
    for number, rule in enumerate(rules):
        name = _rule_name(rule, number)
        matches = rule.items("match")
        if not matches:
            if takes_all:
                report.add("IST0130", item, name, "only the last rule can have no matches", show=rule.path)
            takes_all = True
        elif takes_all:
            report.add("IST0130", item, name, "route without matches defined before", show=rule.path)
        else:
            _check_matches(item, number, rule, seen, report)


def _check_matches(item: Item, number: int, rule: Node, seen: dict[str, tuple[int, Node]], report: Reporter) -> None:
    name, duplicates = _rule_name(rule, number), 0
    matches = rule.items("match")
    for index, match in enumerate(matches):
        text = _text(match)
        if text in seen:
            earlier, other = seen[text]
            shown = _match_name(match, index)
            report.add("IST0131", item, name, shown, _rule_name(other, earlier), show=match.path)
            duplicates += 1
        else:
            seen[text] = (number, rule)
    if duplicates == len(matches):
        report.add("IST0130", item, name, "all matches used by prior rules", show=rule.path)


def _rule_name(rule: Node, number: int) -> str:
    """Only HTTP rules have names."""
    name = rule.text("name") if rule.path[1] == "http" else ""
    return quoted(name) if name else f"#{number}"


def _match_name(match: Node, number: int) -> str:
    name = match.text("name") if match.path[1] == "http" else ""
    return quoted(name) if name else f"#{number}"


def _text(match: Node) -> str:
    """What two matches must have in common to be the same; the name says nothing about requests."""
    value = match.value
    if isinstance(value, dict) and match.path[1] == "http":
        value = {name: part for name, part in value.items() if name != "name"}
    return json.dumps(_without_empty(value), sort_keys=True)


def _without_empty(value: Any) -> Any:
    """Empty parts are the same as absent ones, except that a matcher without text still is one."""
    if isinstance(value, dict):
        return {name: _without_empty(part) for name, part in value.items() if part not in (None, [], 0, False)}
    return [_without_empty(part) for part in value] if isinstance(value, list) else value


# -- prefixes --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A match by path prefix, with what else Istio compares."""

    match: Node
    rule: str
    name: str
    prefix: str
    port: int
    method: str
    authority: str
    maps: tuple[Mapping[str, str], ...]

    def covers(self, other: _Prefix) -> bool:
        """Whether a request of ``other`` is taken by this one, as far as Istio looks."""
        return (
            other.prefix.startswith(self.prefix)
            and self.prefix != other.prefix
            and self.port == other.port
            and self.method.startswith(other.method)
            and self.authority.startswith(other.authority)
            and all(_covers(mine, theirs) for mine, theirs in zip(self.maps, other.maps, strict=True))
        )


def _covers(mine: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    return mine.keys() == theirs.keys() and all(value.startswith(theirs[name]) for name, value in mine.items())


def _check_prefixes(item: Item, report: Reporter) -> None:
    """Only prefixes of the same beginning can cover each other: an index by prefix keeps this linear."""
    known: dict[str, list[_Prefix]] = {}
    for later in _prefixes(item):
        for length in range(len(later.prefix)):
            for earlier in known.get(later.prefix[:length], ()):
                if earlier.covers(later):
                    covered = f"{later.name} of prefix {later.prefix}"
                    cover = f"{earlier.name} of prefix {earlier.prefix} on {earlier.rule}"
                    report.add("IST0131", item, later.rule, covered, cover, show=later.match.path)
        known.setdefault(later.prefix, []).append(later)


def _prefixes(item: Item) -> Iterator[_Prefix]:
    """The prefix matches of the rules before one that takes everything, each text once."""
    seen: set[str] = set()
    for number, rule in enumerate(item.spec.items("http")):
        matches = rule.items("match")
        if not matches:
            return
        for index, match in enumerate(matches):
            text = _text(match)
            prefix = match.node("uri").text("prefix")
            if prefix and text not in seen:
                yield _prefix(match, _rule_name(rule, number), _match_name(match, index), prefix)
            seen.add(text)


def _prefix(match: Node, rule: str, name: str, prefix: str) -> _Prefix:
    return _Prefix(
        match=match,
        rule=rule,
        name=name,
        prefix=prefix,
        port=match.number("port"),
        method=_value(match.node("method")) or "exact:GET",
        authority=_value(match.node("authority")),
        maps=tuple(_values(match, field) for field in ("headers", "queryParams", "withoutHeaders")),
    )


def _values(match: Node, field: str) -> Mapping[str, str]:
    part = match.node(field)
    return {name: _value(part.node(name)) for name in part.value} if isinstance(part.value, dict) else {}


def _value(matcher: Node) -> str:
    """What is matched exactly or by prefix, and which of the two; nothing of a regular expression."""
    for kind in ("exact", "prefix"):
        if matcher.text(kind):
            return f"{kind}:{matcher.text(kind)}"
    return ""
