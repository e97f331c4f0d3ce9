"""Ejection and return, on a virtual clock: the algorithm of semantics 4.12."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib._engine.outliers import record_locked, sweep_locked
from meshlib._engine.state import LiveCluster, State
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib._random import system_chance
from meshlib._snapshot.clusters import OutlierDetection, TrafficPolicy
from meshlib._snapshot.snapshot import Snapshot
from tests.mesh_builders import NAME, make_cluster


def live_cluster(hosts: int, **detection: Any) -> LiveCluster:
    cluster = make_cluster(*range(hosts), policy=TrafficPolicy(outlier=OutlierDetection(**detection)))
    return State(system_chance(1)).bind(Snapshot(clusters={NAME: cluster}), {}, 0.0)[NAME]


def respond(live: LiveCluster, host: int, status: int, now: float = 1.0) -> None:
    record_locked(live, live.endpoints[host], Response(status, Headers()), now)


def ejected(live: LiveCluster, now: float = 1.0) -> list[int]:
    sweep_locked(live, now)
    return [host.endpoint.port for host in live.endpoints if host.is_ejected]


@pytest.mark.parametrize(
    ("hosts", "percent", "ejectable"),
    [(9, 10, 0), (10, 10, 1), (3, 30, 0), (3, 34, 1), (3, 67, 2), (2, 50, 1), (4, 100, 4), (11, 20, 2)],
)
def test_max_ejection_percent_counts_without_rounding_up(hosts: int, percent: int, ejectable: int) -> None:
    """With the default 10 % fewer than ten hosts never eject."""
    live = live_cluster(hosts, consecutive_5xx=1, max_ejection_percent=percent)
    for host in range(hosts):
        respond(live, host, 500)
    assert len(ejected(live)) == ejectable


def test_a_success_between_starts_the_count_anew() -> None:
    """Consecutive means consecutive."""
    live = live_cluster(1, consecutive_5xx=3, max_ejection_percent=100)
    for status in (500, 500, 200, 500, 500):
        respond(live, 0, status)
    assert ejected(live) == []
    respond(live, 0, 599)
    assert ejected(live) == [0]


def test_gateway_errors_have_a_counter_of_their_own() -> None:
    """A 500 between two 503 breaks the run of gateway errors, not that of 5xx."""
    live = live_cluster(1, consecutive_5xx=0, consecutive_gateway=2, max_ejection_percent=100)
    for status in (503, 500, 503):
        respond(live, 0, status)
    assert ejected(live) == []
    respond(live, 0, 502)
    assert ejected(live) == [0]


@pytest.mark.parametrize(("kind", "counter"), [(FailureKind.TIMEOUT, "gateway"), (FailureKind.TERMINATION, "gateway")])
def test_failures_count_as_gateway_errors_unless_split(kind: FailureKind, counter: str) -> None:
    """A timeout is a 504, a reset a 503; with the split they have their own threshold."""
    failure: Outcome = Failure(kind, sent=True)
    live = live_cluster(1, consecutive_5xx=0, consecutive_gateway=1, max_ejection_percent=100)
    record_locked(live, live.endpoints[0], failure, 1.0)
    assert ejected(live) == [0]
    split = live_cluster(1, consecutive_5xx=1, consecutive_local=2, split_local=True, max_ejection_percent=100)
    record_locked(split, split.endpoints[0], failure, 1.0)
    assert ejected(split) == []
    record_locked(split, split.endpoints[0], failure, 1.0)
    assert ejected(split) == [0]


def test_listed_codes_are_failures_in_place_of_5xx() -> None:
    """Then even a 503 is a success."""
    live = live_cluster(2, consecutive_5xx=1, error_codes=(429,), max_ejection_percent=100)
    respond(live, 0, 503)
    respond(live, 1, 429)
    assert ejected(live) == [1]


def test_an_endpoint_comes_back_only_at_a_sweep() -> None:
    """Ejected at 5 for 30 s with sweeps every 10 s: back at 40, not at 35."""
    live = live_cluster(2, consecutive_5xx=1, max_ejection_percent=100)
    respond(live, 0, 500, now=5.0)
    assert [ejected(live, now) for now in (30.0, 35.0, 39.9, 40.0)] == [[0], [0], [0], []]


def test_each_ejection_in_a_row_lasts_longer_and_each_quiet_sweep_forgives_one() -> None:
    """30 s, then 60 s; after enough quiet sweeps 30 s again."""
    live = live_cluster(1, consecutive_5xx=1, max_ejection_percent=100)
    respond(live, 0, 500, now=5.0)
    assert ejected(live, 40.0) == []
    respond(live, 0, 500, now=41.0)
    assert ejected(live, 100.9) == [0]
    assert ejected(live, 110.0) == []
    assert live.endpoints[0].backoff == 2
    assert ejected(live, 130.0) == []
    assert live.endpoints[0].backoff == 0


def test_ejection_time_is_capped() -> None:
    """Never above 300 s, or the base if that is longer."""
    live = live_cluster(1, consecutive_5xx=1, max_ejection_percent=100, interval=1.0, base_ejection_time=200.0)
    respond(live, 0, 500, now=0.5)
    sweep_locked(live, 201.0)
    respond(live, 0, 500, now=201.5)
    assert ejected(live, 500.0) == [0]
    assert ejected(live, 502.0) == []


def test_thousands_of_missed_sweeps_are_made_up_for_at_once() -> None:
    """A cluster that was idle for a year answers immediately."""
    live = live_cluster(1, consecutive_5xx=1, max_ejection_percent=100, interval=0.001)
    respond(live, 0, 500, now=1.0)
    assert ejected(live, 31_536_000.0) == []
    assert live.state.next_sweep is not None
    assert live.state.next_sweep >= 31_536_000.0


def test_state_survives_a_publish() -> None:
    """Counters and ejections are keyed by cluster and address; a host that is gone is forgotten."""
    detection = TrafficPolicy(outlier=OutlierDetection(consecutive_5xx=2, max_ejection_percent=100))
    state = State(system_chance(1))
    before = state.bind(Snapshot(clusters={NAME: make_cluster(0, 1, 2, policy=detection)}), {}, 0.0)
    respond(before[NAME], 0, 500)
    respond(before[NAME], 1, 500)
    respond(before[NAME], 1, 500)
    after = state.bind(Snapshot(clusters={NAME: make_cluster(1, 0, 5, policy=detection)}), before, 1.0)[NAME]
    assert ejected(after) == [1]
    record_locked(after, after.endpoints[1], Response(500, Headers()), 2.0)
    assert ejected(after) == [1, 0]
    assert after is not before[NAME]
    assert set(after.state.endpoints) == {"127.0.0.1:0", "127.0.0.1:1", "127.0.0.1:5"}


@pytest.mark.parametrize(
    ("status", "grpc_status", "is_bad"),
    [
        (200, "14", True),
        (200, "0014", True),
        (200, "+2", True),
        (200, "x", True),
        (200, "-1", True),
        (200, "99", True),
        (200, "9" * 5000, True),
        (200, "5", False),
        (200, "+5", False),
        (200, "", False),
        (404, "14", True),
        (202, "13", True),
        (503, "0", False),
        (503, "", True),
    ],
)
def test_the_status_of_grpc_counts_in_place_of_that_of_http(status: int, grpc_status: str, is_bad: bool) -> None:
    """For gRPC requests alone, in any spelling of a number (Envoy 1.39.3)."""
    response = Response(status, Headers({"grpc-status": grpc_status}))
    for is_grpc in (True, False):
        live = live_cluster(1, consecutive_5xx=1, max_ejection_percent=100)
        record_locked(live, live.endpoints[0], response, 1.0, is_grpc=is_grpc)
        assert bool(ejected(live)) is (is_bad if is_grpc else status >= 500)
