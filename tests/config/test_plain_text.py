"""Plain documents read by line have the values and positions that the parser gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib._config.plain_text import PlainCache, read_plain
from meshlib._config.reader import Document, read
from meshlib.diagnostics import Finding
from tests.corpus import corpus_path, load_corpus

VALID = """\
# A comment
apiVersion: networking.istio.io/v1
kind: VirtualService  # with a comment
metadata:
  name: reviews
  labels: {app: reviews, tier: "back"}
  annotations:

spec:
  hosts: [reviews, '*.example.com', a.b/c]
  gateways:
  - mesh
  - "bookinfo/gateway"
  # another comment
  http:
  - match:
    - headers:
        end-user: {exact: jason}
      port: 80
    - uri:
        prefix: /api#x?y=1
    route:
      - destination:
          host: http://reviews:80
        weight: 100
    timeout: 1.5s
  - route:
    - destination: {host: reviews, port: {number: 0x10}}
    enabled: yes
    empty:
  exportTo: []
"""


def by_parser(text: str) -> tuple[list[Document], list[Finding]]:
    """The documents as the events give them: a comment that is not ASCII is not plain."""
    findings: list[Finding] = []
    return list(read(f"{text}\n# é\n", "x", findings)), findings


def check(text: str) -> bool:
    """Whether the text is plain; if it is, it has the value and the positions of the parser."""
    plain = read_plain(text, PlainCache())
    if plain is None:
        return False
    value, place = plain
    documents, findings = by_parser(text)
    assert not findings
    if not documents:
        assert value == {}
        return True
    [expected] = documents
    document = Document(value, place, "x")
    assert json.dumps(value, sort_keys=True) == json.dumps(expected.value, sort_keys=True)
    assert list(_positions(document, value)) == list(_positions(expected, expected.value))
    return True


def _positions(document: Document, value: object, *path: str | int) -> Iterator[object]:
    yield path, document.locate(path), document.locate_key(path)
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _positions(document, value[key], *path, key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _positions(document, item, *path, index)


@pytest.mark.parametrize(
    "text",
    [
        VALID,
        VALID.replace("\n", "\n\n"),
        "---\n" + VALID,
        "--- # c\na: b\n",
        "",
        "# only\n\n  # comments",
        "---",
        "a:\n- b\n- c\nd: e",
        "a:\n  - b: c\n    d:\n    - e\n    f: g\n  - h: i\nj: k",
        "a: b   # c\n",
        "a: # c\n  b: c\n",
        "a: #c\n",
        "a: b#c",
        "a: b:c",
        "a: -1\nb: -x\nc: +1",
        "a: ''\nb: \"\"\nc: '#'\nd: \"a: b\" # c",
        "a: {}\nb: []\nc: { a: b , c: [ d , {e: f} ] }  # x",
        "on: 1\nNO: 2\na.b/c: 3\n_x: 4",
        "a: yes\nb: ~\nc: 0x1F\nd: 1.0\ne: 1e400\nf: 2001-01-01",
        "a: [y, n, 1.50, 0o17, null]",
        "a: <<\nb: =\nc: (x) y",
        "a:\nb:\n  c:\n",
    ],
)
def test_reads_what_is_plain(text: str) -> None:
    """It is not left to the parser."""
    assert check(text)


# fmt: off
ODD = (
    "a: &x b", "a: *x", "a: !x b", "a: |\n  b", "a: >\n  b", "a: 'it''s'", 'a: "\\n"', 'a: "b"c', "a: 'b' c: d",
    "a: b: c", "a: b:", "a: b\n  c", "a: b\n  c: d", "a:\n  b\n", "a:\n  b: c\n d: e", "  a: b", " # c\n a: b",
    "a: 1\na: 2", "on: 1\nyes: 2", "<<: {a: b}", "? a\n: b", "1: a", "~: a", "null: a", "'a': b", '"a": b', "a b: c",
    "- a", "- a: b", "a", "[a]", "{a: b}", "'a'", "a:b", "a:\tb", "a: b\r\n", "a: é", "a: b\x85c: d", "a: \x7f",
    "%YAML 1.1\n---\na: b", "a: b\n...\n", "a: b\n---\nc: d", "--- a: b", "---a: b", "a:\n- - b", "a:\n-", "a:\n- ",
    "a:\n-  b: c", "a:  b: c", "a:\n- # c\n  b: c", "a:\n- b\nc: d\n- e", "a: b\n- c", "a:\n  - b\n  c: d",
    "a:\n  - b\n - c", "a:\n- b\n  c: d", "a: @b", "a: `b", "a: %b", "a: ]", "a: }", "a: ,b", "a: ? b",
    "a: ?b", "a: :b", "a: -", "a: - b", "a: [b", "a: [b]c", "a: [b] c", "a: [b]#c", "a: {b}", "a: {b:c}", "a: {b: }",
    "a: [b: c]", "a: [b,]", "a: [,]", "a: {b: c,}", "a: {b: c, b: d}", "a: [b c]", "a: [*b]", "a: [b?c]", "a: ['b': c]",
    "a: {'b': c}", "a: [-]", "a: [b:, c]", "a: [::1]", "a: .inf", "a: [.nan]", "a: " + "[" * 25 + "]" * 25,
    "\n".join("  " * depth + "a:" for depth in range(90)), "a: " + "b" * (1 << 20),
)
VALUES = (
    "", "x", "1", "'q'", '"d"', "[a, b]", "{a: b}", "{a: [b]}", "# c", "x # c", "x#c", "x: y", "x:", "[]", "&a b", "-",
    "-x", "'q' # c", '"d"x', "[a] # c", "yes", ".inf", "|", "x  y ", "[a b]", "{a}", "?", "*",
    "[a, 'b: c', {d: e, f: \"g\"}]",
)
EDITS = (*" \n-:#,[]{}'\"?&*!|>%@`~a1\t\\", "  ", ": ", " #", "- ", "\n  ", "\n\n", "---\n", "on", "é")
# fmt: on


@pytest.mark.parametrize("text", ODD)
def test_leaves_everything_else_to_the_parser(text: str) -> None:
    """Also what is no YAML at all: the parser knows what to say about it."""
    assert not check(text)


def test_the_cache_changes_nothing() -> None:
    """What was seen in one document has the same meaning in the next."""
    cache = PlainCache()
    read_plain("a: on # c\non: x\nx: '1'\n", cache)
    assert read_plain("on: on # c\na: '1'\nb: [on, 1]", cache) == read_plain(
        "on: on # c\na: '1'\nb: [on, 1]", PlainCache()
    )
    assert read_plain("true: 1\non: 2", cache) is None


def test_most_of_the_samples_is_plain() -> None:
    """The samples and cases of Istio: every plain one reads as the parser reads it."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus_path("samples").rglob("*.yaml"))]
    for name in ("validation/cases.json", "yaml/readings.json"):
        texts += [case["yaml"] for case in load_corpus(name)["cases"]]
    pieces = [piece for text in texts for piece in re.split(r"(?m)^(?=---)", text)]
    assert sum(map(check, pieces)) > len(pieces) / 2


LINES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["", "", "", "- ", "-", "- - ", "# "]),
        st.sampled_from(["a: ", "b: ", "c:", "d:  ", "on: ", "1: ", "'e': ", "f f: ", "<<: ", ""]),
        st.sampled_from(VALUES),
    ),
    max_size=12,
)


@given(LINES)
def test_random_lines_read_as_the_parser_reads_them(lines: list[tuple[int, str, str, str]]) -> None:
    """Whatever is taken for plain."""
    check("\n".join("  " * depth + dash + key + value for depth, dash, key, value in lines))


@given(
    st.lists(st.tuples(st.integers(0, len(VALID)), st.integers(0, 4), st.sampled_from(EDITS)), min_size=1, max_size=3)
)
def test_a_mutated_document_reads_as_the_parser_reads_it(edits: list[tuple[int, int, str]]) -> None:
    """Or is left to it."""
    text = VALID
    for at, dropped, put in edits:
        text = text[:at] + put + text[at + dropped :]
    check(text)
