"""The findings for fields that are written and have no effect, here or anywhere."""

from __future__ import annotations

from meshlib._config.codes import finding
from meshlib.diagnostics import Finding, Level
from meshlib.model.resource import Resource

__all__ = ["refusal", "void"]


def void(resource: Resource, path: str, note: str, place: tuple[int, int]) -> Finding:
    """The finding for a field that has no effect in Istio either."""
    line, column = place
    return finding(
        "MESH037",
        f"the field is {note}",
        file=resource.file,
        line=line,
        column=column,
        resource=str(resource),
        field=path,
    )


def refusal(resource: Resource, path: str, note: str, level: Level, place: tuple[int, int] | None = None) -> Finding:
    """The finding for a refused field; without ``place`` it names the line of the rule or of the resource."""
    line, column = place if place is not None else (_line_of(resource, path), 0)
    return finding(
        "MESH031",
        f"the field has no effect here: {note}" if note else "the field has no effect here",
        file=resource.file,
        line=line,
        column=column,
        resource=str(resource),
        field=path,
        level=level,
    )


def _line_of(resource: Resource, path: str) -> int:
    """The line of the rule that a path leads into (``spec.http[1].…``), else of the resource."""
    section, bracket, rest = path.removeprefix("spec.").partition("[")
    if bracket and section in resource.rule_lines:
        number = rest.partition("]")[0]
        lines = resource.rule_lines[section]
        if number.isdigit() and int(number) < len(lines):
            return lines[int(number)]
    return resource.line
