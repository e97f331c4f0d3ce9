"""A row of the table of finding codes."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.diagnostics import Level

__all__ = ["CodeInfo", "row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeInfo:
    """A row of the table: default level, title, one sentence of explanation, remedy."""

    level: Level
    title: str
    explanation: str
    remedy: str


def row(level: Level, title: str, explanation: str, remedy: str) -> CodeInfo:
    return CodeInfo(level=level, title=title, explanation=explanation, remedy=remedy)
