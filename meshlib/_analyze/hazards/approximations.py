"""Fields that work here with a difference to Istio. Those that have no effect at all are told when they are read."""

from __future__ import annotations

from meshlib._analyze.hazards.scene import HazardSettings, Scene
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item
from meshlib._config.written import Path, written_fields
from meshlib.model.resource import Resource
from meshlib.model.status import IN_PART

__all__ = ["find_approximations"]


def find_approximations(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """The outermost of such fields in each resource, with the difference; not what merely holds some."""
    for resource in scene.resources:
        item = _item_of(scene, resource)
        if item is None:
            continue
        told: set[tuple[Path, str]] = set()
        for written in written_fields(resource):
            status, path = written.status, written.path
            if status.status != "approximated" or status == IN_PART:
                continue
            if not any((path[:length], status.note) in told for length in range(len(path))):
                told.add((path, status.note))
                report.hazard("MESH148", item, f"works with a difference: {status.note}", path)


def _item_of(scene: Scene, resource: Resource) -> Item | None:
    return scene.view.find(resource.kind, (resource.namespace, resource.name))
