"""The conformance corpus: the shared one beside the repository, and the packed copies of our own tables in it.

A clone alone proves itself by the copies; the tables made from Istio's tests, and all
that a later corpus adds, are read beside the repository and skipped where it is alone.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

__all__ = ["COPIES", "CORPUS", "corpus_path", "has_corpus", "load_corpus", "load_own"]

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "conformance"
COPIES = Path(__file__).resolve().parent / "conformance" / "tables"


def corpus_path(name: str = "") -> Path:
    """The path of ``name`` in the corpus; skips the calling test where there is no corpus."""
    if not CORPUS.is_dir():
        pytest.skip(f"conformance corpus not found at {CORPUS}", allow_module_level=True)
    return CORPUS / name


def has_corpus(name: str) -> bool:
    """Whether the table ``name`` can be read, beside the repository or from its copy."""
    return CORPUS.is_dir() or (COPIES / f"{name}.gz").is_file()


def load_corpus(name: str) -> Any:
    """The JSON document ``name`` of the corpus, or of our copy; skips the calling test where there is neither."""
    copy = COPIES / f"{name}.gz"
    if not CORPUS.is_dir() and copy.is_file():
        return json.loads(gzip.decompress(copy.read_bytes()))
    return json.loads(corpus_path(name).read_text(encoding="utf-8"))


def load_own(name: str) -> Any:
    """The JSON table ``name`` that only this repository has, packed in ``tests/conformance/own``."""
    return json.loads(gzip.decompress((COPIES.parent / "own" / f"{name}.gz").read_bytes()))
