"""The resources of a configuration by kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from meshlib.model.base import Spec
from meshlib.model.resource import Metadata, Resource

__all__ = ["Entry", "Index"]

S = TypeVar("S", bound=Spec)


class Entry(NamedTuple, Generic[S]):
    """A resource with its metadata and its spec, typed."""

    resource: Resource
    meta: Metadata
    spec: S


class Index:
    """Resources by kind."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._by_kind: dict[str, list[Resource]] = {}
        for resource in resources:
            self._by_kind.setdefault(resource.kind, []).append(resource)

    def resources(self, kind: str) -> Sequence[Resource]:
        """All resources of a kind."""
        return self._by_kind.get(kind, ())

    def of(self, kind: str, spec: type[S]) -> Iterator[Entry[S]]:
        """The resources of a kind whose spec is of the class."""
        for resource in self._by_kind.get(kind, ()):
            if isinstance(resource.spec, spec):
                yield Entry(resource, resource.metadata, resource.spec)
