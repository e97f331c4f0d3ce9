"""Paths that the corpus does not have, as Envoy 1.39 answers them."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib._engine.path_normalization import BadPathError, normalize_path

LEVELS: tuple[Any, ...] = ("NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")


@pytest.mark.parametrize(
    ("path", "level", "expected"),
    [
        ("//", "MERGE_SLASHES", "//"),
        ("///", "MERGE_SLASHES", "//"),
        ("//?x=//", "MERGE_SLASHES", "//?x=//"),
        ("/.", "MERGE_SLASHES", "/"),
        ("/", "MERGE_SLASHES", "/"),
        ("/%2f", "MERGE_SLASHES", "/%2f"),
        ("/%2f", "DECODE_AND_MERGE_SLASHES", "//"),
        ("//a//", "MERGE_SLASHES", "/a/"),
        ("//", "BASE", "//"),
    ],
)
def test_nothing_but_slashes(path: str, level: Any, expected: str) -> None:
    """Envoy puts the first and the last slash back when it merges, though they were the same one."""
    assert normalize_path(path, level) == expected


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("path", ["/\u00e9", "/a b", "/a\x7f", "/a#b", "/\udcc3"])
def test_what_no_url_may_hold(level: Any, path: str) -> None:
    """400, at every level."""
    with pytest.raises(BadPathError):
        normalize_path(path, level)
