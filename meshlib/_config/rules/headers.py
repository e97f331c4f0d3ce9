"""Names and values of headers that routes match, add and remove (header_value_validator.go)."""

from __future__ import annotations

import re
from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.report import Report
from meshlib.model.virtual_service import HeaderOperations, Headers, HTTPRewrite

__all__ = ["check_authority", "check_header_name", "check_operations", "is_claim"]

# Istio's class is written `+-.`, a range, which takes the comma in.
_TOKEN: Final = re.compile(r"[!#$%&'*+,\-.^_`|~A-Za-z0-9]+\Z")
_PSEUDO: Final = frozenset({":method", ":scheme", ":authority", ":path", ":status"})
_CLAIM: Final = re.compile(r"(?is)@request\.auth\.claims(?:\..+|\[.+\])\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_INVALID: Final = "header value configuration: invalid header configuration."


def is_claim(name: str) -> bool:
    """Whether a match is on a claim of the token: ``@request.auth.claims.sub``, ``@request.auth.claims[sub]``."""
    return name.startswith("@") and _CLAIM.match(name) is not None


def check_header_name(name: str, path: Path, report: Report, *, is_listed: bool = False) -> None:
    """The name of a header that is matched; or listed by CORS, where ``*`` is one."""
    if not name:
        report.add("MESH075", path, "header name cannot be empty")
    elif _TOKEN.match(name) is None and (is_listed or (name not in _PSEUDO and not is_claim(name))):
        report.add("MESH075", path, f"header name {name} is not a valid header name")


def check_operations(headers: Headers, path: Path, report: Report) -> None:
    """Header operations of a route or of one destination."""
    if headers.request is not None:
        _check_side(headers.request, (*path, "request"), report, is_request=True)
    if headers.response is not None:
        _check_side(headers.response, (*path, "response"), report, is_request=False)


def check_authority(rewrite: HTTPRewrite | None, headers: Headers | None, path: Path, report: Report) -> None:
    """The authority of a request is set in one place."""
    if headers is None or headers.request is None:
        return
    current = (rewrite.authority if rewrite is not None else None) or ""
    for values in (headers.request.set, headers.request.add):
        for name, value in values.items():
            if not _is_authority(name):
                continue
            if current:
                message = (
                    f'authority header cannot be set multiple times: have "{current}", attempting to set "{value}"'
                )
                report.add("MESH075", (*path, "headers", "request"), message)
                return
            current = value


def _is_authority(name: str) -> bool:
    return name.lower() in ("host", ":authority")


def _check_side(operations: HeaderOperations, path: Path, report: Report, *, is_request: bool) -> None:
    for field, values in (("add", operations.add), ("set", operations.set)):
        for name, value in values.items():
            place = (*path, field, name)
            report.check("MESH075", place, _target_problem(name, takes_authority=is_request))
            if _CONTROL.search(value) is not None:
                report.add("MESH075", place, f"header value configuration {value} is invalid")
            elif "%" in value:
                report.check("MESH075", place, _format_problem(value), "write %% for a percent sign")
    for index, name in enumerate(operations.remove):
        report.check("MESH075", (*path, "remove", index), _target_problem(name, takes_authority=False))


def _target_problem(name: str, *, takes_authority: bool) -> str:
    """Host and pseudo headers cannot be changed, but for the authority of a request."""
    if not name:
        return "header name cannot be empty"
    if takes_authority and _is_authority(name):
        return ""
    if name.lower() == "host":
        return f'invalid header "{name}": cannot set Host header'
    return f'invalid header "{name}": header cannot have ":" prefix' if name.startswith(":") else ""


# A format: text, %%, %NAME%, %NAME(text)% and %NAME(["text", …])%. A text ends at `)`, in quotes also at `"`, after
# which come further texts. The states are those of Envoy's own reader.
_NEXT: Final = {
    "literal": {"%": "percent"},
    "name": {"%": "literal", "(": "arguments"},
    "arguments": {"[": "string", " ": "arguments"},
    "string": {'"': "text", " ": "string"},
    "text": {"\\": "escaped", ")": "end", '"': "delimiter"},
    "delimiter": {",": "string", "]": "closing", " ": "delimiter"},
    "closing": {")": "end", " ": "closing"},
    "end": {"%": "literal", " ": "end"},
}
_STAYS: Final = {"literal": "literal", "name": "name", "arguments": "text", "text": "text"}
_EXPECTED: Final = {"string": "'\"'", "delimiter": "',', ']', or whitespace", "closing": "')'", "end": "'%'"}


def _format_problem(value: str) -> str:
    state = "literal"
    for char in value:
        if state == "percent":
            # The first character of a name is looked at as any other of it.
            state = "literal" if char == "%" else _NEXT["name"].get(char, "name")
        elif state == "escaped":
            state = "text"
        else:
            following = _NEXT[state].get(char, _STAYS.get(state))
            if following is None:
                return f"{_INVALID} Expecting {_EXPECTED[state]}"
            state = following
    if state == "percent":
        return f"{_INVALID} Un-escaped %"
    if state == "escaped":
        return f"{_INVALID} Un-terminated backslash in JSON string"
    return "" if state == "literal" else f"{_INVALID} Un-terminated variable expression '{value}'"
