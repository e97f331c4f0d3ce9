"""How far the reader goes, and what it says when a text goes further or is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from meshlib._config.document import Mark

__all__ = ["AbortError", "Limits", "Problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps that keep reading bounded: sizes in characters, documents and nodes in numbers.

    ``nodes`` counts the nodes of one document, ``expanded`` those that aliases add to it.
    Plain documents, which are read by line, stay below the defaults by their size.
    """

    text: int = 64 << 20
    documents: int = 200_000
    findings: int = 1_000
    depth: int = 100
    nodes: int = 5_000_000
    expanded: int = 4_000_000


class Problem(NamedTuple):
    """What is wrong at a place of the text, counted from 1."""

    code: str
    message: str
    line: int
    column: int
    hint: str = ""


class AbortError(Exception):
    """The rest of the document cannot be read."""

    def __init__(self, code: str, message: str, mark: Mark) -> None:
        self.code, self.mark = code, mark
        super().__init__(message)
