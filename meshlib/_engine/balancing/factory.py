"""From a balancer policy to the algorithm over a set of hosts."""

from __future__ import annotations

from meshlib._engine.balancing.base import Balancer, Host, HostT
from meshlib._engine.balancing.consistent import maglev, ring_hash
from meshlib._engine.balancing.edf import EdfSchedule
from meshlib._engine.balancing.least_request import TwoChoices, weight_by_activity
from meshlib._engine.balancing.random_pick import RandomPicks
from meshlib._engine.balancing.round_robin import Rotation
from meshlib._random import Chance
from meshlib._snapshot.clusters import BalancerPolicy, LeastRequest, Maglev, RingHash, RoundRobin

__all__ = ["make_balancer"]


def make_balancer(policy: BalancerPolicy, hosts: tuple[HostT, ...], chance: Chance) -> Balancer[HostT]:
    """The algorithm for ``policy``; weights that are all equal are no weights.

    Consistent hashing gives a :class:`HashTable`, which can be picked by a hash.
    """
    weighted = len({host.endpoint.weight for host in hosts}) > 1
    match policy:
        case LeastRequest():
            return EdfSchedule(hosts, weight_by_activity, chance) if weighted else TwoChoices(hosts, chance)
        case RoundRobin():
            return EdfSchedule(hosts, _configured_weight, chance) if weighted else Rotation(hosts, chance)
        case RingHash(minimum_size=size):
            return ring_hash(hosts, size, chance)
        case Maglev(table_size=size):
            return maglev(hosts, size, chance)
        case _:
            return RandomPicks(hosts, chance)


def _configured_weight(host: Host) -> float:
    return float(host.endpoint.weight)
