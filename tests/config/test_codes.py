"""The table of codes: complete, and true by an example of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import meshlib
from docs.generate import EXAMPLES, LOAD, VALIDATE, example_of, told_by
from meshlib._analyze.messages import MESSAGES
from meshlib._config.codes import CODES
from tests.config.loading import load_text

ALL = sorted([*CODES, *MESSAGES])
# What no example in the documentation can show, for its size.
HUGE = {
    "MESH009": "#" * (65 << 20),
    "MESH015": "kind: A\nkind: B\n---\n" * 1_001,
    "MESH036": "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\nspec: {"
    + ", ".join(f"a{number}: 1" for number in range(201))
    + "}",
}


def test_the_table_has_what_is_used() -> None:
    """Each code that stands in the source is in the table, and no code of the table is unused."""
    files = [file for file in Path(meshlib.__file__).parent.rglob("*.py") if not file.name.endswith("codes.py")]
    used = {code for file in files for code in re.findall(r'"(MESH\d{3})"', file.read_text(encoding="utf-8"))}
    assert used == set(CODES)


def test_no_example_is_left_over() -> None:
    """Each example is one of a code."""
    assert {file.stem for file in EXAMPLES.iterdir()} <= set(ALL)


@pytest.mark.parametrize("code", [code for code in ALL if code not in HUGE])
def test_the_example_triggers_its_code(code: str) -> None:
    """With the level of the table, a resource or a place, and a remedy."""
    example = example_of(code)
    assert example is not None
    told = told_by(code, example)
    assert told
    for who, findings in told.items():
        for one in findings:
            assert one.message and one.hint and (one.resource or one.line), who
    if code in CODES:
        assert {one.level for findings in told.values() for one in findings} == {CODES[code].level}
    if code.startswith("IST"):
        assert {one.level for findings in told.values() for one in findings} == {MESSAGES[code].level}


@pytest.mark.parametrize("code", sorted(code for code in CODES if code not in HUGE and code < "MESH090"))
def test_validation_tells_what_is_wrong_with_a_resource(code: str) -> None:
    """And loading tells what shows only once everything is compiled (060 to 069)."""
    example = example_of(code)
    assert example is not None
    assert (LOAD if "MESH060" <= code < "MESH070" else VALIDATE) in told_by(code, example)


@pytest.mark.parametrize("code", HUGE)
def test_what_is_too_large_for_an_example(code: str) -> None:
    """These codes say why the documentation has no example, and are triggered here."""
    assert CODES[code].without_example and example_of(code) is None
    assert code in {finding.code for finding in load_text(HUGE[code]).findings}
