"""Which fields a resource has written, read back from its models.

An absent field is None, an empty list or an empty map. One that was written empty or
null looks the same, and means the same: nothing. So nothing need be kept at decode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from meshlib.model.kinds import kind_named, spec_class
from meshlib.model.resource import Resource
from meshlib.model.shapes import Field, Many, Shape, Struct, Table, shape_of
from meshlib.model.status import FieldStatus, field_status

__all__ = ["Path", "Written", "dotted", "refused_fields", "refused_in", "written_fields"]

Path: TypeAlias = "tuple[str | int, ...]"


@dataclass(frozen=True, slots=True)
class Written:
    """A field that stands in a resource, and what becomes of it."""

    path: Path
    status: FieldStatus


@dataclass(frozen=True, slots=True)
class _Step:
    """A field to look at: its attribute, its status (None: it only leads to others), and what to look at below."""

    attribute: str
    status: FieldStatus | None
    below: _Plan | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to look at in a struct (``steps`` by YAML name), or in each item of a list or of a map (``keyed``).

    Places that have nothing to be found below are left out.
    """

    steps: Mapping[str, _Step]
    items: _Plan | None = None
    keyed: bool = False


def written_fields(resource: Resource) -> Iterator[Written]:
    """Every field that is written, from the top, each with its status."""
    root, plan = _plans(resource.kind).everything
    if plan is not None:
        yield from _visit(resource.spec, plan, root)


def refused_fields(resource: Resource) -> Iterator[Written]:
    """The fields that are written and refused; of a refused message only the message itself."""
    root, plan = _plans(resource.kind).refused
    if plan is not None:
        yield from (one for one in _visit(resource.spec, plan, root) if not one.status.is_void)


def refused_in(value: Any, kind: str) -> Iterator[Written]:
    """As :func:`refused_fields`, and those without effect in Istio either, of a spec that is not decoded.

    Cheap enough for every document that is loaded.
    """
    root, plan = _plans(kind).refused
    return iter(()) if plan is None or not _finds(value, plan) else _visit_value(value, plan, root)


def _visit(value: Any, plan: _Plan, path: Path) -> Iterator[Written]:
    if plan.items is not None:
        for key, item in value.items() if plan.keyed else enumerate(value):
            yield from _visit(item, plan.items, (*path, key))
        return
    for name, step in plan.steps.items():
        part = getattr(value, step.attribute)
        if part is None or (not part and isinstance(part, tuple | dict)):
            continue
        here = (*path, name)
        if step.status is not None:
            yield Written(here, step.status)
        if step.below is not None:
            yield from _visit(part, step.below, here)


def _visit_value(value: Any, plan: _Plan, path: Path) -> Iterator[Written]:
    if plan.items is not None:
        for key, item in value.items() if plan.keyed else enumerate(value):
            yield from _visit_value(item, plan.items, (*path, key))
    elif not plan.steps.keys().isdisjoint(value):
        for name in plan.steps.keys() & value.keys():
            step, here = plan.steps[name], (*path, name)
            if value[name] is None:
                continue
            if step.status is not None:
                yield Written(here, step.status)
            if step.below is not None:
                yield from _visit_value(value[name], step.below, here)


def _finds(value: Any, plan: _Plan) -> bool:
    """Whether there is anything to be found: the usual answer is no, and no path need be made for it."""
    below = plan.items
    if below is not None:
        for item in value.values() if plan.keyed else value:
            if _finds(item, below):
                return True
        return False
    steps = plan.steps
    if steps.keys().isdisjoint(value):
        return False
    for name, part in value.items():
        step = steps.get(name)
        if step is not None and part is not None and (step.below is None or _finds(part, step.below)):
            return True
    return False


class _Plans(NamedTuple):
    """The root of the paths of a kind with the plans that find all fields, and the refused ones."""

    everything: tuple[Path, _Plan | None]
    refused: tuple[Path, _Plan | None]


@cache
def _plans(kind: str) -> _Plans:
    found = kind_named(kind)
    if found is None or found.treatment == "discovery":
        return _Plans(((), None), ((), None))
    root: Path = () if found.treatment == "mesh" else ("spec",)
    shape, place, statuses = shape_of(spec_class(found)), "".join(map(str, root)), field_status(kind)
    everything, refused = (_plan(shape, place, statuses, refused=choice) for choice in (False, True))
    return _Plans((root, everything), (root, refused))


def _plan(shape: Shape, path: str, statuses: Mapping[str, FieldStatus], *, refused: bool) -> _Plan | None:
    match shape:
        case Struct(fields=fields):
            steps = {
                name: step
                for name, entry in fields.items()
                if (step := _step(entry, f"{path}.{name}" if path else name, statuses, refused=refused)) is not None
            }
            return _Plan(steps) if steps else None
        case Many(item=item):
            below = _plan(item, f"{path}[]", statuses, refused=refused)
            return None if below is None else _Plan({}, below)
        case Table(value=item):
            below = _plan(item, f"{path}.*", statuses, refused=refused)
            return None if below is None else _Plan({}, below, keyed=True)
        case _:
            return None


def _step(entry: Field, path: str, statuses: Mapping[str, FieldStatus], *, refused: bool) -> _Step | None:
    status = statuses[path]
    if not refused:
        return _Step(entry.attribute, status, _plan(entry.shape, path, statuses, refused=False))
    if status.status == "refused" or status.is_void:
        return _Step(entry.attribute, status, None)
    below = _plan(entry.shape, path, statuses, refused=True)
    return None if below is None else _Step(entry.attribute, None, below)


def dotted(path: Path) -> str:
    """``spec.http[0].timeout``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
