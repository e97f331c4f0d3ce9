"""The reader against what Kubernetes (sigs.k8s.io/yaml) makes of the same texts."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib._config.reader import read
from meshlib.diagnostics import Finding
from tests.corpus import load_corpus


def read_one(text: str | bytes) -> tuple[Any, list[Finding]]:
    """The first value of ``text`` (None without one) and all findings."""
    findings: list[Finding] = []
    documents = list(read(text, "text.yaml", findings))
    return documents[0].value if documents else None, findings


def same(one: object, other: object) -> bool:
    """Equal, and numbers, booleans and texts of the same type."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def _cases() -> list[Any]:
    try:
        cases = load_corpus("yaml/readings.json")["cases"]
    except pytest.skip.Exception as skipped:
        return [pytest.param({}, marks=pytest.mark.skip(reason=str(skipped)))]
    return [pytest.param(case, id=case["id"]) for case in cases]


@pytest.mark.parametrize("case", _cases())
def test_reads_the_corpus_as_kubernetes_does(case: dict[str, Any]) -> None:
    """A text of the corpus has Kubernetes' value, or an error where Kubernetes has one."""
    value, findings = read_one(case["yaml"])
    if "error" in case:
        assert [finding.level for finding in findings] == ["error"]
        assert value is None
    else:
        assert not findings
        assert same(value, case["json"])


# What follows was settled with the oracle (Go's reader itself), beyond the corpus.
SCALARS: list[tuple[str, object]] = [
    ("0b-11", -3),
    ("0b+11", 3),
    ("0b", "0b"),
    ("+0b11", 3),
    ("-0b", "-0b"),
    ("0_7", 7),
    ("0x_1", 1),
    ("1_0.5", 10.5),
    ("1e1_0", 10_000_000_000),
    ("_", "_"),
    ("-_1", -1),
    ("+_1", 1),
    (".1_0", 0.1),
    (".1_", ".1_"),
    ("._5", "._5"),
    (".5e1_0", 5_000_000_000),
    (".5e400", ".5e400"),
    (".5e-400", 0),
    ("1e-400", 0),
    ("-1e400", "-1e400"),
    ("123456789012345678901", 123456789012345680000),
    ("-9223372036854775808", -9223372036854775808),
    ("-9223372036854775809", -9223372036854776000),
    ("+18446744073709551615", 18446744073709552000),
    ("18446744073709551616", 18446744073709552000),
    ("0xFFFFFFFFFFFFFFFF", 18446744073709551615),
    ("0x10000000000000000", "0x10000000000000000"),
    ("0777777777777777777777777", 7.777777777777777e23),
    ("1.0e20", 100000000000000000000),
    ("1.0e+21", 1e21),
    ("1e-7", 1e-07),
    ("0o", "0o"),
    ("09.5", 9.5),
    ("1.e", "1.e"),
    ("1e", "1e"),
    ("2001-1-1", "2001-1-1"),
    ("2001-01-01 1:2:3", "2001-01-01 1:2:3"),
    ("+.INF.", "+.INF."),
    ("=", "="),
    ("<<", "<<"),
    ("!!str 5", "5"),
    ("!!int '0x10'", 16),
    ("!!float 1", 1),
    ("!!float 9223372036854775807", 9223372036854776000),
    ("!!bool on", True),
    ("!!null ~", None),
    ("!!map x", "x"),
    ("!!str [a]", ["a"]),
    ("!!seq {b: 1}", {"b": 1}),
    ("! 5", "5"),
    ("! yes", "yes"),
    ("[001:db8::, 2001:db8::1]", ["001:db8::", "2001:db8::1"]),
    ("[a:, b]", ["a:", "b"]),
    ("{x:}", {"x:": None}),
    ("[-]", ["-"]),
    ("[-, x]", ["-", "x"]),
    ("[?x]", [{"x": None}]),
    ("[a: b, c]", [{"a": "b"}, "c"]),
    ("[!!str , b]", ["", "b"]),
    ("?b", "?b"),
    (":b", ":b"),
    ("'\\/'", "\\/"),
    ("a\\/b", "a\\/b"),
    ('"x"#c', "x"),
    ("\ufeffb", "\ufeffb"),
]
REFUSED = [
    "[x?y]",
    "{u: /p?q=1}",
    "{!!str a?: 1}",
    "[:b]",
    "[::1]",
    '"\\/"',
    "[a]b",
    "'1'b",
    "!!float 18446744073709551615",
    "!!int 1.0",
    "!!null x",
    "!!bool maybe",
    "+.Inf",
    "-.nan: 1",
    "{<<: 1}",
    "{<<: [1]}",
    "{<<: [[{a: 1}]]}",
]
KEYS: list[tuple[str, object]] = [
    ("1e6: a", {"1e+06": "a"}),
    ("100000.5: a", {"100000.5": "a"}),
    ("1234567.5: a", {"1.2345675e+06": "a"}),
    ("0.00001: a", {"1e-05": "a"}),
    ("16777217.0: a", {"1.6777216e+07": "a"}),
    ("1e300: a", {".inf": "a"}),
    (".inf: a", {".inf": "a"}),
    (".nan: a", {".nan": "a"}),
    ("1e-50: a", {"0": "a"}),
    ("-0.0: a", {"-0": "a"}),
    ("0x10: a", {"16": "a"}),
    ("on: a", {"true": "a"}),
    ("NO: a", {"false": "a"}),
    ("!!str 1: a", {"1": "a"}),
    ("!!int '7': a", {"7": "a"}),
    ("'~': a", {"~": "a"}),
    ("'': a", {"": "a"}),
    ("? a", {"a": None}),
    ("a: &x 1e6\n*x : 1", {"a": 1000000, "1e+06": 1}),
    ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
    ("!!merge <<: {a: 1}", {"a": 1}),
    ("'<<': {a: 1}", {"<<": {"a": 1}}),
    ("b: 3\n<<: {b: 4}", {"b": 4}),
    ("<<: {b: 4}\nb: 3", {"b": 3}),
    ("<<: [{a: 1}, {a: 2, b: 2}]", {"a": 1, "b": 2}),
    ("<<: {<<: {a: 1}, b: 2}", {"a": 1, "b": 2}),
]


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[text for text, _ in SCALARS])
def test_reads_a_value_as_go_does(text: str, value: object) -> None:
    """The value of a key is what Go's reader said it is."""
    read_value, findings = read_one(f"a: {text}\n")
    assert not findings
    assert same(read_value, {"a": value})


@pytest.mark.parametrize(("text", "value"), KEYS, ids=[text for text, _ in KEYS])
def test_reads_keys_as_go_does(text: str, value: object) -> None:
    """Keys are texts, as Kubernetes makes them, and merges go in the order of the text."""
    read_value, findings = read_one(f"{text}\n")
    assert not findings
    assert same(read_value, value)


@pytest.mark.parametrize("text", REFUSED)
def test_refuses_what_go_refuses(text: str) -> None:
    """One error, and no document."""
    value, findings = read_one(f"a: {text}\n")
    assert value is None
    assert [finding.level for finding in findings] == ["error"]
    assert findings[0].line == 1
    assert findings[0].hint


@pytest.mark.parametrize("text", ["~: a", "? [a]\n: 1", "{a: 1}: 2", "9223372036854775808: a", "? \n: a"])
def test_refuses_a_key_that_is_no_text(text: str) -> None:
    """Null, collections and unsigned integers beyond 63 bits are no keys in Kubernetes."""
    value, findings = read_one(text)
    assert value is None
    assert [finding.code for finding in findings] == ["MESH013"]
