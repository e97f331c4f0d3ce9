"""Where resources come from: texts, files, the environment."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SourceText"]


@dataclass(frozen=True, slots=True)
class SourceText:
    """One text to load.

    ``name`` is what findings call it: a path, ``<text>``, ``<stdin>`` …; ``text`` is
    YAML or JSON, as bytes where it comes from a file: the reader judges the encoding.
    """

    name: str
    text: str | bytes
