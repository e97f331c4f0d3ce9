"""Findings as text and as JSON."""

from __future__ import annotations

import json

import pytest

from meshlib.cli.findings import findings_json, findings_text, is_failure
from meshlib.diagnostics import Finding

ERROR = Finding(
    code="MESH004",
    level="error",
    message="duplicate key",
    resource="VirtualService shop/reviews",
    file="mesh/reviews.yaml",
    line=12,
    column=7,
    field="spec.http[0]",
    hint="remove one",
)
WARNING = Finding(code="MESH060", level="warning", message="no such subset", file="mesh/reviews.yaml", line=3)
NOTE = Finding(code="MESH061", level="info", message="nothing uses it")


def test_json_has_exactly_the_keys_of_the_contract() -> None:
    """One object a finding, keys in the order of the contract, empty values included."""
    rows = json.loads(findings_json([ERROR, NOTE]))
    keys = ["code", "level", "resource", "file", "line", "column", "field", "message", "hint"]
    assert [list(row) for row in rows] == [keys, keys]
    assert rows[0]["line"] == 12
    assert rows[1]["file"] == ""


def test_no_findings_are_an_empty_array() -> None:
    """A program that reads the output always gets an array."""
    assert json.loads(findings_json([])) == []


@pytest.mark.parametrize(
    ("findings", "first_line"),
    [
        ([], "ok: nothing wrong; 2 usable resources"),
        ([NOTE], "ok: 1 note; 2 usable resources"),
        ([WARNING, WARNING], "ok: 2 warnings; 2 usable resources"),
        ([WARNING, ERROR, NOTE], "FAILED: 1 error, 1 warning, 1 note; 2 usable resources"),
    ],
    ids=["none", "note", "warnings", "all"],
)
def test_first_line_is_the_result(findings: list[Finding], first_line: str) -> None:
    """The first line alone tells how it went."""
    assert next(findings_text(findings, "2 usable resources")) == first_line
    assert is_failure(findings) is first_line.startswith("FAILED")


def test_text_groups_by_file_and_orders_by_line() -> None:
    """A reader walks through the files once."""
    lines = list(findings_text([NOTE, ERROR, WARNING], "3 resources"))
    assert lines[1:] == [
        "",
        "<text>",
        "  -  info     MESH061   -",
        "                        nothing uses it",
        "",
        "mesh/reviews.yaml",
        "  3     warning  MESH060   -",
        "                           no such subset",
        "  12:7  error    MESH004   VirtualService shop/reviews: spec.http[0]",
        "                           duplicate key",
        "                           remove one",
    ]
