"""Paths that no policy tells apart: an API has a path for each of its things, and rules for a few kinds of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from meshlib._snapshot.conditions import TextSet
from meshlib._snapshot.matchers import RegexProgram
from meshlib._snapshot.rule_index import RuleIndex

__all__ = ["PathClasses"]

_USUAL: Final = re.compile(r"(?:/(?!/|\.)[A-Za-z0-9\-_~!$&'()*+,:@=.]*)+/?\Z|/\Z")
"""What is the same sent and decoded, at every level of normalization, and to all frameworks but Litestar,
wherever their applications are mounted."""
_REMEMBERED: Final = 4096
_LONGEST: Final = 1024


class PathClasses:
    """Which of the conditions on paths a path meets, as the bits of a number: what meets the same is decided alike.

    ``sets`` are those conditions; None: no paths are alike. Paths that are ``apart`` are in no class, and neither are
    those that a server, a normalization or a framework may read in more than one way. ``known`` are paths of late as
    they were sent, with what applications read and their class: look there, then ask :meth:`find`.
    """

    __slots__ = ("_apart", "_has_classes", "_index", "_programs", "_suffixes", "known")

    def __init__(self, sets: Iterable[TextSet] | None, apart: Collection[str] = ()) -> None:
        self._has_classes = sets is not None
        self._apart = frozenset(apart)
        always = 0
        exact: dict[str, int] = {}
        prefixes: dict[int, dict[str, int]] = {}
        suffixes: dict[int, dict[str, int]] = {}
        self._programs: list[tuple[RegexProgram, int]] = []
        for number, one in enumerate(dict.fromkeys(sets or ())):
            bit = 1 << number
            if one.has_any or "" in one.prefixes or "" in one.suffixes:
                always |= bit  # a path is never empty
            for text in one.exact:
                exact[text] = exact.get(text, 0) | bit
            for ends, texts in ((prefixes, one.prefixes), (suffixes, one.suffixes)):
                for text in texts:
                    of_length = ends.setdefault(len(text), {})
                    of_length[text] = of_length.get(text, 0) | bit
            self._programs += [(program, bit) for program in one.programs]
        self._index = RuleIndex(exact, tuple(prefixes.items()), always)
        self._suffixes = tuple(suffixes.items())
        self.known: dict[bytes | None, tuple[str, object]] = {}

    def find(self, raw: bytes | None, path: str, root: str) -> tuple[str, object]:
        """A path that was sent as ``raw``, and its class, a number; what is in none is in one with only itself.

        ``root`` is where the application is mounted: what is unusual may be read in another way behind it.
        """
        if not self._has_classes or len(path) > _LONGEST or path in self._apart:
            return path, (raw, path, root)
        if _USUAL.match(path) is None or raw != path.encode():
            return path, (raw, path, root)
        if len(self.known) >= _REMEMBERED:
            self.known.clear()
        found = self.known[raw] = path, self.bits(path)
        return found

    def bits(self, path: str) -> int:
        """The conditions that a path meets."""
        found = self._index.candidates(path)
        for length, of_length in self._suffixes:
            found |= of_length.get(path[-length:], 0) if length else 0
        for program, bit in self._programs:
            if not found & bit and program.matches(path):
                found |= bit
        return found

    def __repr__(self) -> str:
        index = self._index
        return f"<PathClasses exact={len(index.exact)} prefixes={sum(len(one) for _, one in index.prefixes)}>"
