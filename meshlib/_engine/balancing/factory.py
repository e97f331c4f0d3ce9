"""From a balancer policy to the algorithm over a set of hosts."""

from __future__ import annotations

from collections.abc import Callable

from meshlib._clock import Clock
from meshlib._engine.balancing.base import Balancer, Host, HostT
from meshlib._engine.balancing.consistent import maglev, ring_hash
from meshlib._engine.balancing.edf import EdfSchedule
from meshlib._engine.balancing.least_request import TwoChoices, weight_by_activity
from meshlib._engine.balancing.random_pick import RandomPicks
from meshlib._engine.balancing.round_robin import Rotation
from meshlib._engine.balancing.slow_start import SlowStart, is_warming
from meshlib._random import Chance
from meshlib._snapshot.clusters import BalancerPolicy, LeastRequest, Maglev, RingHash, RoundRobin, Warmup

__all__ = ["make_balancer"]


def make_balancer(
    policy: BalancerPolicy, hosts: tuple[HostT, ...], chance: Chance, clock: Clock | None = None
) -> Balancer[HostT]:
    """The algorithm for ``policy``; weights that are all equal are no weights.

    Consistent hashing gives a :class:`HashTable`, which can be picked by a hash. Hosts
    warm up by ``clock``; without one they are warm.
    """
    match policy:
        case LeastRequest(warmup=warmup):
            schedule = _schedule(hosts, weight_by_activity, warmup, chance, clock)
            return schedule or TwoChoices(hosts, chance)
        case RoundRobin(warmup=warmup):
            schedule = _schedule(hosts, _configured_weight, warmup, chance, clock)
            return schedule or Rotation(hosts, chance)
        case RingHash(minimum_size=size):
            return ring_hash(hosts, size, chance)
        case Maglev(table_size=size):
            return maglev(hosts, size, chance)
        case _:
            return RandomPicks(hosts, chance)


def _schedule(
    hosts: tuple[HostT, ...],
    weight: Callable[[HostT], float],
    warmup: Warmup | None,
    chance: Chance,
    clock: Clock | None,
) -> EdfSchedule[HostT] | None:
    """A schedule by weight; None where all hosts weigh the same and none of them warms up."""
    if warmup is not None and clock is not None:
        now = clock.monotonic()
        if any(is_warming(host, warmup, now) for host in hosts):
            return EdfSchedule(hosts, SlowStart(warmup, weight, clock), chance)
    if len({host.endpoint.weight for host in hosts}) > 1:
        return EdfSchedule(hosts, weight, chance)
    return None


def _configured_weight(host: Host) -> float:
    return float(host.endpoint.weight)
