"""A finite automaton for full matches: linear time in the text, whatever the expression.

The tree becomes a nondeterministic automaton (Thompson's construction); the
deterministic one grows state by state as texts ask for it, and is thrown away when it
gets too large. Assertions are edges that may be followed only at certain places.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from meshlib._regex.ranges import WORD, Ranges
from meshlib._regex.syntax import Alternate, Assert, Chars, Concat, Group, Node, RegexSyntaxError, Repeat

__all__ = ["Automaton"]

MAX_NODES: Final = 20_000
MAX_STATES: Final = 2_000

END: Final = ""
"""What the look-ahead sees behind the last character."""


class Automaton:
    """Matches whole texts. Safe to share between threads: a lost cache entry is only made again."""

    __slots__ = ("_accept", "_edges", "_free", "_moves", "_start")

    def __init__(self, tree: Node) -> None:
        # Per node: edges that take a character, and edges that take none (with the assertion they need, or None).
        self._edges: list[list[tuple[Ranges, int]]] = []
        self._free: list[list[tuple[str | None, int]]] = []
        self._start = self._node()
        self._accept = self._build(tree, self._start)
        # Whether a state (nodes reached, previous character a word character or none) steps to another by a character.
        self._moves: dict[tuple[frozenset[int], str, str], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        """True if the whole text matches."""
        state = frozenset((self._start,))
        moves = self._moves
        previous = END
        for char in text:
            key = (state, previous, char)
            following = moves.get(key)
            if following is None:
                if len(moves) >= MAX_STATES:
                    moves.clear()
                following = moves[key] = self._step(state, previous, char)
            if not following:
                return False
            state = following
            previous = kind(char)
        return self._accept in self._closure(state, previous, END)

    def _node(self) -> int:
        if len(self._edges) >= MAX_NODES:
            raise RegexSyntaxError("the expression is too large")
        self._edges.append([])
        self._free.append([])
        return len(self._edges) - 1

    def _build(self, node: Node, start: int) -> int:
        """Add a tree behind node ``start``; the number of its last node."""
        match node:
            case Chars(ranges):
                end = self._node()
                self._edges[start].append((ranges, end))
                return end
            case Assert(assertion):
                end = self._node()
                self._free[start].append((assertion, end))
                return end
            case Concat(items):
                for item in items:
                    start = self._build(item, start)
                return start
            case Alternate(items):
                end = self._node()
                for item in items:
                    branch = self._node()
                    self._free[start].append((None, branch))
                    self._free[self._build(item, branch)].append((None, end))
                return end
            case Group(item):
                return self._build(item, start)
            case Repeat():
                return self._repeat(node, start)

    def _repeat(self, node: Repeat, start: int) -> int:
        for _ in range(node.low):
            start = self._build(node.item, start)
        if node.high is None:
            loop = self._node()
            self._free[start].append((None, loop))
            self._free[self._build(node.item, loop)].append((None, loop))
            return loop
        end = self._node()
        for _ in range(node.high - node.low):
            self._free[start].append((None, end))
            start = self._build(node.item, start)
        self._free[start].append((None, end))
        return end

    def _closure(self, state: frozenset[int], previous: str, following: str) -> set[int]:
        """The nodes reached without taking a character, between two characters."""
        reached = set(state)
        waiting = list(state)
        while waiting:
            for assertion, target in self._free[waiting.pop()]:
                if target not in reached and (assertion is None or holds(assertion, previous, following)):
                    reached.add(target)
                    waiting.append(target)
        return reached

    def _step(self, state: frozenset[int], previous: str, char: str) -> frozenset[int]:
        code = ord(char)
        return frozenset(
            target
            for node in self._closure(state, previous, char)
            for ranges, target in self._edges[node]
            if within(ranges, code)
        )


def within(ranges: Ranges, code: int) -> bool:
    """True if a range holds the character."""
    index = bisect_right(ranges, (code, 0x110000)) - 1
    return index >= 0 and code <= ranges[index][1]


def kind(char: str) -> str:
    """All that an assertion needs to know of the character before: a word character, a line feed, or another."""
    if char == "\n":
        return char
    return "w" if within(WORD, ord(char)) else " "


def holds(assertion: str, previous: str, following: str) -> bool:
    """True if the assertion holds between two characters; :data:`END` stands for none."""
    if assertion == r"\A":
        return previous == END
    if assertion == r"\Z":
        return following == END
    if assertion == "^":
        return previous in (END, "\n")
    if assertion == "$":
        return following in (END, "\n")
    border = (previous == "w") is not (following != END and kind(following) == "w")
    return border is (assertion == r"\b")
