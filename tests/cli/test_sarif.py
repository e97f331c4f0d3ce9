"""Findings as SARIF 2.1.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshlib.cli.sarif import findings_sarif
from meshlib.diagnostics import Finding
from tests.cli.test_findings import ERROR, NOTE, WARNING


def run_of(*findings: Finding) -> dict[str, Any]:
    log = json.loads(findings_sarif(findings))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    return dict(run)


def test_a_clean_configuration_is_a_run_without_results() -> None:
    """SARIF readers need a run even if nothing was found."""
    run = run_of()
    assert run["results"] == []
    assert run["tool"]["driver"]["name"] == "meshlib"


def test_each_code_is_one_rule() -> None:
    """Results point to their rule by id and index."""
    run = run_of(ERROR, NOTE, ERROR)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["MESH004", "MESH061"]
    assert rules[0]["shortDescription"]["text"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == ["MESH004", "MESH061", "MESH004"]


@pytest.mark.parametrize(
    ("finding", "level"), [(ERROR, "error"), (WARNING, "warning"), (NOTE, "note")], ids=["error", "warning", "info"]
)
def test_levels_are_those_of_sarif(finding: Finding, level: str) -> None:
    """Our info is SARIF's note."""
    assert run_of(finding)["results"][0]["level"] == level


def test_place_is_a_region() -> None:
    """Line and column become a region, the resource a logical location."""
    (location,) = run_of(ERROR)["results"][0]["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "mesh/reviews.yaml"},
        "region": {"startLine": 12, "startColumn": 7},
    }
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "VirtualService shop/reviews"


def test_unknown_places_are_left_out() -> None:
    """SARIF counts from 1: a region with 0 is not valid, so there is none."""
    assert "locations" not in run_of(NOTE)["results"][0]
    (location,) = run_of(WARNING)["results"][0]["locations"]
    assert location["physicalLocation"]["region"] == {"startLine": 3}


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("a b/c#1.yaml", "a%20b/c%231.yaml"),
        (str(Path("/etc/mesh.yaml").absolute()), Path("/etc/mesh.yaml").absolute().as_uri()),
    ],
    ids=["relative", "absolute"],
)
def test_paths_become_uris(file: str, uri: str) -> None:
    """A relative path stays relative, to the root of the checkout; an absolute one gets its scheme."""
    finding = Finding(code="MESH001", level="error", message="no", file=file)
    (location,) = run_of(finding)["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == uri
