"""Each balancer gives its endpoints the shares that are theirs: chi-square over seeded draws."""

from __future__ import annotations

from collections import Counter

import pytest

from meshlib._engine.balancing import make_balancer
from meshlib._engine.balancing.slow_start import warmup_factor
from meshlib._engine.state import EndpointState
from meshlib._engine.xxh64 import xxh64
from meshlib._random import system_chance
from meshlib._snapshot.clusters import (
    BalancerPolicy,
    Endpoint,
    LeastRequest,
    Maglev,
    RandomPick,
    RingHash,
    RoundRobin,
    Warmup,
)
from meshlib.testing import VirtualClock
from tests.distributions import chi_square, fits

PICKS = 20_000
SEEDS = (1, 2, 3)


def hosts(*weights: int, added_at: float | None = None) -> tuple[EndpointState, ...]:
    return tuple(
        EndpointState(Endpoint(address="10.1.0.1", port=port, weight=weight), added_at)
        for port, weight in enumerate(weights)
    )


def counts(policy: BalancerPolicy, pool: tuple[EndpointState, ...], seed: int, **options: VirtualClock) -> list[int]:
    balancer = make_balancer(policy, pool, system_chance(seed), **options)
    counted = Counter(host.endpoint.port for _ in range(PICKS) if (host := balancer.pick()) is not None)
    return [counted[port] for port in range(len(pool))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("policy", [RandomPick(), LeastRequest(), RoundRobin()], ids=repr)
def test_equal_hosts_get_equal_shares(policy: BalancerPolicy, seed: int) -> None:
    """Nobody is busy."""
    assert fits(counts(policy, hosts(*[1] * 7), seed), [1] * 7)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("policy", [LeastRequest(), RoundRobin()], ids=repr)
def test_weights_are_shares(policy: BalancerPolicy, seed: int) -> None:
    """EDF is far more even than chance would be: its statistic is near zero."""
    assert chi_square(counts(policy, hosts(1, 2, 3, 10), seed), [1, 2, 3, 10]) < 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_random_knows_no_weights(seed: int) -> None:
    """As in Envoy."""
    assert fits(counts(RandomPick(), hosts(1, 50), seed), [1, 1])


@pytest.mark.parametrize("seed", SEEDS)
def test_least_request_draws_twice(seed: int) -> None:
    """Of five hosts with 0, 1 … 4 requests, number n wins if both draws are n or busier: (9, 7, 5, 3, 1) in 25."""
    pool = hosts(*[1] * 5)
    for busy, host in enumerate(pool):
        host.active = busy
    assert fits(counts(LeastRequest(), pool, seed), [9, 7, 5, 3, 1])


@pytest.mark.parametrize("policy", [RingHash(65536), Maglev(65537)], ids=repr)
def test_hashing_follows_weights(policy: BalancerPolicy) -> None:
    """Within the evenness of the table, which is not chance but construction: two percent of the keys."""
    table = make_balancer(policy, hosts(1, 2, 5), system_chance(1))
    found = Counter(
        host.endpoint.port
        for number in range(PICKS)
        if (host := table.pick_by(xxh64(b"key-%d" % number))) is not None  # type: ignore[attr-defined]
    )
    for port, share in enumerate((0.125, 0.25, 0.625)):
        assert found[port] / PICKS == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("policy", [RingHash(1024), Maglev(65537)], ids=repr)
def test_a_request_without_hash_goes_anywhere(policy: BalancerPolicy) -> None:
    """All hosts are met, roughly alike."""
    counted = counts(policy, hosts(1, 1, 1), 5)
    assert all(0.25 < count / PICKS < 0.42 for count in counted)


# -- warm-up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warmup", "age", "factor"),
    [
        (Warmup(duration=100.0), 2.0, 0.1),
        (Warmup(duration=100.0), 50.0, 0.5),
        (Warmup(duration=100.0), 99.9, 0.999),
        (Warmup(duration=100.0), 100.0, 1.0),
        (Warmup(duration=100.0, aggression=2.0, minimum=0.0), 25.0, 0.5),
        (Warmup(duration=100.0, aggression=0.5, minimum=0.0), 50.0, 0.25),
        (Warmup(duration=10.0, minimum=0.0), 0.0, 0.0001),
        (Warmup(duration=10.0, minimum=0.3), 1.0, 0.3),
    ],
)
def test_the_factor_of_a_new_endpoint(warmup: Warmup, age: float, factor: float) -> None:
    """``max(minimum, (age / duration) ^ (1 / aggression))``, at least a millisecond old."""
    assert warmup_factor(warmup, age) == pytest.approx(factor)


@pytest.mark.parametrize("make", [RoundRobin, LeastRequest])
def test_a_new_endpoint_grows_into_its_share(make: type[RoundRobin] | type[LeastRequest]) -> None:
    """Old ones have 1; at a tenth, half and the end of the window it has 0.1, 0.5 and 1."""
    clock = VirtualClock()
    clock.advance(1000.0)
    pool = (*hosts(1, 1, added_at=0.0), EndpointState(Endpoint(address="10.1.0.1", port=2), 1000.0))
    policy = make(warmup=Warmup(duration=60.0))
    for seconds, share in ((6.0, 0.1), (30.0, 0.5), (60.0, 1.0)):
        clock.advance(1000.0 + seconds - clock.monotonic())
        assert fits(counts(policy, pool, 9, clock=clock), [1, 1, share])


@pytest.mark.parametrize("policy", [RandomPick(), RoundRobin(), LeastRequest()], ids=repr)
def test_without_warmup_a_new_endpoint_has_its_full_share(policy: BalancerPolicy) -> None:
    """RANDOM never warms up."""
    clock = VirtualClock()
    assert fits(counts(policy, hosts(1, 1, 1, added_at=0.0), 1, clock=clock), [1, 1, 1])


def test_where_all_are_new_nothing_is_seen() -> None:
    """Equal factors are no factors."""
    pool = hosts(1, 1, 1, added_at=0.0)
    assert fits(counts(RoundRobin(warmup=Warmup(duration=60.0)), pool, 1, clock=VirtualClock()), [1, 1, 1])
