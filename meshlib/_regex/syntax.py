"""RE2's syntax, read by hand, for machines without google-re2.

``parse`` makes a tree of an expression and refuses what RE2 refuses: look-around,
back-references, possessive repeats, repeats over 1000. Classes are ASCII. ``emit``
writes a tree for Python's ``re``, whose meaning differs in details (the dollar is the
end of the text, white space has no vertical tab). ``is_plain`` tells whether ``re``, which
backtracks, runs a tree in linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshlib._regex.ranges import LAST, PERL, POSIX, Ranges, fold, meet, merge, negate

__all__ = [
    "Alternate",
    "Assert",
    "Chars",
    "Concat",
    "Group",
    "Node",
    "RegexSyntaxError",
    "Repeat",
    "emit",
    "is_plain",
    "parse",
]

# RE2 gives up on longer repeats.
MAX_REPEAT: Final = 1000


class RegexSyntaxError(ValueError):
    """An expression that RE2 would refuse."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of sorted, disjoint ranges."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Assert:
    """A place in the text: its begin, its end, a word border or none, or one of a line."""

    kind: str


@dataclass(frozen=True, slots=True)
class Concat:
    """One after the other; nothing at all if empty."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternate:
    """One of several."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``low`` to ``high`` times (None: without bound), as few as possible if lazy."""

    item: Node
    low: int
    high: int | None
    lazy: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A capturing group."""

    item: Node


Node: TypeAlias = Chars | Assert | Concat | Alternate | Repeat | Group

ASSERTIONS: Final = {"A": r"\A", "z": r"\Z", "b": r"\b", "B": r"\B"}
ESCAPES: Final = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
REPEAT: Final = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
FLAGS: Final = re.compile(r"\?([imsU]*)(?:-([imsU]+))?([:)])")
NAME: Final = re.compile(r"\?P?<([A-Za-z_]\w*)>", re.ASCII)
CODE: Final = re.compile(r"x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,8})\}|(0[0-7]{0,2}|[1-7][0-7]{1,2})")
NAMED_CLASS: Final = re.compile(r"\[:(\^?)(\w+):\]")


def parse(pattern: str) -> Node:
    """The tree of an expression. Raises RegexSyntaxError."""
    parser = Parser(pattern)
    tree = parser.alternatives()
    if parser.at < len(pattern):
        raise RegexSyntaxError(f"unexpected ): {pattern}")
    return tree


class Parser:
    """Recursive descent over an expression; the flags are those that hold at ``at``."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags: frozenset[str] = frozenset()
        self.names: set[str] = set()

    def peek(self, size: int = 1) -> str:
        return self.pattern[self.at : self.at + size]

    def alternatives(self) -> Node:
        """``a|b|c`` up to the end or the closing parenthesis."""
        items = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            items.append(self.sequence())
        return items[0] if len(items) == 1 else Alternate(tuple(items))

    def sequence(self) -> Node:
        items: list[Node] = []
        while (char := self.peek()) and char not in "|)":
            if self.peek(2) == "\\Q":
                items.extend(self.quoted())
                continue
            node = self.item(char)
            if node is not None:
                items.append(self.repeats(node))
        return items[0] if len(items) == 1 else Concat(tuple(items))

    def item(self, char: str) -> Node | None:
        """One atom without its repeat; None for flags, which are no atom."""
        if char == "(":
            return self.group()
        if char == "[":
            return self.char_class()
        if char == "\\":
            return self.escape()
        if char in "*+?" or (char == "{" and REPEAT.match(self.pattern, self.at)):
            raise RegexSyntaxError(f"missing argument to repetition operator: {char}")
        self.at += 1
        if char == "^":
            return Assert("^" if "m" in self.flags else r"\A")
        if char == "$":
            return Assert("$" if "m" in self.flags else r"\Z")
        if char == ".":
            return Chars(((0, LAST),) if "s" in self.flags else negate(((10, 10),)))
        return self.literal(char)

    def literal(self, char: str) -> Chars:
        code = ord(char)
        return self.chars(((code, code),))

    def chars(self, ranges: Ranges) -> Chars:
        return Chars(fold(ranges) if "i" in self.flags else ranges)

    def repeats(self, node: Node) -> Node:
        """The repeat behind an atom, if there is one. Two in a row are an error, as in RE2."""
        found = self.repeat_bounds()
        if found is None:
            return node
        low, high = found
        lazy = self.peek() == "?"
        self.at += lazy
        if self.repeat_bounds() is not None:
            raise RegexSyntaxError(f"bad repetition operator: {self.pattern[self.at - 2 : self.at]}")
        return Repeat(node, low, high, lazy)

    def repeat_bounds(self) -> tuple[int, int | None] | None:
        char = self.peek()
        if char and char in "*+?":
            self.at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        found = REPEAT.match(self.pattern, self.at) if char == "{" else None
        if found is None:
            return None
        low = int(found[1])
        high = low if found[2] is None else int(found[3]) if found[3] else None
        if low > MAX_REPEAT or (high is not None and not low <= high <= MAX_REPEAT):
            raise RegexSyntaxError(f"bad repetition operator: {found[0]}")
        self.at = found.end()
        return low, high

    def group(self) -> Node | None:
        """A capturing, named or plain group; flags alone hold to the end of the group around them."""
        self.at += 1
        if self.peek() != "?":
            return Group(self.inside(self.flags))
        if (named := NAME.match(self.pattern, self.at)) is not None:
            if named[1] in self.names:
                raise RegexSyntaxError(f"duplicate capture group name: {named[1]}")
            self.names.add(named[1])
            self.at = named.end()
            return Group(self.inside(self.flags))
        found = FLAGS.match(self.pattern, self.at)
        if found is None or found[0] == "?)":
            raise RegexSyntaxError(f"invalid perl operator: ({self.peek(2)}")
        if "U" in found[1] + (found[2] or ""):
            raise RegexSyntaxError("the flag U needs google-re2")
        flags = (self.flags | set(found[1])) - set(found[2] or "")
        self.at = found.end()
        if found[3] == ":":
            return self.inside(flags)
        self.flags = flags
        return None

    def inside(self, flags: frozenset[str]) -> Node:
        outer, self.flags = self.flags, flags
        node = self.alternatives()
        if self.peek() != ")":
            raise RegexSyntaxError(f"missing closing ): {self.pattern}")
        self.at += 1
        self.flags = outer
        return node

    def quoted(self) -> list[Node]:
        """Literal characters between Q and E; a repeat behind them is for the last one."""
        text, _, _ = self.pattern[self.at + 2 :].partition("\\E")
        self.at = min(self.at + 4 + len(text), len(self.pattern))
        nodes: list[Node] = [self.literal(char) for char in text]
        return [*nodes[:-1], self.repeats(nodes[-1])] if nodes else []

    def escape(self) -> Node:
        """A backslash outside a class."""
        char = self.pattern[self.at + 1 : self.at + 2]
        if char and char in ASSERTIONS:
            self.at += 2
            return Assert(ASSERTIONS[char])
        if char and char.lower() in PERL:
            self.at += 2
            return Chars(PERL[char] if char in PERL else negate(PERL[char.lower()]))
        return self.literal(self.escaped())

    def escaped(self) -> str:
        """A backslash that stands for one character, inside or outside a class."""
        self.at += 1
        char = self.peek()
        if not char:
            raise RegexSyntaxError("trailing \\")
        if (code := CODE.match(self.pattern, self.at)) is not None:
            value = int(code[3], 8) if code[3] else int(code[1] or code[2], 16)
            self.at = code.end()
            if value > LAST:
                raise RegexSyntaxError(f"invalid escape sequence: \\{code[0]}")
            return chr(value)
        if char in "pPC":
            raise RegexSyntaxError(f"\\{char} needs google-re2")
        if char not in ESCAPES and char.isalnum() and char.isascii():
            raise RegexSyntaxError(f"invalid escape sequence: \\{char}")
        self.at += 1
        return ESCAPES.get(char, char)

    def char_class(self) -> Node:
        """A class in brackets; a ``]`` right at its beginning is a member."""
        start = self.at
        self.at += 1
        negated = self.peek() == "^"
        self.at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self.peek() != "]":
            if not self.peek():
                raise RegexSyntaxError(f"missing closing ]: {self.pattern[start:]}")
            ranges.extend(self.class_item())
            first = False
        self.at += 1
        merged = merge(tuple(ranges))
        node = self.chars(merged)
        return Chars(negate(node.ranges)) if negated else node

    def class_item(self) -> Ranges:
        """A named class, a range or one character."""
        if (named := NAMED_CLASS.match(self.pattern, self.at)) is not None:
            if named[2] not in POSIX:
                raise RegexSyntaxError(f"invalid character class range: {named[0]}")
            self.at = named.end()
            return negate(POSIX[named[2]]) if named[1] else POSIX[named[2]]
        escaped = self.peek(2)[1:]
        if self.peek() == "\\" and escaped and escaped.lower() in PERL:
            self.at += 2
            return PERL[escaped] if escaped in PERL else negate(PERL[escaped.lower()])
        low = high = self.class_char()
        if self.peek() == "-" and self.peek(2)[1:] not in ("]", ""):
            self.at += 1
            high = self.class_char()
        if low > high:
            raise RegexSyntaxError(f"invalid character class range: {low}-{high}")
        return ((ord(low), ord(high)),)

    def class_char(self) -> str:
        if self.peek() == "\\":
            return self.escaped()
        char = self.peek()
        if not char:
            raise RegexSyntaxError(f"missing closing ]: {self.pattern}")
        self.at += 1
        return char


def emit(node: Node) -> str:
    """The tree as an expression for ``re``; capturing groups keep their numbers."""
    match node:
        case Chars(ranges):
            return "[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges) + "]" if ranges else r"[^\s\S]"
        case Assert(kind):
            # In line mode these look at line feeds only, and never behind a last one.
            return {"^": r"(?:\A|(?<=\n))", "$": r"(?=\n|\Z)"}.get(kind, kind)
        case Concat(items):
            return "".join(map(emit, items)) or "(?:)"
        case Alternate(items):
            return "(?:" + "|".join(map(emit, items)) + ")"
        case Repeat(item, low, high, lazy):
            return f"(?:{emit(item)}){{{low},{'' if high is None else high}}}{'?' if lazy else ''}"
        case Group(item):
            return f"({emit(item)})"


def is_plain(node: Node) -> bool:
    """True if backtracking costs nothing: repeats of single characters, none of which can take what follows it."""
    atoms = list(flatten(node))
    for index, atom in enumerate(atoms):
        if isinstance(atom, Alternate):
            return False
        if not isinstance(atom, Repeat) or atom.low == atom.high:
            continue
        follower = next((other for other in atoms[index + 1 :] if not isinstance(other, Assert)), None)
        if follower is None:
            continue
        chars = follower.item if isinstance(follower, Repeat) and follower.low else follower
        if not isinstance(chars, Chars) or not isinstance(atom.item, Chars) or meet(chars.ranges, atom.item.ranges):
            return False
    return all(not isinstance(atom, Repeat) or isinstance(atom.item, Chars) for atom in atoms)


def flatten(node: Node) -> list[Node]:
    """The atoms of a sequence, groups opened."""
    if isinstance(node, Group):
        return flatten(node.item)
    if isinstance(node, Concat):
        return [atom for item in node.items for atom in flatten(item)]
    return [node]
