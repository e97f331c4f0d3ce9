"""What of a configuration is in force: every written field with its status, every skipped document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshlib._config.refusals import refusal
from meshlib._config.written import dotted, refused_fields, written_fields
from meshlib.diagnostics import Finding, Level
from meshlib.model.resource import Resource, Skipped
from meshlib.model.status_rules import StatusName

if TYPE_CHECKING:
    from meshlib._config.load import ConfigSet

__all__ = ["FieldReport", "Report", "ResourceReport", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldReport:
    """One written field: ``path`` as in ``spec.http[0].timeout``, its status, and the difference or reason."""

    path: str
    status: StatusName
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceReport:
    """The written fields of one resource, in the order of the model."""

    resource: Resource
    fields: tuple[FieldReport, ...]

    def __repr__(self) -> str:
        counts = Counter(field.status for field in self.fields)
        shown = " ".join(f"{status}={count}" for status, count in sorted(counts.items()))
        return f"<ResourceReport {self.resource} {shown}>"


@dataclass(frozen=True, slots=True)
class Report:
    """Resources with their fields, and what was skipped. Made on demand; nothing of it is kept."""

    resources: tuple[ResourceReport, ...]
    skipped: tuple[Skipped, ...]

    def refusals(self, level: Level = "warning") -> list[Finding]:
        """A finding for each refused field that is written, at ``level``."""
        return [
            refusal(entry.resource, field.path, field.note, level)
            for entry in self.resources
            for field in entry.fields
            if field.path in _tops(entry.resource)
        ]

    @property
    def counts(self) -> Mapping[StatusName, int]:
        """How many written fields have each status."""
        return Counter(field.status for entry in self.resources for field in entry.fields)

    def __str__(self) -> str:
        """For people: what is not applied in full, resource by resource, and what was skipped."""
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self.counts.items()))
        lines = [f"{len(self.resources)} resources, {len(self.skipped)} skipped; fields: {counts or 'none'}"]
        for entry in self.resources:
            for field in entry.fields:
                if field.status != "honoured":
                    note = f": {field.note}" if field.note else ""
                    lines.append(f"{entry.resource}: {field.path} is {field.status}{note}")
        lines += [f"{skipped} (skipped)" for skipped in self.skipped]
        return "\n".join(lines)

    def __repr__(self) -> str:
        shown = " ".join(f"{status}={count}" for status, count in sorted(self.counts.items()))
        return f"<Report resources={len(self.resources)} skipped={len(self.skipped)} {shown}>"


def report(config: ConfigSet) -> Report:
    """The report of a loaded configuration."""
    entries = (
        ResourceReport(
            resource=resource,
            fields=tuple(
                FieldReport(path=dotted(written.path), status=written.status.status, note=written.status.note)
                for written in written_fields(resource)
            ),
        )
        for resource in config.resources
    )
    return Report(tuple(entry for entry in entries if entry.fields), config.skipped)


def _tops(resource: Resource) -> frozenset[str]:
    return frozenset(dotted(written.path) for written in refused_fields(resource))
