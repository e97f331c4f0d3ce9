"""Findings as SARIF 2.1.0, which code hosts show beside the changed lines.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote

import meshlib
from meshlib._analyze.messages import MESSAGES
from meshlib._config.codes import CODES
from meshlib.diagnostics import Finding

__all__ = ["findings_sarif"]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Final = {"error": "error", "warning": "warning", "info": "note"}


def findings_sarif(findings: Sequence[Finding]) -> str:
    """One SARIF log with one run; a rule for each code that occurs."""
    codes = sorted({finding.code for finding in findings})
    driver = {
        "name": "meshlib",
        "version": meshlib.__version__,
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, codes.index(finding.code)) for finding in findings],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _rule(code: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": code}
    info = CODES.get(code)
    if info is not None:
        rule["shortDescription"] = {"text": info.title}
        rule["fullDescription"] = {"text": info.explanation}
        rule["help"] = {"text": info.remedy}
        rule["defaultConfiguration"] = {"level": _LEVELS[info.level]}
    message = MESSAGES.get(code)
    if message is not None:
        rule["name"] = message.name
        rule["help"] = {"text": message.remedy}
        rule["helpUri"] = message.url
        rule["defaultConfiguration"] = {"level": _LEVELS[message.level]}
    return rule


def _result(finding: Finding, rule: int) -> dict[str, Any]:
    text = f"{finding.field}: {finding.message}" if finding.field else finding.message
    if finding.hint:
        text += f"; {finding.hint}"
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.level],
        "message": {"text": text},
    }
    location: dict[str, Any] = {}
    if finding.file:
        location["physicalLocation"] = _place(finding)
    if finding.resource:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.resource, "kind": "resource"}]
    if location:
        result["locations"] = [location]
    return result


def _place(finding: Finding) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file)}}
    if finding.line:
        region = {"startLine": finding.line}
        if finding.column:
            region["startColumn"] = finding.column
        place["region"] = region
    return place


def _uri(file: str) -> str:
    """A relative reference for a relative path, a file URI for an absolute one; ``<stdin>`` without its brackets."""
    path = PurePath(file.strip("<>"))
    return Path(file).as_uri() if path.is_absolute() else quote(path.as_posix())
