"""The reader: positions, findings, recovery, encodings, lists."""

from __future__ import annotations

import json

import pytest

from meshlib._config.reader import Document, Limits, expand_lists, read
from meshlib.diagnostics import Finding

VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: shop
spec:
  hosts: [reviews, "other"]
  http:
  - name: first
    route:
      - destination: {host: reviews, subset: v2}
  - route:
    - destination:
        host: reviews
"""


def documents(source: str | bytes, **limits: int) -> tuple[list[Document], list[Finding]]:
    """All documents and findings of a text."""
    findings: list[Finding] = []
    return list(read(source, "mesh.yaml", findings, limits=Limits(**limits))), findings


def values(text: str | bytes) -> list[object]:
    """The values of a text without findings."""
    found, findings = documents(text)
    assert not findings
    return [document.value for document in found]


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ((), (1, 1), (1, 1)),
        (("kind",), (2, 7), (2, 1)),
        (("metadata",), (4, 3), (3, 1)),
        (("metadata", "name"), (4, 9), (4, 3)),
        (("spec", "hosts"), (7, 10), (7, 3)),
        (("spec", "hosts", 1), (7, 20), (7, 20)),
        (("spec", "http"), (9, 3), (8, 3)),
        (("spec", "http", 0), (9, 5), (9, 5)),
        (("spec", "http", 0, "route", 0, "destination", "subset"), (11, 46), (11, 38)),
        (("spec", "http", 1, "route", 0, "destination"), (14, 9), (13, 7)),
        (("spec", "http", 1, "route", 0, "destination", "port", "number"), (14, 9), (14, 9)),
        (("spec", "http", 7), (9, 3), (9, 3)),
        (("kind", "x", 3), (2, 7), (2, 7)),
        (("spec", 0), (7, 3), (7, 3)),
    ],
)
def test_locates_every_node_and_key(path: tuple[str | int, ...], value: tuple[int, int], key: tuple[int, int]) -> None:
    """Positions count from 1; what does not exist has the place of the deepest node that does."""
    [document] = documents(VIRTUAL_SERVICE)[0]
    assert document.locate(path) == value
    assert document.locate_key(path) == key


def test_marks_are_the_whole_tree() -> None:
    """``marks`` mirrors the value with (line, column, children)."""
    [document] = documents("a:\n- 1\n- {b: 2}\n")[0]
    assert document.marks == (1, 1, {"a": (2, 1, [(2, 3, None), (3, 3, {"b": (3, 7, None)})])})


def test_positions_of_later_documents_count_from_the_top_of_the_file() -> None:
    """The second document's lines go on from the first's, also after a broken one."""
    found, findings = documents("a: 1\n---\nb: [\n---\n\nc:\n  d: 1\n")
    assert [document.line for document in found] == [1, 6]
    assert found[1].locate(("c", "d")) == (7, 6)
    assert [(finding.code, finding.line, finding.column) for finding in findings] == [("MESH001", 4, 1)]


def test_an_aliased_node_stands_where_the_alias_is() -> None:
    """The alias gives the place, its children keep theirs."""
    [document] = documents("a: &x {b: 1}\nc: *x\n")[0]
    assert document.locate(("c",)) == (2, 4)
    assert document.locate(("c", "b")) == (1, 11)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "---\n---\n",
        "---\n# c\n---\n...\n",
        "~\n",
        "null",
        "\ufeff",
        b"",
        b"\xef\xbb\xbf",
    ],
)
def test_empty_documents_are_skipped(text: str | bytes) -> None:
    """No document and no finding."""
    assert values(text) == []


@pytest.mark.parametrize(
    ("text", "place", "code", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", (3, 1), "MESH004", "'a' is already defined at line 1, column 1"),
        ("{a: 1, 'a': 2}", (1, 8), "MESH004", "line 1, column 2"),
        ("1: a\n'1': b\n", (2, 1), "MESH004", "'1'"),
        ("<<: {a: 1}\na: 1\na: 2\n", (3, 1), "MESH004", "line 2"),
        ("a: *b\n", (1, 4), "MESH005", "'b'"),
        ("a: &b [*b]\n", (1, 8), "MESH005", "contains itself"),
        ("a: &b {c: &b [*b]}\n", (1, 15), "MESH005", "contains itself"),
        ("a: {<<: 1}\n", (1, 9), "MESH006", "<<"),
        ("b: &b [1]\na: {<<: *b}\n", (2, 9), "MESH006", "<<"),
        ("a: !foo 1\n", (1, 4), "MESH010", "!foo"),
        ("a: !!binary aGk=\n", (1, 4), "MESH010", "!!binary"),
        ("a: !!set {b, c}\n", (1, 4), "MESH010", "!!set"),
        ("a: !!int x\n", (1, 4), "MESH011", "'x'"),
        ("a: .inf\n", (1, 4), "MESH012", ".inf"),
        ("a: !!float .nan\n", (1, 4), "MESH012", ".nan"),
        ("? [a]\n: 1\n", (1, 3), "MESH013", "a list"),
        ("~: 1\n", (1, 1), "MESH013", "'~'"),
        ("a:\n\tb: 1\n", (2, 1), "MESH001", "tab"),
        ("a: @b\n", (1, 4), "MESH001", "'@'"),
        ("a: 'b\nc: d\n", (1, 4), "MESH001", "never closed"),
        ("a: b: c\n", (1, 5), "MESH001", "mapping values"),
        ("a:\n  - b\n  c: d\n", (3, 3), "MESH001", "begins at line 2"),
        ("a: [b\nc: d\n", (2, 2), "MESH001", "',' or ']'"),
        ("a: [b?]\n", (1, 5), "MESH001", "'?'"),
        ("%YAML 1.2\n---\na: 1\n", (1, 1), "MESH001", "1.1"),
        ("a: \x00\n", (1, 4), "MESH003", "U+0000"),
        ("a: 1\nb: \x07\n", (2, 4), "MESH003", "U+0007"),
        ("a: \ud800\n", (1, 4), "MESH003", "U+D800"),
        (b"a: 1\nb: \xff\n", (2, 4), "MESH002", "0xff"),
        (b"a: \xc3", (1, 4), "MESH002", "0xc3"),
        ("[" * 101, (1, 101), "MESH007", "100"),
        ("%TAG !a! b\n" * 102, (0, 0), "MESH001", "%TAG"),
    ],
)
def test_each_fault_is_one_finding_with_its_place(
    text: str | bytes, place: tuple[int, int], code: str, words: str
) -> None:
    """Code, line and column, words that name the cause, and a remedy."""
    found, [finding] = documents(text)
    assert not found
    assert (finding.code, finding.level, finding.line, finding.column) == (code, "error", *place)
    assert words in finding.message
    assert finding.hint
    assert finding.file == "mesh.yaml"


def test_the_other_documents_are_read() -> None:
    """Each broken document costs its finding, whatever is wrong with it."""
    broken = ["a: [", "'", "\tx: 1", "b: 1\nb: 2", "\x07", "[" * 200, "*x", "!t 1"]
    text = "\n---\n".join(part for index, bad in enumerate(broken) for part in (f"id: {index}", bad))
    found, findings = documents(text)
    assert [document.value["id"] for document in found] == list(range(8))
    assert len(findings) == 8
    assert [finding.line for finding in findings] == [4, 7, 11, 16, 20, 24, 28, 32]


def test_all_findings_of_a_document_are_collected() -> None:
    """A fault of one node does not hide the next one."""
    _, findings = documents("a: 1\na: 2\nb: *x\nc: !t 1\nd: .inf\n~: 1\ne: [")
    codes = [finding.code for finding in findings]
    assert codes == ["MESH004", "MESH005", "MESH010", "MESH012", "MESH013", "MESH001"]


def test_a_finding_names_its_resource() -> None:
    """Kind, namespace and name are known where the document could be built."""
    _, [finding] = documents(VIRTUAL_SERVICE + "    timeout: 1s\n    timeout: 2s\n")
    assert finding.resource == "VirtualService shop/reviews"
    assert str(finding).startswith("mesh.yaml:16:5: error MESH004 VirtualService shop/reviews: the key 'timeout'")


def test_text_behind_a_document_is_a_warning() -> None:
    """Kubernetes ignores it, so the document stands, but silence would hide a mistake."""
    [document], [finding] = documents("{a: 1} }\n---\n")
    assert document.value == {"a": 1}
    assert (finding.code, finding.level, finding.line, finding.column) == ("MESH016", "warning", 1, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: é😀".encode(), {"a": "é😀"}),
        ("\ufeffa: 1", {"a": 1}),
        ("\ufeffa: 1".encode(), {"a": 1}),
        ("\ufeffa: é".encode("utf-16-le"), {"a": "é"}),
        ("\ufeffa: 😀".encode("utf-16-be"), {"a": "😀"}),
        (b"a: 1\rb: 2\r", {"a": 1, "b": 2}),
        (b"a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: 1\u2028b: 2\x85c: 3", {"a": 1, "b": 2, "c": 3}),
    ],
)
def test_reads_encodings_and_line_breaks(text: str | bytes, expected: object) -> None:
    """UTF-8, UTF-16 with a byte order mark, and every line break of YAML 1.1."""
    assert values(text) == [expected]


def test_bad_utf16_is_a_finding() -> None:
    """An odd number of bytes, or a lone surrogate."""
    for text in (b"\xff\xfea", b"\xff\xfe\x00\xd8", b"\xfe\xff\xd8\x00a"):
        found, [finding] = documents(text)
        assert not found
        assert finding.code in {"MESH002", "MESH003"}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "\\/b", "c": 1}',
        '{"a": "/b",\n"c":1.0}\n',
        '{\n\t"a": "\\/b",\n\t"c": 1\n}',
        '{"a": "/b", "c": 1e0}',
    ],
)
def test_reads_json(text: str) -> None:
    """Also JSON that is no YAML, with numbers as everywhere."""
    assert [json.dumps(value) for value in values(text)] == ['{"a": "/b", "c": 1}']


def test_reads_json_values_one_after_another() -> None:
    """Surrogate pairs, very long keys and several values in one text."""
    key = "k" * 2000
    found, findings = documents(f'{{"a": "\\ud83d\\ude00"}}\n\n  {{"{key}": 1}}')
    assert not findings
    assert [document.value for document in found] == [{"a": "😀"}, {key: 1}]
    assert [document.locate(()) for document in found] == [(1, 1), (3, 3)]


@pytest.mark.parametrize(
    "text", ['{"a": "\\/", "a": 1}', '{"a": "\\/", "b": NaN}', '{"a": "\\/", "b": 1e999}', '{"a": "\\/"']
)
def test_refuses_json_that_says_two_things(text: str) -> None:
    """Duplicate keys and numbers that JSON does not have stay errors."""
    found, [finding] = documents(text)
    assert not found
    assert finding.level == "error"


def test_repeated_scalars_share_their_value() -> None:
    """Plain text is kept once, which makes large configurations small."""
    [first, second] = values("a: reviews.default.svc\n---\na: reviews.default.svc\n")
    assert first["a"] is second["a"]  # type: ignore[index]


LIST = """\
apiVersion: v1
kind: List
items:
- kind: Service
  metadata: {name: a}
- apiVersion: v1
  kind: List
  items:
  - kind: Service
    metadata: {name: b}
- not a resource
"""


def test_lists_are_expanded_with_positions() -> None:
    """Also a list in a list; what is no mapping is a finding."""
    [document] = documents(LIST)[0]
    findings: list[Finding] = []
    items = list(expand_lists(document, findings))
    assert [(item.value["metadata"]["name"], item.line) for item in items] == [("a", 4), ("b", 9)]
    assert items[1].locate(("metadata", "name")) == (10, 22)
    assert [(finding.code, finding.line, finding.column) for finding in findings] == [("MESH014", 11, 3)]


def test_items_of_a_typed_list_take_its_kind() -> None:
    """As the Kubernetes API answers them."""
    text = "apiVersion: networking.istio.io/v1\nkind: GatewayList\nitems: [{metadata: {name: a}}]"
    [document] = documents(text)[0]
    [item] = expand_lists(document, [])
    assert item.value["kind"] == "Gateway"
    assert item.value["apiVersion"] == "networking.istio.io/v1"
    assert item.locate(("metadata", "name")) == (3, 27)


@pytest.mark.parametrize(
    "text", ["kind: List\nitems: []", "kind: List\nitems: ~", "kind: FooList\nitems: []\napiVersion: v1"]
)
def test_an_empty_list_has_no_documents(text: str) -> None:
    """No item, no finding."""
    findings: list[Finding] = []
    assert list(expand_lists(documents(text)[0][0], findings)) == []
    assert not findings


@pytest.mark.parametrize(
    "text", [VIRTUAL_SERVICE, "kind: AllowList", "kind: 5\nitems: []", "items: []", "kind: XList\nitems: {}"]
)
def test_other_documents_stay_whole(text: str) -> None:
    """Only a kind that ends in List with a list of items is one."""
    [document] = documents(text)[0]
    assert list(expand_lists(document, [])) == [document]


def test_limits_stop_the_reader() -> None:
    """Size, nodes, documents and findings are capped, each with one finding."""
    assert [finding.code for finding in documents("a: 12345", text=7)[1]] == ["MESH009"]
    assert [finding.code for finding in documents("[a, b, c, d]", nodes=3)[1]] == ["MESH009"]
    assert [finding.code for finding in documents("{a: 1, b: 2}", nodes=1)[1]] == ["MESH009"]
    found, findings = documents("a\n---\nb\n---\nc\n", documents=2)
    assert (len(found), [finding.code for finding in findings]) == (2, ["MESH015"])
    found, findings = documents("[\n---\n[\n---\n[\n", findings=2)
    assert [finding.code for finding in findings] == ["MESH001", "MESH001", "MESH015"]


def test_the_reader_is_lazy() -> None:
    """A document is there before the rest of the text has been looked at."""
    findings: list[Finding] = []
    reading = read("a: 1\n---\nb: [\n", "x", findings)
    assert next(reading).value == {"a": 1}
    assert not findings
