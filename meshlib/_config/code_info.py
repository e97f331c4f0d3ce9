"""A row of the table of finding codes."""

from __future__ import annotations

from dataclasses import dataclass

from meshlib.diagnostics import Level

__all__ = ["CodeInfo", "row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeInfo:
    """A row of the table: default level, title, one sentence of explanation, remedy.

    ``without_example`` says why the documentation shows no configuration that triggers the code.
    """

    level: Level
    title: str
    explanation: str
    remedy: str
    without_example: str = ""


def row(level: Level, title: str, explanation: str, remedy: str, *, without_example: str = "") -> CodeInfo:
    return CodeInfo(level=level, title=title, explanation=explanation, remedy=remedy, without_example=without_example)
