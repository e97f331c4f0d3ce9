"""Findings: what is wrong, doubtful or worth knowing in a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Finding", "Level"]

Level: TypeAlias = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One coded finding, with its place and remedy.

    ``code`` is Istio's (``IST0101``) where Istio has one, else ours (``MESH…``);
    codes are never reused. ``resource`` reads ``Kind namespace/name``, empty for
    a text that is no resource. ``line`` and ``column`` count from 1; 0 means that
    the place is not known. ``field`` is the dotted path (``spec.http[0].timeout``).
    """

    code: str
    level: Level
    message: str
    resource: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    field: str = ""
    hint: str = ""

    @property
    def place(self) -> str:
        """``file:line:column``, as editors and terminals understand it."""
        parts = [self.file or "<text>"]
        if self.line:
            parts.append(str(self.line))
            if self.column:
                parts.append(str(self.column))
        return ":".join(parts)

    def __str__(self) -> str:
        """``file:line:column: level code Resource: field: message; hint``."""
        text = f"{self.place}: {self.level} {self.code}"
        if self.resource:
            text += f" {self.resource}"
        text += f": {self.field}: {self.message}" if self.field else f": {self.message}"
        return f"{text}; {self.hint}" if self.hint else text
