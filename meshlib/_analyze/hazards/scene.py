"""What searches for hazards look at: the objects as written, and the services as they are compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from meshlib._analyze.view import Item, Node, View
from meshlib._compile.hosts import resolve
from meshlib._compile.index import Index
from meshlib._compile.mesh import mesh_settings
from meshlib._compile.registry import Registry
from meshlib._compile.services import Service
from meshlib._snapshot.clusters import Endpoint
from meshlib.model.resource import Resource
from meshlib.model.scalars import any_duration

__all__ = ["PRODUCTION", "HazardSettings", "Policy", "Scene", "seconds"]

PRODUCTION: Final = ("prod", "production", "prod-*", "production-*", "*-prod", "*-production")


@dataclass(frozen=True, slots=True, kw_only=True)
class HazardSettings:
    """What only the reader knows: hosts that call one another, and which namespaces are production."""

    chain: Sequence[str] = ()
    production: Sequence[str] = PRODUCTION


@dataclass(frozen=True, slots=True)
class Policy:
    """A traffic policy of a DestinationRule: its own, one of a port, or one of a subset.

    ``inherited`` is the policy of the whole rule, whose fields count where this one has none.
    """

    item: Item
    node: Node
    inherited: Node
    subset: Node | None = None

    def part(self, name: str) -> Node:
        """A field of the policy, or the one that it inherits."""
        own = self.node.node(name)
        return own or self.inherited.node(name)


class Scene:
    """One configuration."""

    def __init__(self, view: View, resources: Sequence[Resource]) -> None:
        self.view = view
        self.resources = resources

    @cached_property
    def registry(self) -> Registry:
        """The services, with what is known of their endpoints."""
        index = Index(self.resources)
        return Registry(index, mesh_settings(index))

    @cached_property
    def rules(self) -> dict[str, list[Item]]:
        """DestinationRules by their host, written out."""
        found: dict[str, list[Item]] = {}
        for item in self.view.all("DestinationRule"):
            found.setdefault(resolve(item.spec.text("host"), item.namespace), []).append(item)
        return found

    def services(self, host: str, namespace: str) -> list[Service]:
        """The services of a host that a resource of ``namespace`` names, whose endpoints are known."""
        found = self.registry.named(resolve(host, namespace)).values()
        return [service for service in found if service.known and any(service.endpoints.values())]

    def endpoints(self, host: str, namespace: str) -> list[Endpoint]:
        """The endpoints of a host, each once though it may have several ports; none if they are not known."""
        for service in self.services(host, namespace):
            return max((list(endpoints) for endpoints in service.endpoints.values()), key=len)
        return []

    def policies(self) -> Iterator[Policy]:
        """All traffic policies of all DestinationRules."""
        for item in self.view.all("DestinationRule"):
            top = item.spec.node("trafficPolicy")
            yield Policy(item, top, top)
            for subset in item.spec.items("subsets"):
                yield Policy(item, subset.node("trafficPolicy"), top, subset)

    def __repr__(self) -> str:
        return f"<Scene {self.view!r} resources={len(self.resources)}>"


def seconds(node: Node, name: str) -> float:
    """A duration, 0 if there is none or it cannot be read."""
    text = node.text(name)
    try:
        return float(any_duration(text)) if text else 0.0
    except ValueError:
        return 0.0
