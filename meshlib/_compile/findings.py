"""What compiling finds doubtful, collected with its place."""

from __future__ import annotations

from typing import TypeAlias

from meshlib._config.codes import finding
from meshlib._snapshot.routes import Origin
from meshlib.diagnostics import Finding

__all__ = ["Doubt", "Findings"]

Doubt: TypeAlias = tuple[str, Origin, str, str]
"""Code, place, message and field, as they are given to :meth:`Findings.add`."""


class Findings:
    """Findings of one compilation; the same one is kept once, however many ports it appears on."""

    __slots__ = ("_found", "_seen", "noted")

    def __init__(self, found: list[Finding] | None = None) -> None:
        self._found: list[Finding] = [] if found is None else found
        self._seen: set[tuple[str, str, str]] = set()
        self.noted: list[Doubt] | None = None
        """While it is a list: everything that is added, also what is known already."""

    def add(self, code: str, origin: Origin, message: str, *, field: str = "") -> None:
        """Keep a finding at the place of ``origin``; ``field`` is below the origin's own."""
        if self.noted is not None:
            self.noted.append((code, origin, message, field))
        path = ".".join(filter(None, (origin.field, field)))
        key = (code, f"{origin.resource} {path}", message)
        if key in self._seen:
            return
        self._seen.add(key)
        self._found.append(
            finding(code, message, resource=origin.resource, field=path, file=origin.file, line=origin.line)
        )
