"""Failover tiers and locality weights of endpoints, seen from one workload (semantics 4.3–4.5).

Rules, after Istio's ``loadbalancer.go``: ``distribute`` gives weights to the localities of
one tier and takes out those that no pattern names. Everything else makes tiers
(Envoy's priorities), and only where endpoints can be found unhealthy: by
``failoverPriority`` labels, by distance and ``failover`` regions, or by region alone
(zone aware). Numbers are compacted at each step, so that tiers have no gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import ceil
from typing import Final

from msgspec.structs import replace

from meshlib._compile.workloads import labelled_locality, parse_locality, topology_labels
from meshlib._snapshot.clusters import Endpoint, Locality, LocalityPolicy, LocalityShare
from meshlib.workload import Workload

__all__ = ["Viewpoint", "arrange", "viewpoint"]

NETWORK: Final = "topology.istio.io/network"


class Viewpoint:
    """Where the calling workload stands: its locality and its labels."""

    __slots__ = ("labels", "locality")

    def __init__(self, locality: Locality, labels: Mapping[str, str]) -> None:
        self.locality = locality
        self.labels = labels


def viewpoint(workload: Workload) -> Viewpoint:
    """The place of a workload, with the labels that Istio derives from it."""
    locality = labelled_locality(workload.labels) or parse_locality(workload.locality) or Locality()
    return Viewpoint(locality, topology_labels(workload.labels, locality, workload.network, None))


def arrange(
    endpoints: tuple[Endpoint, ...], policy: LocalityPolicy | None, here: Viewpoint
) -> tuple[tuple[Endpoint, ...], tuple[LocalityShare, ...]]:
    """The endpoints with their tiers, and the weights of localities where these count."""
    if policy is None or not endpoints:
        return endpoints, ()
    if policy.distribute:
        return _distribute(endpoints, policy, here.locality)
    if not policy.makes_tiers:
        return endpoints, _sums(endpoints) if policy.is_weighted else ()
    tiers = [0] * len(endpoints)
    if policy.failover_priority and here.labels:
        tiers = _compact(_by_labels(endpoints, policy.failover_priority, here.labels))
    if policy.is_zone_aware:
        tiers = _compact(3 * tier + raw for tier, raw in zip(tiers, _by_region(endpoints, policy, here), strict=True))
    elif policy.failover or not policy.failover_priority:
        tiers = _compact(5 * tier + raw for tier, raw in zip(tiers, _by_distance(endpoints, policy, here), strict=True))
    placed = tuple(
        one if one.priority == tier else replace(one, priority=tier) for one, tier in zip(endpoints, tiers, strict=True)
    )
    return placed, _sums(placed) if policy.is_weighted else ()


def matches(locality: Locality, pattern: str) -> bool:
    """Whether a locality fits ``region/zone/subzone``, where ``*`` or a missing part stands for any."""
    region, _, rest = pattern.partition("/")
    zone, _, subzone = rest.partition("/")
    return (
        region in ("*", locality.region) and zone in ("*", "", locality.zone) and subzone in ("*", "", locality.subzone)
    )


# -- distribute ----------------------------------------------------------------------------------------


def _distribute(
    endpoints: tuple[Endpoint, ...], policy: LocalityPolicy, here: Locality
) -> tuple[tuple[Endpoint, ...], tuple[LocalityShare, ...]]:
    """The first entry for this place decides; without one the localities weigh as their endpoints do."""
    shares = _sums(endpoints)
    chosen = next((to for pattern, to in policy.distribute if matches(here, pattern)), None)
    if chosen is None:
        return endpoints, shares
    weights: dict[Locality, int] = {}
    for pattern, weight in chosen:
        group = [one for one in shares if one.locality not in weights and matches(one.locality, pattern)]
        total = sum(one.weight for one in group)
        for one in group:
            weights[one.locality] = ceil(one.weight * weight / total) or one.weight
    kept = tuple(one for one in endpoints if one.locality in weights)
    return kept, tuple(LocalityShare(0, locality, weight) for locality, weight in weights.items())


def _sums(endpoints: Iterable[Endpoint]) -> tuple[LocalityShare, ...]:
    """Each locality of each tier with the weight of its endpoints."""
    sums: dict[tuple[int, Locality], int] = {}
    for one in endpoints:
        key = one.priority, one.locality
        sums[key] = sums.get(key, 0) + one.weight
    return tuple(LocalityShare(tier, locality, weight) for (tier, locality), weight in sums.items())


# -- tiers ---------------------------------------------------------------------------------------------


def _compact(raw: Iterable[int]) -> list[int]:
    numbers = list(raw)
    rank = {number: tier for tier, number in enumerate(sorted(set(numbers)))}
    return [rank[number] for number in numbers]


def _by_labels(endpoints: Sequence[Endpoint], wanted: tuple[str, ...], own: Mapping[str, str]) -> list[int]:
    """N − j where label j (from 0) of N is the first that differs; another network alone counts N on top."""
    pairs = [label.split("=") for label in wanted]
    overrides = {parts[0]: parts[1] for parts in pairs if len(parts) == 2}
    names = [parts[0] for parts in pairs]
    values = [overrides.get(name, own.get(name, "")) for name in names]
    skips_network = wanted[0] == NETWORK

    def rank(endpoint: Endpoint) -> int:
        apart = 0
        for index, (name, value) in enumerate(zip(names, values, strict=True)):
            if endpoint.labels.get(name, "") == value:
                continue
            if index or not skips_network:
                return apart + len(names) - index
            apart = len(names)
        return apart

    return _remembered(endpoints, rank, lambda endpoint: tuple(endpoint.labels.get(name, "") for name in names))


def _by_distance(endpoints: Sequence[Endpoint], policy: LocalityPolicy, here: Viewpoint) -> list[int]:
    """0 next door, 1 same zone, 2 same region, 3 elsewhere; 4 where another region is named as the failover."""
    own = here.locality
    heir = next((to for from_, to in policy.failover if from_ == own.region), None)

    def rank(endpoint: Endpoint) -> int:
        there = endpoint.locality
        if there.region != own.region:
            return 3 if heir is None or there.region == heir else 4
        if there.zone != own.zone:
            return 2
        return 0 if there.subzone == own.subzone else 1

    return _remembered(endpoints, rank, lambda endpoint: endpoint.locality)


def _by_region(endpoints: Sequence[Endpoint], policy: LocalityPolicy, here: Viewpoint) -> list[int]:
    """0 the own region, 1 the one named as its failover, 2 any other."""
    own = here.locality.region
    heir = next((to for from_, to in policy.failover if from_ == own), None)

    def rank(endpoint: Endpoint) -> int:
        region = endpoint.locality.region
        return 0 if region == own else 1 if region == heir else 2

    return _remembered(endpoints, rank, lambda endpoint: endpoint.locality.region)


def _remembered(
    endpoints: Sequence[Endpoint], rank: Callable[[Endpoint], int], trait: Callable[[Endpoint], Hashable]
) -> list[int]:
    """The rank of each endpoint, computed once for each trait: there are many endpoints and few places."""
    known: dict[Hashable, int] = {}
    for one in endpoints:
        key = trait(one)
        if key not in known:
            known[key] = rank(one)
    return [known[trait(one)] for one in endpoints]
