"""Istio's own analysis tests, variations of their inputs answered by Istio 1.31, and the pinned cases."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from meshlib._analyze.analysis import analyze
from meshlib.diagnostics import Finding
from meshlib.sources import SourceText
from tests.corpus import CORPUS, corpus_path, has_corpus, load_corpus, load_own

TABLE = load_corpus("analysis/expected.json") if CORPUS.is_dir() else {"cases": []}
VARIATIONS = load_corpus("analysis/variations.json") if has_corpus("analysis/variations.json") else {"cases": []}

OWN = load_own("analysis.json")["cases"]
UNORDERED = {"deploy-ports", "conflicting-hosts", "conflicts"}
"""Here Istio names one of several others, or more than there are, as the order of a hash table has it."""


def pinned() -> list[Any]:
    if not CORPUS.is_dir():
        return []
    every = json.loads((CORPUS.parent / "semantics-cases.json").read_text(encoding="utf-8"))
    return [case for case in every if case["area"] == "analyze"]


def read(name: str) -> SourceText:
    return SourceText(name, corpus_path(name).read_text(encoding="utf-8"))


def without_default(resource: str) -> str:
    """The corpus leaves out a namespace that is not written; here it is ``default``."""
    return resource.replace(" default/", " ")


def counted(findings: tuple[Finding, ...], scope: list[str]) -> Counter[tuple[str, str, str]]:
    return Counter(
        (entry.code, entry.level, without_default(entry.resource)) for entry in findings if entry.code in scope
    )


def expected(case: dict[str, Any]) -> Counter[tuple[str, str, str]]:
    rows = case["expected"]
    return Counter((row["code"], row["level"].lower(), without_default(row["resource"])) for row in rows)


def test_the_corpus_is_there() -> None:
    """Without it the tables below are empty, which must not look like success."""
    assert corpus_path("analysis/expected.json").is_file()


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["id"])
def test_case(case: dict[str, Any]) -> None:
    """Each analyzer says what Istio's test of it expects, and nothing else."""
    names = [TABLE["default_resources"], *case["files"], *([case["mesh_config"]] if case["mesh_config"] else [])]
    found = counted(analyze(map(read, names)).findings, case["scope_codes"])
    wanted = expected(case)
    missing = wanted - found
    extra = Counter({row: n for row, n in (found - wanted).items() if row[0] not in case["shared_codes"]})
    assert not missing and not extra


@pytest.mark.parametrize("case", VARIATIONS["cases"], ids=lambda case: case["id"])
def test_variation(case: dict[str, Any]) -> None:
    """A varied configuration gets exactly the messages that Istio 1.31 gives it."""
    found = analyze([SourceText("variation.yaml", case["resources"])]).findings
    assert counted(found, VARIATIONS["scope_codes"]) == expected(case)


@pytest.mark.parametrize("case", pinned(), ids=lambda case: case["id"])
def test_pinned_case(case: dict[str, Any]) -> None:
    """The messages that semantics 9 names are there."""
    found = {(entry.code, entry.resource) for entry in analyze([SourceText("case.yaml", case["config"])]).findings}
    assert {tuple(row) for row in case["expect"]["messages"]} <= found


@pytest.mark.parametrize("case", OWN, ids=lambda case: case["id"])
def test_own_scenario(case: dict[str, Any]) -> None:
    """Each corner of each analyzer: the messages of Istio 1.31, word by word."""
    texts = [SourceText("own.yaml", case["resources"])]
    if "mesh_config" in case:
        texts.append(SourceText("mesh.yaml", case["mesh_config"]))
    is_exact = case["id"] not in UNORDERED
    found = Counter(
        (entry.code, entry.level, entry.resource, entry.message if is_exact else "")
        for entry in analyze(texts).findings
        if entry.code.startswith("IST")
    )
    wanted = Counter(
        (row["code"], row["level"].lower(), row["resource"], row["message"] if is_exact else "")
        for row in case["expected"]
    )
    assert found == wanted
