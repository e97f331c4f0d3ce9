"""Balancers over hosts that only count."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib._engine.balancing import make_balancer
from meshlib._engine.balancing.edf import EdfSchedule
from meshlib._engine.state import EndpointState
from meshlib._random import system_chance
from meshlib._snapshot.clusters import BalancerPolicy, Endpoint, LeastRequest, RandomPick, RoundRobin


def hosts(*weights: int) -> tuple[EndpointState, ...]:
    return tuple(
        EndpointState(Endpoint(address="127.0.0.1", port=port, weight=weight)) for port, weight in enumerate(weights)
    )


def shares(policy: BalancerPolicy, pool: tuple[EndpointState, ...], picks: int) -> list[int]:
    balancer = make_balancer(policy, pool, system_chance(3))
    counted = Counter(host.endpoint.port for _ in range(picks) if (host := balancer.pick()) is not None)
    return [counted[port] for port in range(len(pool))]


@pytest.mark.parametrize("policy", [RoundRobin(), LeastRequest(), RandomPick()], ids=repr)
def test_no_host_gives_none(policy: BalancerPolicy) -> None:
    """An empty pool is no error."""
    assert make_balancer(policy, (), system_chance(1)).pick() is None


def test_round_robin_is_even_to_the_last_pick() -> None:
    """Plain rotation."""
    assert shares(RoundRobin(), hosts(1, 1, 1, 1), 400) == [100] * 4


def test_weighted_round_robin_is_exact_over_a_period() -> None:
    """EDF: 1:2:7 in ten picks, without bunching."""
    assert shares(RoundRobin(), hosts(1, 2, 7), 1000) == [100, 200, 700]


def test_round_robin_starts_anywhere() -> None:
    """Processes that start together do not all begin with the same host."""
    pool = hosts(1, 1, 1, 1)
    firsts = {make_balancer(RoundRobin(), pool, system_chance(seed)).pick() for seed in range(60)}
    assert len(firsts) == 4


def test_least_request_prefers_the_less_busy_of_two() -> None:
    """A host that is always busier is drawn only when it is drawn twice: 1 in 16."""
    pool = hosts(1, 1, 1, 1)
    pool[0].active = 100
    busy, *others = shares(LeastRequest(), pool, 16_000)
    assert 850 < busy < 1150
    assert min(others) > 4500


def test_weighted_least_request_is_weight_over_activity() -> None:
    """Weight 8 with 3 requests counts like weight 2."""
    pool = hosts(8, 2)
    pool[0].active = 3
    first, second = shares(LeastRequest(), pool, 1000)
    assert abs(first - second) <= 2


def test_random_ignores_weights() -> None:
    """As Envoy's random balancer does."""
    assert all(abs(count - 2000) < 200 for count in shares(RandomPick(), hosts(1, 9, 90), 6000))


class OneHeap:
    """The schedule as its rules say it, entry by entry."""

    def __init__(self, entries: tuple[Any, ...], weight: Callable[[Any], float], chance: random.Random) -> None:
        self.weight = weight
        self.order = len(entries)
        self.due = [(1.0 / weight(entry), order, entry) for order, entry in enumerate(entries)]
        heapq.heapify(self.due)
        for _ in range(int(chance.random() * len(entries))):
            self.pick()

    def pick(self) -> Any:
        now, _, entry = heapq.heappop(self.due)
        self.order += 1
        heapq.heappush(self.due, (now + 1.0 / self.weight(entry), self.order, entry))
        return entry


@given(
    weights=st.lists(st.sampled_from((1, 1, 2, 3, 7, 0.5, 0.3)), min_size=1, max_size=12),
    steps=st.lists(st.booleans(), max_size=120),
    seed=st.integers(0, 2**16),
)
def test_a_schedule_of_queues_picks_as_one_heap(weights: list[float], steps: list[bool], seed: int) -> None:
    """Also while weights change with what the entries are busy with."""
    busy: dict[int, int] = dict.fromkeys(range(len(weights)), 0)
    entries = tuple(busy)

    def weight(entry: int) -> float:
        return weights[entry] / (busy[entry] + 1)

    ours, plain = (made(entries, weight, random.Random(seed)) for made in (EdfSchedule, OneHeap))
    for is_long in steps:
        picked = ours.pick()
        assert picked == plain.pick()
        assert picked is not None
        busy[picked] = busy[picked] + 1 if is_long else 0
    assert len(ours._queues) == len(ours._heads) <= len(weights)
