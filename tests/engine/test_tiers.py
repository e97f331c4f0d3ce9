"""Tier, locality, endpoint: picks follow the health of the endpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from meshlib._engine.outliers import record_locked
from meshlib._engine.picks import pick_locked
from meshlib._engine.state import LiveCluster, State
from meshlib._engine.xxh64 import xxh64
from meshlib._http import Headers, Response
from meshlib._random import system_chance
from meshlib._snapshot.clusters import (
    BalancerPolicy,
    Cluster,
    Endpoint,
    LeastRequest,
    Locality,
    LocalityShare,
    Maglev,
    OutlierDetection,
    RandomPick,
    RingHash,
    RoundRobin,
    TrafficPolicy,
)
from meshlib._snapshot.routes import RetryPolicy
from meshlib._snapshot.snapshot import Snapshot
from meshlib.testing import VirtualClock
from tests.distributions import fits

EJECT = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)


def endpoint(port: int, *, tier: int = 0, zone: str = "", weight: int = 1, healthy: bool = True) -> Endpoint:
    locality = Locality("r", zone, "")
    return Endpoint(address="10.0.0.1", port=port, priority=tier, locality=locality, weight=weight, healthy=healthy)


def live_cluster(
    endpoints: Iterable[Endpoint],
    *,
    policy: BalancerPolicy | None = None,
    weights: dict[tuple[int, str], int] | None = None,
    detection: OutlierDetection = EJECT,
) -> LiveCluster:
    cluster = Cluster(
        name="a",
        host="a",
        port=80,
        endpoints=tuple(endpoints),
        localities=tuple(
            LocalityShare(tier, Locality("r", zone, ""), w) for (tier, zone), w in (weights or {}).items()
        ),
        policy=TrafficPolicy(balancer=policy or LeastRequest(), outlier=detection),
    )
    return State(system_chance(4), VirtualClock()).bind(Snapshot(clusters={"a": cluster}), {}, 0.0)["a"]


def eject(live: LiveCluster, *ports: int) -> None:
    for host in live.endpoints:
        if host.endpoint.port in ports:
            record_locked(live, host, Response(500, Headers()), 1.0)
            assert host.is_ejected


def picks(live: LiveCluster, times: int) -> Counter[int]:
    found = (pick_locked(live, None) for _ in range(times))
    return Counter(host.endpoint.port for host in found if host is not None)


def test_traffic_spills_as_a_tier_loses_endpoints() -> None:
    """10 + 5 endpoints: 70 % healthy is still enough for all traffic; at 50 % three in ten go to the next tier."""
    live = live_cluster([*(endpoint(port) for port in range(10)), *(endpoint(port, tier=1) for port in range(10, 15))])
    assert all(port < 10 for port in picks(live, 300))
    eject(live, 0, 1)
    assert all(1 < port < 10 for port in picks(live, 300))
    eject(live, 2, 3, 4)
    counted = picks(live, 6000)
    assert fits([sum(counted[p] for p in range(5, 10)), sum(counted[p] for p in range(10, 15))], [70, 30])
    eject(live, 5, 6, 7, 8, 9)
    assert all(port >= 10 for port in picks(live, 300))


def test_an_unready_endpoint_counts_but_gets_nothing() -> None:
    """Two of four are not ready: 70 % stay."""
    tier = [endpoint(0), endpoint(1), endpoint(2, healthy=False), endpoint(3, healthy=False)]
    live = live_cluster([*tier, endpoint(9, tier=1)])
    counted = picks(live, 6000)
    assert set(counted) == {0, 1, 9}
    assert fits([counted[0] + counted[1], counted[9]], [70, 30])


@pytest.mark.parametrize("policy", [RoundRobin(), LeastRequest(), RandomPick(), RingHash(), Maglev(251)], ids=repr)
def test_nothing_is_picked_where_nothing_is_healthy(policy: BalancerPolicy) -> None:
    """No panic by default: 503 UH."""
    live = live_cluster([endpoint(0), endpoint(1, tier=1)], policy=policy)
    eject(live, 0, 1)
    assert pick_locked(live, None) is None
    assert pick_locked(live, 7) is None


def test_below_the_panic_threshold_all_endpoints_are_used() -> None:
    """minHealthPercent 50: one of four left is panic, two of four are not."""
    detection = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100, min_health_percent=50)
    live = live_cluster([endpoint(port) for port in range(4)], detection=detection)
    eject(live, 0, 1)
    assert set(picks(live, 300)) == {2, 3}
    eject(live, 2)
    assert set(picks(live, 300)) == {0, 1, 2, 3}


def test_panic_is_for_a_tier_and_only_if_all_together_are_short() -> None:
    """While the next tier can take everything, a broken one is left alone."""
    detection = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100, min_health_percent=50)
    tiers = [*(endpoint(port) for port in range(4)), *(endpoint(port, tier=1) for port in range(4, 8))]
    live = live_cluster(tiers, detection=detection)
    eject(live, 0, 1, 2, 3)
    assert set(picks(live, 300)) == {4, 5, 6, 7}
    eject(live, 4, 5, 6)
    counted = picks(live, 4000)
    assert set(counted) == set(range(8))
    assert fits([sum(counted[p] for p in range(4)), sum(counted[p] for p in range(4, 8))], [50, 50])


def test_localities_share_by_weight_and_availability() -> None:
    """Weights 1:2; the lighter half down: 26/74 (semantics 4.7)."""
    zone_x, zone_y = [endpoint(p, zone="x") for p in range(4)], [endpoint(p, zone="y") for p in range(4, 6)]
    live = live_cluster([*zone_x, *zone_y], weights={(0, "x"): 1, (0, "y"): 2})
    counted = picks(live, 6000)
    assert fits([sum(counted[p] for p in range(4)), counted[4] + counted[5]], [1, 2])
    eject(live, 0, 1)
    counted = picks(live, 6000)
    assert fits([counted[2] + counted[3], counted[4] + counted[5]], [0.7, 2])
    eject(live, 2, 3)
    assert set(picks(live, 100)) == {4, 5}


@pytest.mark.parametrize("policy", [RingHash(4096), Maglev(65537)], ids=repr)
def test_hashing_keeps_locality_weights_in_one_table(policy: BalancerPolicy) -> None:
    """A locality of weight 3 has three quarters of the keys, however few endpoints it has."""
    zones = [endpoint(0, zone="x"), endpoint(1, zone="x"), endpoint(2, zone="y")]
    live = live_cluster(zones, policy=policy, weights={(0, "x"): 1, (0, "y"): 3})
    found = Counter(host.endpoint.port for n in range(4000) if (host := pick_locked(live, xxh64(b"%d" % n))))
    assert 0.70 < found[2] / 4000 < 0.80
    assert 0.09 < found[0] / 4000 < 0.16


@pytest.mark.parametrize("policy", [RingHash(), Maglev(251)], ids=repr)
def test_a_hash_chooses_its_tier_and_keeps_it(policy: BalancerPolicy) -> None:
    """Half of the first tier down: the same key goes to the same place, three in ten to the next tier."""
    live = live_cluster([endpoint(0), endpoint(1), endpoint(2, tier=1)], policy=policy)
    eject(live, 0)
    values = [xxh64(b"user-%d" % n) for n in range(3000)]
    first = [pick_locked(live, value) for value in values]
    assert first == [pick_locked(live, value) for value in values]
    counted = Counter(host.endpoint.port for host in first if host is not None)
    assert fits([counted[1], counted[2]], [70, 30])


def test_retries_leave_the_tiers_they_have_tried() -> None:
    """retryRemoteLocalities: after every second attempt; when all were tried, from the beginning."""
    live = live_cluster([endpoint(port, tier=port) for port in range(3)])
    retry = RetryPolicy(attempts=9, conditions=frozenset(), avoid_previous_hosts=False, remote_localities=True)
    tried: tuple[object, ...] = ()
    went = []
    for _ in range(8):
        host = pick_locked(live, None, retry, tried)  # type: ignore[arg-type]
        assert host is not None
        went.append(host.endpoint.port)
        tried += (host,)
    assert went == [0, 0, 1, 1, 2, 2, 0, 0]


def test_without_remote_localities_a_retry_stays() -> None:
    """In the tier that has the load."""
    live = live_cluster([endpoint(port, tier=port) for port in range(3)])
    retry = RetryPolicy(attempts=9, conditions=frozenset(), avoid_previous_hosts=True)
    host = pick_locked(live, None, retry, live.endpoints[:1] * 2)
    assert host is live.endpoints[0]
