"""What becomes of each field: honoured, approximated or refused, by the rules of ``status_rules``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from meshlib.model.kinds import kind_named, spec_class
from meshlib.model.object_status import ObjectStatus
from meshlib.model.shapes import shape_of, walk
from meshlib.model.status_rules import RULES, VOID, StatusName

__all__ = ["IN_PART", "FieldStatus", "field_status"]


@dataclass(frozen=True, slots=True)
class FieldStatus:
    """``honoured`` as in Istio; ``approximated`` with the difference in ``note``; ``refused``: no effect."""

    status: StatusName
    note: str = ""

    @property
    def is_void(self) -> bool:
        """Whether it has no effect in Istio either: honoured, but said when it is written."""
        return self.note.startswith(VOID)


_STATUS: Final = FieldStatus("honoured", "of no effect on requests, as in Istio; analysis reads its conditions")
IN_PART: Final = FieldStatus("approximated", "in part: some of its fields have no effect")


@cache
def field_status(kind: str) -> Mapping[str, FieldStatus]:
    """The status of every field of a kind by path: ``spec.http[].timeout``, ``.*`` for any key of a map.

    Fields of MeshConfig stand at its top: their paths have no ``spec``. Istio's other
    kinds have a ``status`` too. Raises KeyError for a kind without a table.
    """
    rules = {path: FieldStatus(status, note) for path, status, note in RULES[kind]}
    found = kind_named(kind)
    if found is None:
        raise KeyError(kind)
    root = "" if found.treatment == "mesh" else "spec"
    paths = [path for path, _ in walk(shape_of(spec_class(found)), root) if path]
    if found.group.endswith(".istio.io"):
        paths += [path for path, _ in walk(shape_of(ObjectStatus), "status")]
        rules["status"] = _STATUS
    statuses = {path: rules[longest(path, rules)] for path in paths}
    for path in [path for path, status in statuses.items() if status.status != "refused"]:
        for parent in parents(path):
            # A rule may refuse all but some fields of a message: the message itself then works in part.
            if parent in statuses and statuses[parent].status == "refused":
                statuses[parent] = IN_PART
    return statuses


def parents(path: str) -> Iterator[str]:
    """The places that hold a path, from the nearest: ``a.b[].c`` -> ``a.b[]``, ``a.b``, ``a``."""
    while path:
        path = path[:-2] if path.endswith("[]") else path.rpartition(".")[0]
        yield path


def longest(path: str, rules: Iterable[str]) -> str:
    """The rule that covers most of a path: ``spec.http[]`` covers ``spec.http[].timeout`` and itself."""
    return max((rule for rule in rules if covers(rule, path)), key=len)


def covers(rule: str, path: str) -> bool:
    """Whether a rule is about a path: it is the path or one of its parents; the empty rule is about all."""
    return not rule or (path.startswith(rule) and path[len(rule) : len(rule) + 1] in ("", ".", "["))
