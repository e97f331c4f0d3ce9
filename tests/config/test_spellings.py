"""One scalar in many spellings, where a string, an integer, a duration … is expected: Istio 1.31's verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.loading import errors, load_text
from tests.corpus import load_corpus

CASES = load_corpus("validation/spellings.json")["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_spelling_is_judged_as_by_istio(case: dict[str, Any]) -> None:
    """A spelling is an error exactly where the API server or Istio refuses it."""
    found = errors(load_text(case["yaml"]))
    assert ("invalid" if found else "valid") == case["expect"], found or case.get("errors")
