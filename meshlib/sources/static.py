"""Resources handed over as they are: text, or the values themselves."""

from __future__ import annotations

from meshlib.sources import SourceText

__all__ = ["SourceText"]
