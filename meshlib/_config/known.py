"""What was read before, so that a reload reads only what has changed.

The unit is a piece of a text, from one ``---`` to the next: what it says depends on
nothing but its own characters, the lines before it, and the name of its file. Pieces
with an error are read anew each time.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeAlias

from meshlib.diagnostics import Finding
from meshlib.model.resource import Resource, Skipped

__all__ = ["KnownPiece", "KnownPieces", "PieceKey", "piece_key"]

PieceKey: TypeAlias = "tuple[str, int, bytes]"
"""File, lines before the piece, digest of its text."""


KnownPiece: TypeAlias = "tuple[Resource | Skipped | Finding, ...]"
"""What reading and decoding a piece gave, in its order."""


class KnownPieces:
    """The pieces of the load before, and of the one that is going on.

    It keeps the models of all resources: about as much memory as the compiled
    configuration itself. Nobody needs it who never reloads.
    """

    __slots__ = ("before", "namespace", "now")

    def __init__(self) -> None:
        self.namespace = ""
        self.before: dict[PieceKey, KnownPiece] = {}
        self.now: dict[PieceKey, KnownPiece] = {}

    def begin(self, namespace: str) -> None:
        """A load begins; what was read for another default namespace is of no use."""
        if namespace != self.namespace:
            self.before, self.namespace = {}, namespace
        self.now = {}

    def end(self) -> None:
        """It is over: what it did not meet is forgotten."""
        self.before, self.now = self.now, {}

    def find(self, key: PieceKey) -> KnownPiece | None:
        """A piece that was read before, in the load before or earlier in this one."""
        found = self.before.get(key, self.now.get(key))
        if found is not None:
            self.now[key] = found
        return found

    def __repr__(self) -> str:
        return f"<KnownPieces {len(self.before)}>"


def piece_key(file: str, line: int, text: str) -> PieceKey:
    """The key of a piece."""
    return file, line, blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
