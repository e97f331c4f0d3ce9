"""The copies in this repository are the shared tables, byte for byte."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.corpus import COPIES, corpus_path


@pytest.mark.parametrize("copy", sorted(COPIES.rglob("*.gz")), ids=lambda path: path.name)
def test_a_copy_is_the_table(copy: Path) -> None:
    """Where both are there."""
    table = corpus_path(str(copy.relative_to(COPIES).with_suffix("")))
    assert gzip.decompress(copy.read_bytes()) == table.read_bytes()
