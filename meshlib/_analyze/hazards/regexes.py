r"""Regular expressions on which engines that backtrack take exponential time.

RE2 never does, and neither does meshlib; but the same expression is soon pasted
elsewhere, and it is hardly what its author meant. Looked for are repeats without bound
of something that can be split into repeats in several ways: ``(a+)+``, ``(a|a)*``,
``(\\d*x?)*``.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshlib._analyze.hazards.scene import HazardSettings, Scene
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node, Path
from meshlib._regex.ranges import meet
from meshlib._regex.syntax import Alternate, Chars, Concat, Group, RegexSyntaxError, Repeat, parse
from meshlib._regex.syntax import Node as Tree

__all__ = ["find_explosions", "is_explosive"]


def find_explosions(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """All expressions of VirtualServices."""
    for item in scene.view.all("VirtualService"):
        for pattern, at in _patterns(item):
            if is_explosive(pattern):
                text = f"{pattern!r} repeats a part that is repeated itself"
                report.hazard("MESH146", item, text, at)


def _patterns(item: Item) -> Iterator[tuple[str, Path]]:
    for rule in item.spec.items("http"):
        for match in rule.items("match"):
            for name in ("uri", "scheme", "method", "authority"):
                yield from _regex(match.node(name), "regex")
            for name in ("headers", "queryParams", "withoutHeaders"):
                table = match.node(name)
                for key in table.value if isinstance(table.value, dict) else ():
                    yield from _regex(table.node(key), "regex")
        for origin in rule.node("corsPolicy").items("allowOrigins"):
            yield from _regex(origin, "regex")
        yield from _regex(rule.node("rewrite", "uriRegexRewrite"), "match")


def _regex(node: Node, name: str) -> Iterator[tuple[str, Path]]:
    pattern = node.text(name)
    if pattern:
        yield pattern, (*node.path, name)


def is_explosive(pattern: str) -> bool:
    """Whether an expression repeats something ambiguous without bound; False for what cannot be parsed."""
    try:
        return _has_explosion(parse(pattern))
    except (RegexSyntaxError, RecursionError):
        return False


def _has_explosion(tree: Tree) -> bool:
    match tree:
        case Repeat(item=item, high=high):
            return (high is None and _is_ambiguous(item)) or _has_explosion(item)
        case Group(item):
            return _has_explosion(item)
        case Concat(items) | Alternate(items):
            return any(map(_has_explosion, items))
        case _:
            return False


def _is_ambiguous(tree: Tree) -> bool:
    """Whether a text can be cut into pieces of the tree in several ways."""
    match tree:
        case Group(item):
            return _is_ambiguous(item)
        case Repeat(high=None):
            return True
        case Alternate(items):
            return any(map(_is_ambiguous, items)) or _overlap(items)
        case Concat(items):
            needed = [item for item in items if not _can_be_empty(item)]
            repeats = [item for item in items if _is_ambiguous(item)]
            return bool(repeats) and (not needed or (len(needed) == 1 and needed[0] in repeats))
        case _:
            return False


def _overlap(items: tuple[Tree, ...]) -> bool:
    """Whether two alternatives of one character each can be the same."""
    found = [item.ranges for item in items if isinstance(item, Chars)]
    return any(meet(one, other) for index, one in enumerate(found) for other in found[:index])


def _can_be_empty(tree: Tree) -> bool:
    match tree:
        case Chars():
            return False
        case Group(item):
            return _can_be_empty(item)
        case Repeat(item=item, low=low):
            return low == 0 or _can_be_empty(item)
        case Concat(items):
            return all(map(_can_be_empty, items))
        case Alternate(items):
            return any(map(_can_be_empty, items))
        case _:
            return True
