"""What compiling finds doubtful, collected with its place."""

from __future__ import annotations

from meshlib._config.codes import finding
from meshlib._snapshot.routes import Origin
from meshlib.diagnostics import Finding

__all__ = ["Findings"]


class Findings:
    """Findings of one compilation; the same one is kept once, however many ports it appears on."""

    __slots__ = ("_found", "_seen")

    def __init__(self, found: list[Finding] | None = None) -> None:
        self._found: list[Finding] = [] if found is None else found
        self._seen: set[tuple[str, str, str]] = set()

    def add(self, code: str, origin: Origin, message: str, *, field: str = "") -> None:
        """Keep a finding at the place of ``origin``; ``field`` is below the origin's own."""
        path = ".".join(filter(None, (origin.field, field)))
        key = (code, f"{origin.resource} {path}", message)
        if key in self._seen:
            return
        self._seen.add(key)
        self._found.append(
            finding(code, message, resource=origin.resource, field=path, file=origin.file, line=origin.line)
        )
