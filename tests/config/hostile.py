"""Hostile YAML texts: deep, long, odd, or made to explode."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

__all__ = ["DEEP", "LONG", "ODD", "hostile_texts"]


def bomb(width: int, levels: int, opening: str = "[", closing: str = "]") -> str:
    names = [f"n{level}" for level in range(levels)]
    lines = [f"n0: &n0 {opening}{','.join(['x'] * width)}{closing}"]
    for before, name in pairwise(names):
        lines.append(f"{name}: &{name} {opening}{','.join([f'*{before} '] * width)}{closing}")
    return "\n".join(lines) + "\n"


def _merge_bomb(keys: int, merges: int) -> str:
    base = "base: &base {" + ", ".join(f"k{index}: 1" for index in range(keys)) + "}\n"
    return base + "all:\n" + "- {<<: *base}\n" * merges


_SIZES = (101, 1_000, 20_000)
DEEP: dict[str, Callable[[int], str]] = {
    "lists": lambda n: "[" * n,
    "closed-lists": lambda n: "[" * n + "]" * n,
    "mappings": lambda n: "{a: " * n,
    "closed-mappings": lambda n: "{a: " * n + "}" * n,
    "single-pairs": lambda n: "[a: " * n,
    "complex-keys": lambda n: "? " * n,
    "flow-keys": lambda n: "{? " * n,
    "mapping-keys": lambda n: "{" * n,
    "mixed": lambda n: "[{a: " * n,
    "dashes": lambda n: "- " * n + "a",
    "anchored-lists": lambda n: "".join(f"&a{index} [" for index in range(n)),
    "tagged-lists": lambda n: "!!seq [" * n,
    "json": lambda n: '{"a":' * n + "1" + "}" * n,
    "json-lists": lambda n: '{"a":"\\/","b":' + "[" * n + "]" * n + "}",
}
LONG: dict[str, Callable[[int], str]] = {
    "key": lambda n: "k" * n + ": 1",
    "quoted-key": lambda n: '"' + "k" * n + '": 1',
    "explicit-key": lambda n: "? " + "k" * n + "\n: 1",
    "plain": lambda n: "a: " + "x" * n,
    "digits": lambda n: "a: " + "9" * n,
    "hex": lambda n: "a: 0x" + "f" * n,
    "octal": lambda n: "a: 0" + "7" * n,
    "zeros": lambda n: "a: " + "0" * n,
    "binary": lambda n: "a: 0b" + "1" * n,
    "signed-binary": lambda n: "a: 0b-" + "1" * n,
    "underscores": lambda n: "a: 1" + "_" * n,
    "fraction": lambda n: "a: ." + "1" * n,
    "exponent": lambda n: "a: 1e" + "9" * n,
    "number-key": lambda n: "9" * n + ".5: a",
    "anchor": lambda n: "a: &" + "x" * n + " 1",
    "alias": lambda n: "a: *" + "x" * n,
    "tag": lambda n: "a: !" + "x" * n + " 1",
    "quotes": lambda n: 'a: "' + '""' * n,
    "single-quotes": lambda n: "a: '" + "''" * n,
    "escapes": lambda n: 'a: "' + "\\\\" * n,
    "escaped-slashes": lambda n: 'a: "' + "\\\\" * n + '\\/"',
    "backslashes": lambda n: "a: " + "\\" * n + "/",
    "literal": lambda n: "a: |\n" + "  x\n" * n,
    "folded": lambda n: "a: >\n" + "  x\n\n" * n,
    "multi-line": lambda n: "a: x\n" + "  y\n" * n,
    "comment": lambda n: "#" * n,
    "comments": lambda n: "# c\n" * n,
    "blank": lambda n: " " * n,
    "line-breaks": lambda n: "\n" * n,
    "carriage-returns": lambda n: "a: 1\r" * n,
    "documents": lambda n: "---\n" * n,
    "document-ends": lambda n: "...\n" * n,
    "small-documents": lambda n: "--- a\n" * n,
    "broken-documents": lambda n: "---\n[\n" * n,
    "bad-documents": lambda n: "---\n\x00\n" * n,
    "duplicate-keys": lambda n: "a: 1\n" * n,
    "unknown-aliases": lambda n: "- *x\n" * n,
    "colons-in-lists": lambda n: "[" + "a:," * n + "]",
    "quoted-colons": lambda n: "[" + "a':," * n,
    "colon-run": lambda n: "[" + ":" * n + "]",
    "questions": lambda n: "[" + "a?," * n + "]",
    "commas": lambda n: "[" + "," * n,
    "items": lambda n: "[" + "a," * n + "]",
    "pairs": lambda n: "{" + ",".join(f"k{index}: 1" for index in range(n)) + "}",
    "tag-directives": lambda n: "".join(f"%TAG !{index}! x\n" for index in range(n)),
    "yaml-directives": lambda n: "%YAML 1.1\n" * n,
    "percent-lines": lambda n: "%\n" * n,
    "byte-order-marks": lambda n: "\ufeff" * n,
    "anchors": lambda n: "".join(f"a{index}: &a{index} 1\n" for index in range(n)),
    "one-anchor": lambda n: "- &a 1\n" * n,
    "merges": lambda n: "<<: {a: 1}\n" * n,
    "merge-list": lambda n: "<<: [" + "{a: 1}," * n + "]",
    "json-values": lambda n: '{"a":"\\/"}' * n,
    "json-spaces": lambda n: '{"a":"\\/"}' + " \n" * n,
    "separators": lambda n: "a: x\u2028" * n,
}
ODD: dict[str, str | bytes] = {
    "bomb-lists": bomb(9, 9),
    "bomb-deep": bomb(2, 60),
    "bomb-mappings": "\n".join(
        f"m{n}: &m{n} {{{', '.join(f'k{i}: *m{n - 1} ' for i in range(9)) if n else 'x: 1'}}}" for n in range(9)
    ),
    "bomb-wide": bomb(1_000, 3),
    "bomb-merge": _merge_bomb(1_000, 1_000),
    "bomb-merge-chain": "".join(
        f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1} '] * 9) if n else '{a: 1}'}]}}\n" for n in range(40)
    ),
    "bomb-list-kind": "kind: List\nitems: " + bomb(9, 7).replace("\n", "\n  ").replace("n0:", "\n  n0:", 1),
    "bomb-list-nested": "a0: &l0 {kind: List, items: [{}]}\n"
    + "".join(f"a{n}: &l{n} {{kind: List, items: [{', '.join([f'*l{n - 1} '] * 9)}]}}\n" for n in range(1, 9))
    + "kind: List\nitems: [*l8 ]\n",
    "self-alias": "a: &a [*a]",
    "self-merge": "a: &a {<<: *a}",
    "root-self-alias": "&a [*a]",
    "root-alias": "*a",
    "alias-across-documents": "a: &a 1\n---\nb: *a",
    "alias-as-key": "a: &a [1]\n*a : 1",
    "anchor-on-alias": "a: &a 1\nb: &b *a",
    "two-anchors": "a: &a &b 1",
    "anchor-only": "a: &",
    "anchor-odd": "a: &é 1",
    "anchor-nothing": "&a",
    "alias-only": "*",
    "tag-only": "!",
    "tag-open": "!<",
    "tag-escape": "a: !%zz 1",
    "tag-utf8": "a: !%ff 1",
    "tag-python": "a: !!python/object/apply:os.system ['true']",
    "tag-name": "a: !!python/name:os.system",
    "tag-handle": "a: !x!y 1",
    "tag-on-collection": "!!omap [a: 1]",
    "number-1e400": "a: 1e400",
    "number-huge-exponent": "a: 1e999999999999",
    "number-nan-key": ".nan: 1\n.NaN: 2",
    "number-inf": "[.inf, -.inf, .nan]",
    "tab-indent": "a:\n\t- b",
    "tab-only": "\t",
    "tab-in-block": "a: |\n\tx",
    "tab-after-dash": "-\ta\n-\t- b",
    "nul": "a: \x00",
    "nul-first": "\x00",
    "nul-bytes": b"\x00" * 100,
    "nul-quoted": 'a: "\x00"',
    "controls": "".join(map(chr, range(32))),
    "delete": "a: \x7f",
    "c1": "a: \x9f",
    "surrogate": "a: \ud800\udc00",
    "surrogate-escape": 'a: "\\ud800"',
    "escape-too-large": 'a: "\\UFFFFFFFF"',
    "escape-unknown": 'a: "\\q"',
    "escape-cut": 'a: "\\u12',
    "nonchar": "a: \ufffe\uffff",
    "utf8-cut": b"a: \xe2\x82",
    "utf8-overlong": b"a: \xc0\xaf",
    "utf8-surrogate": b"a: \xed\xa0\x80",
    "utf8-beyond": b"a: \xf5\x80\x80\x80",
    "utf8-stray": b"a: \x80\n---\nb: 1",
    "latin1": "a: é".encode("latin-1"),
    "utf16-mark": b"\xff\xfe",
    "utf16-odd": b"\xff\xfea",
    "utf16-without-mark": "a: 1".encode("utf-16-le"),
    "utf16-nul": b"\xff\xfe\x00\x00",
    "utf32": "a: 1".encode("utf-32"),
    "binary": bytes(range(256)) * 40,
    "gzip": b"\x1f\x8b\x08\x00" + bytes(range(255, 0, -1)),
    "elf": b"\x7fELF\x02\x01\x01" + b"\x00" * 57,
    "unclosed-list": "a: [b",
    "unclosed-mapping": "a: {b",
    "unclosed-quote": "a: 'b",
    "unclosed-double": 'a: "b\n---\nc: 1',
    "unclosed-both": "[{",
    "closed-only": "]}",
    "crossed": "[{]}",
    "key-without-value": "a",
    "value-without-key": ": a",
    "colon": ":",
    "dash": "-",
    "question": "?",
    "bar": "|",
    "greater": "> x",
    "percent": "%",
    "at": "@",
    "backtick": "`",
    "indicators": "-?:,[]{}#&*!|>'\"%@`",
    "block-zero": "a: |0\n x",
    "block-indent": "a: |9\n x",
    "block-signs": "a: |+-\n x",
    "bad-indent": "a:\n    b: 1\n  c: 2",
    "less-indent": "  a: 1\n b: 2",
    "list-in-mapping": "a: 1\n- b",
    "mapping-in-list": "- a\nb: 1",
    "two-colons": "a: b: c: d",
    "value-on-marker": "--- a: 1",
    "marker-in-quote": "a: '\n--- \n'",
    "marker-in-list": "[\n---\n]",
    "end-in-list": "[\n...\n]",
    "directive-late": "a: 1\n%YAML 1.1\n---\nb: 1",
    "directive-version": "%YAML 9.9\n---\na: 1",
    "directive-number": "%YAML 111111111111.1\n---\na",
    "directive-unknown": "%FOO bar\n---\na: 1",
    "directive-twice": "%YAML 1.1\n%YAML 1.1\n---\na",
    "directive-alone": "%YAML 1.1",
    "merge-number": "<<: 1",
    "merge-list-of-lists": "<<: [[a]]",
    "merge-unknown": "<<: *x",
    "merge-null": "<<:",
    "key-list": "[a]: 1",
    "key-mapping": "{a: 1}: 1",
    "key-null": "~: 1",
    "key-empty": "'': 1",
    "key-nested": "? ? ? a\n: b\n: c\n: d",
    "json-number": '{"a": 1e999, "b": "\\/"}',
    "json-long-number": '{"b": "\\/", "a": ' + "9" * 10_000 + "}",
    "json-constant": '{"a": Infinity, "b": "\\/"}',
    "json-cut": '{"a": "\\/',
    "json-behind": '{"a": "\\/"} x',
    "stand-in": "a: [\ue000:, \ue001]",
    "html": "<!DOCTYPE html><html><body>: x</body></html>",
    "template": "a: {{ .Values.x }}",
    "template-block": "{{- if .x }}\na: 1\n{{- end }}",
    "conflict": "<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> x\n",
}


def hostile_texts() -> list[object]:
    """All of them as pytest parameters."""
    rows: list[object] = []
    for name, deep in DEEP.items():
        rows += [pytest.param(deep(size), id=f"deep-{name}-{size}") for size in _SIZES]
    rows += [pytest.param(long(10_000), id=f"long-{name}") for name, long in LONG.items()]
    rows += [pytest.param(text, id=name) for name, text in ODD.items()]
    return rows
