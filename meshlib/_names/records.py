"""What is known of names, and clusters with the addresses in place of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import msgspec

from meshlib._names.lookup import Answer
from meshlib._snapshot.clusters import Cluster, Discovery, Endpoint
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["Names", "names_in"]


class Names:
    """The last answer for each name. A failed look-up takes nothing away.

    A name that is gone has no address. Only logical DNS keeps the last one, as Envoy does.
    """

    __slots__ = ("_known", "_last")

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}
        self._last: dict[str, tuple[str, ...]] = {}

    def learn(self, name: str, answer: Answer) -> bool:
        """Keep an answer; true if it is news. The order of the addresses is not: servers turn them round."""
        before = self._known.get(name)
        if before is not None and set(before) == set(answer.addresses):
            return False
        self._known[name] = answer.addresses
        if answer.addresses:
            self._last[name] = answer.addresses
        return True

    def forget_all_but(self, names: frozenset[str]) -> None:
        """Drop what no cluster asks for any more."""
        for name in self._known.keys() - names:
            del self._known[name]
            self._last.pop(name, None)

    def resolved(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with each known name replaced by its addresses; the same object if none is known.

        A name that is not known yet stays: the client library resolves it, as of now.
        """
        changed = {
            key: self._resolved(cluster)
            for key, cluster in snapshot.clusters.items()
            if any(name in self._known for name in _names_of(cluster))
        }
        return replace(snapshot, clusters={**snapshot.clusters, **changed}) if changed else snapshot

    def _resolved(self, cluster: Cluster) -> Cluster:
        is_logical = cluster.discovery is Discovery.LOGICAL_DNS
        endpoints: dict[str, Endpoint] = {}
        for endpoint in cluster.endpoints:
            name = endpoint.address
            addresses = self._last.get(name, (name,))[:1] if is_logical else self._known.get(name, (name,))
            for address in addresses:
                one = msgspec.structs.replace(endpoint, address=address)
                endpoints.setdefault(one.key, one)  # an address counts once
        return msgspec.structs.replace(cluster, endpoints=tuple(endpoints.values()))


def names_in(snapshot: Snapshot) -> frozenset[str]:
    """All names that clusters of a snapshot ask for."""
    return frozenset(name for cluster in snapshot.clusters.values() for name in _names_of(cluster))


def _names_of(cluster: Cluster) -> Iterator[str]:
    if cluster.discovery in (Discovery.DNS, Discovery.LOGICAL_DNS):
        for endpoint in cluster.endpoints:
            if not endpoint.address.startswith("unix:") and not _is_address(endpoint.address):
                yield endpoint.address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
