"""The texts that ``--config`` names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from meshlib.sources import SourceText

__all__ = ["read_texts"]

_STDIN: Final = "-"
_WILDCARD: Final = re.compile(r"[*?\[]")
_EXPECTATION: Final = re.compile(rb"^_err:.*\n?(?:[ \t]+\S.*\n?|[ \t]*\n)*", re.MULTILINE)


def read_texts(paths: Iterable[str]) -> list[SourceText]:
    """All texts that the paths name, in their order; ``-`` is standard input.

    A top-level key ``_err``, with which Istio's own test files say what is expected of
    a document, is dropped. Raises SourceError for what cannot be read.
    """
    from meshlib.sources.files import expand

    texts = expand([_named(path) for path in dict.fromkeys(paths)])
    return [SourceText(text.name, _without_expectations(text.text)) for text in texts]


def _named(path: str) -> str | Path:
    """A pattern as text, everything else as a path: on a command line nothing is YAML.

    Not the empty one, which an unset variable leaves: as a path it would be the directory we are in.
    """
    if path in ("", _STDIN) or (_WILDCARD.search(path) and not path.startswith(("[", "{")) and not Path(path).exists()):
        return path
    return Path(path)


def _without_expectations(text: object) -> bytes:
    """Blanked out, so that all other lines keep their numbers."""
    raw = text if isinstance(text, bytes) else str(text).encode()
    return _EXPECTATION.sub(lambda match: b"\n" * match[0].count(b"\n"), raw)
