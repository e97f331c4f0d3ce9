"""Which DestinationRule applies to a service, for a client (semantics 1.7, 1.8).

Rules are sought by the most specific host, first in the namespace of the client, then
in that of the service, then in the root namespace; the first namespace with any hit
ends the search. Several rules for one host in one namespace are merged: the subsets
are united, the oldest traffic policy stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import is_

from meshlib._compile.hosts import HostIndex, resolve
from meshlib._compile.index import Entry, Index
from meshlib._compile.mesh import MeshSettings, Visibility
from meshlib._compile.order import by_age
from meshlib.model.destination_rule import DestinationRuleSpec, Subset
from meshlib.model.resource import Resource
from meshlib.model.traffic_policy import TrafficPolicy

__all__ = ["DestinationRules", "MergedRule"]


@dataclass(slots=True, eq=False)
class MergedRule:
    """The rules of one host in one namespace that are merged; ``selector`` None is for every workload.

    ``sources`` are the resources it was made of, in the order of merging: they decide all the rest.
    """

    host: str
    namespace: str
    export_to: Visibility
    selector: Mapping[str, str] | None
    policy: TrafficPolicy | None
    subsets: dict[str, Subset]
    origins: list[str]
    sources: list[Resource]

    def merge(self, other: MergedRule) -> None:
        """Take over the subsets of a younger rule that are new, and its policy if there was none."""
        for name, subset in other.subsets.items():
            self.subsets.setdefault(name, subset)
        if self.policy is None:
            self.policy = other.policy
        self.origins.extend(other.origins)
        self.sources.extend(other.sources)

    def is_as(self, other: MergedRule) -> bool:
        """Whether it was made of the very same resources."""
        return len(self.sources) == len(other.sources) and all(map(is_, self.sources, other.sources))

    @property
    def origin(self) -> str:
        """The resources behind the rule, oldest first."""
        return ", ".join(self.origins)


class DestinationRules:
    """All rules, by the namespace they are found in."""

    def __init__(self, index: Index, mesh: MeshSettings) -> None:
        self._root = mesh.root_namespace
        self._local: dict[str, HostIndex[list[MergedRule]]] = {}
        self._exported: dict[str, HostIndex[list[MergedRule]]] = {}
        self._root_private: HostIndex[list[MergedRule]] = HostIndex()
        rules = list(index.of("DestinationRule", DestinationRuleSpec))
        # Rules with a selector come first.
        rules.sort(key=lambda entry: (entry.spec.workload_selector is None, by_age(entry)))
        for entry in rules:
            self._add(entry, private_by_default="." in mesh.destination_rule_export)

    def __bool__(self) -> bool:
        return bool(self._local or self._exported)

    def _add(self, entry: Entry[DestinationRuleSpec], *, private_by_default: bool) -> None:
        rule = merged_rule(entry)
        namespace, export_to = rule.namespace, rule.export_to
        if not export_to or export_to & {"*", ".", namespace}:
            put(self._local.setdefault(namespace, HostIndex()), rule)
        private = export_to in ({"."}, {namespace}) if export_to else private_by_default
        if not private:
            put(self._exported.setdefault(namespace, HostIndex()), merged_rule(entry))
        elif namespace == self._root:
            put(self._root_private, merged_rule(entry))

    def select(self, host: str, service_namespace: str, client: str, labels: Mapping[str, str]) -> MergedRule | None:
        """The rule for a service, as a workload of namespace ``client`` with ``labels`` sees it."""
        chosen: MergedRule | None = None
        for rule in self._candidates(host, service_namespace, client):
            if rule.selector is None:
                chosen = rule
            elif rule.namespace == client and rule.selector.items() <= labels.items():
                return rule
        return chosen

    def _candidates(self, host: str, service_namespace: str, client: str) -> list[MergedRule]:
        own = self._root_private if client == self._root else self._local.get(client)
        if own is not None and (found := own.find(host)) is not None:
            return found
        for namespace in (service_namespace, self._root):
            if visible := self._exported_to(client, namespace, host):
                return visible
        return []

    def _exported_to(self, client: str, namespace: str, host: str) -> list[MergedRule]:
        index = self._exported.get(namespace)
        found = index.find(host) if index is not None else None
        return [rule for rule in found or () if not rule.export_to or rule.export_to & {"*", client}]


def merged_rule(entry: Entry[DestinationRuleSpec]) -> MergedRule:
    """A rule that nothing is merged into yet. One with a selector is private to its namespace."""
    spec, namespace = entry.spec, entry.meta.namespace
    selector = spec.workload_selector
    subsets: dict[str, Subset] = {}
    for subset in spec.subsets:
        subsets.setdefault(subset.name, subset)
    return MergedRule(
        host=resolve(spec.host, namespace),
        namespace=namespace,
        export_to=frozenset(spec.export_to) if selector is None else frozenset("."),
        selector=None if selector is None else selector.match_labels,
        policy=spec.traffic_policy,
        subsets=subsets,
        origins=[f"DestinationRule {namespace}/{entry.meta.name}"],
        sources=[entry.resource],
    )


def put(index: HostIndex[list[MergedRule]], rule: MergedRule) -> None:
    """Merge a rule into those of its host, or put it beside them.

    As Istio does it: rules with equal exportTo are merged, a rule exported further is
    merged and also stands for itself; different selectors keep rules apart. A rule
    without selector that names ``.`` in exportTo is thereby merged into one with selector.
    """
    others = index.get(rule.host)
    if others is None:
        index.put(rule.host, [rule])
        return
    apart = True
    for other in others:
        same = rule.export_to == other.export_to
        if not same and not (other.export_to and rule.export_to >= other.export_to):
            apart = True
            continue
        apart = not same
        both = rule.selector is not None and other.selector is not None
        if both and rule.selector != other.selector:
            apart = True
            continue
        if both or (rule.selector is None and other.selector is None):
            apart = False
        other.merge(rule)
    if apart:
        others.append(rule)
