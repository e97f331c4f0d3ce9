"""Where analyzers put their messages."""

from __future__ import annotations

from collections.abc import Mapping

from meshlib._analyze.messages import MESSAGES, render
from meshlib._analyze.view import Item, Node, Path
from meshlib._config.codes import finding
from meshlib._config.written import dotted
from meshlib.diagnostics import Finding, Level

__all__ = ["Reporter", "selector_text"]


class Reporter:
    """Collects messages. Two with the same text at the same line of one object are one, as Istio counts them."""

    def __init__(self) -> None:
        self.findings: list[tuple[Item, Finding]] = []
        self._seen: set[tuple[str, str, str, int]] = set()

    def add(self, code: str, item: Item, *parameters: object, at: Path = (), show: Path | None = None) -> None:
        """A message of Istio's about ``item``.

        ``at`` is the field whose line Istio gives, which it knows only of plain values;
        ``show`` is a better place to send the reader to.
        """
        message = MESSAGES[code]
        text = render(message, *parameters)
        line = item.document.locate(at)[0] if at and _is_plain(item.top, at) else 0
        if self._is_new(code, item, text, line):
            place = at if show is None else show
            self._keep(item, code, text, place, level=message.level, hint=message.remedy)

    def hazard(self, code: str, item: Item, text: str, at: Path, *, level: Level | None = None, hint: str = "") -> None:
        """A message of ours about the field ``at``; level and remedy are those of the code unless given."""
        row = finding(code, text, hint=hint, level=level)
        if self._is_new(code, item, text, item.document.locate(at)[0]):
            self._keep(item, code, text, at, level=row.level, hint=row.hint)

    def _is_new(self, code: str, item: Item, text: str, line: int) -> bool:
        key = (code, f"{item.group} {item}", text, line)
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new

    def _keep(self, item: Item, code: str, text: str, at: Path, *, level: Level, hint: str) -> None:
        line, column = item.document.locate(at)
        note = Finding(
            code=code,
            level=level,
            message=text,
            resource=str(item),
            file=item.document.file,
            line=line,
            column=column,
            field=dotted(at),
            hint=hint,
        )
        self.findings.append((item, note))


def selector_text(labels: Mapping[str, str]) -> str:
    """Labels as Kubernetes prints a selector: ``a=1,b=2``."""
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels))


def _is_plain(top: Node, path: Path) -> bool:
    """Whether a string, number or boolean stands at the end of the path."""
    value = top.value
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return False
    return not isinstance(value, dict | list)
