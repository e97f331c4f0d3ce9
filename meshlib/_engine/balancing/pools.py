"""From a cluster and the health of its endpoints to what picks among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from meshlib._clock import Clock
from meshlib._engine.balancing.base import Balancer, Host, HostT
from meshlib._engine.balancing.consistent import maglev, ring_hash
from meshlib._engine.balancing.factory import make_balancer
from meshlib._engine.balancing.loads import TierSize, effective_weight, panics, spread
from meshlib._engine.balancing.tiers import TieredBalancer, WeightedLocalities
from meshlib._random import Chance
from meshlib._snapshot.clusters import Cluster, Locality, Maglev, RingHash

__all__ = ["make_pools"]


def make_pools(
    cluster: Cluster, hosts: Sequence[HostT], available: Collection[HostT], chance: Chance, clock: Clock
) -> Balancer[HostT]:
    """What picks an endpoint until the health of one changes. The plain algorithm where there is one flat tier."""
    detection = cluster.policy.outlier
    threshold = float(detection.min_health_percent) if detection is not None else 0.0
    tiers: list[list[HostT]] = [[] for _ in range(1 + max((host.endpoint.priority for host in hosts), default=0))]
    for host in hosts:
        tiers[host.endpoint.priority].append(host)
    usable = [tuple(host for host in tier if host in available) for tier in tiers]
    sizes = [TierSize(len(inside), len(tier)) for inside, tier in zip(usable, tiers, strict=True)]
    in_panic = panics(sizes, threshold)
    pools: list[Balancer[HostT]] = []
    for number, (tier, inside, panic) in enumerate(zip(tiers, usable, in_panic, strict=True)):
        if cluster.localities and not panic:
            pools.append(_by_locality(cluster, number, tier, inside, chance, clock))
        else:
            pools.append(make_balancer(cluster.policy.balancer, tuple(tier) if panic else inside, chance, clock))
    if len(pools) == 1:
        return pools[0]
    return TieredBalancer(pools, sizes, spread(sizes, threshold), chance)


def _by_locality(
    cluster: Cluster, number: int, tier: Sequence[HostT], usable: tuple[HostT, ...], chance: Chance, clock: Clock
) -> Balancer[HostT]:
    """The localities of a tier by weight; for consistent hashing one table in which each has its share."""
    policy = cluster.policy.balancer
    weights = {share.locality: share.weight for share in cluster.localities if share.priority == number}
    match policy:
        case RingHash(minimum_size=size):
            return ring_hash(usable, size, chance, _shares(usable, weights))
        case Maglev(table_size=size):
            return maglev(usable, size, chance, _shares(usable, weights))
        case _:  # the others know no table of hosts: a locality first, then one of its endpoints
            pass
    totals = Counter(host.endpoint.locality for host in tier)
    groups: dict[Locality, list[HostT]] = {}
    for host in usable:
        groups.setdefault(host.endpoint.locality, []).append(host)
    return WeightedLocalities(
        [
            (
                effective_weight(weights.get(locality, 0), len(group), totals[locality]),
                make_balancer(policy, tuple(group), chance, clock),
            )
            for locality, group in groups.items()
        ],
        chance,
    )


def _shares(hosts: Sequence[Host], weights: Mapping[Locality, int]) -> list[float]:
    """The part of each host in its locality, times that of the locality in all, available or not."""
    sums: Counter[Locality] = Counter()
    for host in hosts:
        sums[host.endpoint.locality] += host.endpoint.weight
    whole = sum(weights.values())
    return [
        host.endpoint.weight / sums[host.endpoint.locality] * weights.get(host.endpoint.locality, 0) / whole
        for host in hosts
    ]
