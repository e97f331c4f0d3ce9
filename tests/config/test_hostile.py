"""Hostile texts: each is findings (or a harmless value), never a crash, a hang or a flood."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib._config.reader import Document, Limits, expand_lists, read
from meshlib.diagnostics import Finding
from tests.config.hostile import DEEP, ODD, hostile_texts

VALID = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  labels: {app: &app reviews, "tier": back}
spec:
  hosts: [reviews]
  http:
  - match:
    - headers: {end-user: {exact: jason}}
    route: &route
    - destination: {host: reviews, subset: v2}   # the canary
      weight: 100
    timeout: 1.5s
  - route: *route
    fault:
      delay: {percentage: {value: 0.1}, fixedDelay: 5s}
"""
SMALL = Limits(text=2 << 20, nodes=20_000, expanded=20_000, documents=1_000, findings=200)


def read_all(text: str | bytes, limits: Limits = SMALL) -> tuple[list[Document], list[Finding]]:
    """Everything that the loader would do with a text before it decodes resources."""
    findings: list[Finding] = []
    documents: list[Document] = []
    for document in read(text, "hostile.yaml", findings, limits=limits):
        assert document.line >= 1
        documents.extend(expand_lists(document, findings))
    assert all(finding.file and finding.message and finding.hint and str(finding) for finding in findings)
    return documents, findings


def _nodes(value: object) -> int:
    """The nodes that a walk over the value would see."""
    stack, count = [value], 0
    while stack:
        count += 1
        item = stack.pop()
        stack.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
    return count


def test_there_are_200_of_them() -> None:
    """The table keeps its promise."""
    assert len(hostile_texts()) >= 200


@pytest.mark.parametrize("text", hostile_texts())
def test_a_hostile_text_is_findings_only(text: str | bytes) -> None:
    """Nothing is raised; what is read stays small, and so does the memory it took."""
    tracemalloc.start()
    try:
        documents, findings = read_all(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(findings) <= SMALL.findings + 1_001
    assert sum(_nodes(document.value) for document in documents) <= 2 * (SMALL.nodes + SMALL.expanded)
    assert peak <= 32 << 20


@pytest.mark.parametrize("name", ["bomb-lists", "bomb-deep", "bomb-mappings", "bomb-merge", "bomb-list-nested"])
def test_a_bomb_is_one_finding(name: str) -> None:
    """With the caps that users have, too."""
    documents, [finding] = read_all(ODD[name], Limits())
    assert not documents
    assert finding.code == "MESH008"


@pytest.mark.parametrize("name", DEEP)
def test_depth_is_one_finding(name: str) -> None:
    """Whatever the nesting is made of."""
    documents, findings = read_all(DEEP[name](500))
    assert not documents
    assert len(findings) == 1


def test_broken_neighbours_do_not_cost_more_than_their_share() -> None:
    """Ten thousand broken documents are read as fast as their text is long, not as its square."""
    text = "".join(f"---\na: {index}\n---\n'\n" for index in range(5_000))
    documents, findings = read_all(text, Limits(findings=10_000))
    assert (len(documents), len(findings)) == (5_000, 5_000)


# fmt: off
FRAGMENTS = st.sampled_from((
    "\n", "\r", "\t", " ", "  ", ": ", ":", "- ", "-", "? ", "[", "]", "{", "}", ",", "#", " #", "&a ", "*a ", "<<: ",
    "!", "!!int ", "!x ", "|\n", ">-\n", "'", '"', "\\", "\\/", "%", "@", "`", "---\n", "...\n", "\x00", "\ud800",
    "\x85", "\u2028", "\ufeff", "~", "1", ".inf", "0x", "a:\n", "{a: [", "y: ", "\ue000", "é", "😀",
))
# fmt: on


@given(st.one_of(st.text(), st.binary(), st.lists(FRAGMENTS, max_size=40).map("".join)))
def test_random_text_never_raises(text: str | bytes) -> None:
    """Any text is documents and findings."""
    read_all(text)


@given(st.lists(st.tuples(st.integers(0, len(VALID)), st.integers(0, 8), FRAGMENTS), min_size=1, max_size=4))
def test_a_mutated_resource_never_raises(edits: list[tuple[int, int, str]]) -> None:
    """A valid resource with a few random edits is read, or refused with a place inside the text."""
    text = VALID
    for at, dropped, put in edits:
        text = text[:at] + put + text[at + dropped :]
    _, findings = read_all(text)
    lines = len(text.splitlines()) + 2
    assert all(0 <= finding.line <= lines for finding in findings)
