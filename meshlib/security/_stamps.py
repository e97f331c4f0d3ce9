"""What files look like, to see that they were replaced."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Stamp", "stamp_of"]

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


def stamp_of(files: Iterable[str | os.PathLike[str]]) -> Stamp:
    """What changes when one of the files is replaced. Raises OSError if one is missing."""
    looks = map(os.stat, files)
    return tuple((look.st_mtime_ns, look.st_size, look.st_ino) for look in looks)
