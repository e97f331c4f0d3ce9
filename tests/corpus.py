"""The shared conformance corpus, which stands beside the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

__all__ = ["CORPUS", "corpus_path", "load_corpus"]

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "conformance"


def corpus_path(name: str = "") -> Path:
    """The path of ``name`` in the corpus; skips the calling test where there is no corpus."""
    if not CORPUS.is_dir():
        pytest.skip(f"conformance corpus not found at {CORPUS}", allow_module_level=True)
    return CORPUS / name


def load_corpus(name: str) -> Any:
    """The JSON document ``name`` of the corpus."""
    return json.loads(corpus_path(name).read_text(encoding="utf-8"))
