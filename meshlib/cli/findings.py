"""Findings for people and for programs. Nothing here decides what is a finding."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from meshlib.diagnostics import Finding

__all__ = ["Paint", "findings_json", "findings_text", "is_failure", "plain", "sort_key"]

Paint: TypeAlias = Callable[[str, str], str]
"""Gives a text a style: ``error``, ``warning``, ``info``, ``good``, ``strong`` or ``dim``."""

_KEYS: Final = ("code", "level", "resource", "file", "line", "column", "field", "message", "hint")


def plain(text: str, _: str) -> str:
    """Paint without colours."""
    return text


def is_failure(findings: Iterable[Finding]) -> bool:
    """Whether the command has to fail: for one error or more."""
    return any(finding.level == "error" for finding in findings)


def findings_json(findings: Iterable[Finding]) -> str:
    """The findings as one JSON array; its keys are a contract."""
    rows = [{key: getattr(finding, key) for key in _KEYS} for finding in findings]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def sort_key(finding: Finding) -> tuple[str, int, int, str]:
    """By place, as a reader walks through the files."""
    return finding.file, finding.line, finding.column, finding.code


def findings_text(findings: Sequence[Finding], subject: str, *, paint: Paint = plain) -> Iterator[str]:
    """Lines for people. The first one is the result; ``subject`` says what came of the reading."""
    result = paint("FAILED", "error") if is_failure(findings) else paint("ok", "good")
    yield f"{result}: {_counts(findings)}; {subject}"
    for file, group in groupby(sorted(findings, key=sort_key), key=lambda finding: finding.file):
        rows = list(group)
        yield ""
        yield paint(file or "<text>", "strong")
        width = max(len(_place(finding)) for finding in rows)
        for finding in rows:
            yield from _rows(finding, width, paint)


def _counts(findings: Sequence[Finding]) -> str:
    counts: Counter[str] = Counter(finding.level for finding in findings)
    parts = [
        f"{counts[level]} {name}{'s' if counts[level] != 1 else ''}"
        for level, name in (("error", "error"), ("warning", "warning"), ("info", "note"))
        if counts[level]
    ]
    return ", ".join(parts) or "nothing wrong"


def _place(finding: Finding) -> str:
    if not finding.line:
        return "-"
    return f"{finding.line}:{finding.column}" if finding.column else str(finding.line)


def _rows(finding: Finding, width: int, paint: Paint) -> Iterator[str]:
    where = ": ".join(part for part in (finding.resource, finding.field) if part)
    indent = " " * (width + 23)
    level = paint(f"{finding.level:<7}", finding.level)
    yield f"  {_place(finding):<{width}}  {level}  {finding.code:<8}  {where or '-'}"
    yield f"{indent}{finding.message}"
    if finding.hint:
        yield f"{indent}{paint(finding.hint, 'dim')}"
