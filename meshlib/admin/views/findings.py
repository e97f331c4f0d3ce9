"""``/findings`` and ``/source``: what is worth saying about the configuration, and the lines it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from meshlib._explain.explanation import Json
from meshlib.admin.member import Member
from meshlib.admin.messages import BadAskError
from meshlib.admin.redaction import redacted_yaml

__all__ = ["findings_view", "source_view"]

_MOST: Final = 1_000
_AROUND: Final = 12
_DOCUMENT_END: Final = re.compile(r"^(---(\s|$)|\.\.\.\s*$)")
_SECRET: Final = re.compile(r"""["']?kind["']?\s*:\s*["']?Secret["']?\s*([,}#]|$)""", re.MULTILINE)


def findings_view(members: Iterable[Member]) -> dict[str, Json]:
    """``findings`` in the shape of ``meshlib validate -o json``, each once, and the kinds ``skipped``."""
    by_finding: dict[str, dict[str, Json]] = {}
    skipped: dict[str, None] = {}
    for member in members:
        for finding in member.mesh.findings:
            key = str(finding)
            if key in by_finding:
                names = by_finding[key]["members"]
                assert isinstance(names, list)
                names.append(member.name)
            elif len(by_finding) < _MOST:
                by_finding[key] = {**msgspec.to_builtins(finding), "members": [member.name]}
        skipped.update(dict.fromkeys(str(one) for one in member.mesh.skipped[:_MOST]))
    return {"findings": [*by_finding.values()], "skipped": [*skipped]}


def source_view(members: Iterable[Member], file: str, line: int) -> dict[str, Json]:
    """The lines around one of a text in force, nothing of a Secret. Raises BadAskError if there is no such text."""
    for member in members:
        text = member.mesh.source(file)
        if text is not None:
            return _excerpt(text, file, line)
    raise BadAskError(f"no text named {file[:200]!r} is in force", 404)


def _excerpt(text: str, file: str, line: int) -> dict[str, Json]:
    lines = text.splitlines()
    place = min(max(line, 1), len(lines) or 1) - 1
    first, end = max(0, place - _AROUND), min(len(lines), place + _AROUND + 1)
    start = first
    while start > 0 and not _DOCUMENT_END.match(lines[start]):
        start -= 1
    hidden = _secret_lines(lines, start, end)
    texts = redacted_yaml(lines[start:end])  # from the begin of the document: a line may belong to a key before it
    shown: list[Json] = [
        {"number": number + 1, "text": "(a Secret is not shown)" if number in hidden else text[:500]}
        for number, text in enumerate(texts, start)
        if number >= first
    ]
    return {"file": file, "line": line, "lines": shown}


def _secret_lines(lines: list[str], start: int, end: int) -> set[int]:
    """Those of the lines that belong to a document with a Secret in it; a document begins at ``start``."""
    hidden: set[int] = set()
    while start < end:
        stop = start + 1
        while stop < len(lines) and not _DOCUMENT_END.match(lines[stop]):
            stop += 1
        if _SECRET.search("\n".join(lines[start:stop])):
            hidden.update(range(start, stop))
        start = stop
    return hidden
