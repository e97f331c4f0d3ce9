"""Ejection against a naive reference: any order of attempts, waits and reloads gives the same endpoints."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshlib._engine.outliers import record_locked, sweep_locked
from meshlib._engine.picks import pick_locked
from meshlib._engine.state import LiveCluster, State
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib._random import system_chance
from meshlib._snapshot.clusters import OutlierDetection, TrafficPolicy
from meshlib._snapshot.snapshot import Snapshot
from meshlib.testing import VirtualClock
from tests.mesh_builders import NAME, make_cluster

DETECTIONS = st.builds(
    OutlierDetection,
    consecutive_5xx=st.integers(0, 3),
    consecutive_gateway=st.integers(0, 3),
    consecutive_local=st.integers(1, 3),
    split_local=st.booleans(),
    interval=st.sampled_from([0.5, 1.0, 3.0]),
    base_ejection_time=st.sampled_from([1.0, 2.5, 7.0]),
    max_ejection_time=st.sampled_from([5.0, 20.0]),
    max_ejection_percent=st.sampled_from([10, 34, 50, 100]),
    min_health_percent=st.sampled_from([0, 50]),
    error_codes=st.sampled_from([(), (), (429, 500)]),
)
STATUSES = st.sampled_from([200, 404, 429, 500, 502, 503, 504])
FAILURES = st.sampled_from([FailureKind.CONNECT_FAILURE, FailureKind.TIMEOUT, FailureKind.TERMINATION])


@dataclass
class Naive:
    """One endpoint, told in whole sentences: see semantics 4.12."""

    c5xx: int = 0
    gateway: int = 0
    local: int = 0
    ejected_at: float | None = None
    times: int = 0
    back_at: float = float("-inf")


class Ejection(RuleBasedStateMachine):
    @initialize(detection=DETECTIONS, hosts=st.integers(1, 6))
    def begin(self, detection: OutlierDetection, hosts: int) -> None:
        self.rules = detection
        self.cluster = make_cluster(*range(hosts), policy=TrafficPolicy(outlier=detection))
        self.clock = VirtualClock()
        self.state = State(system_chance(3), self.clock)
        self.live: LiveCluster = self.state.bind(Snapshot(clusters={NAME: self.cluster}), {}, 0.0)[NAME]
        self.naive = [Naive() for _ in range(hosts)]
        self.sweeps = 0

    @rule(host=st.integers(0, 5), status=STATUSES, times=st.integers(1, 3))
    def respond(self, host: int, status: int, times: int) -> None:
        host %= len(self.naive)
        for _ in range(times):
            self._record(host, Response(status, Headers()))
            if self.rules.split_local:
                self.naive[host].local = 0
            if self.rules.error_codes:
                status = 500 if status in self.rules.error_codes else 200
            self._count(self.naive[host], status)

    @rule(host=st.integers(0, 5), kind=FAILURES, times=st.integers(1, 3))
    def fail(self, host: int, kind: FailureKind, times: int) -> None:
        host %= len(self.naive)
        for _ in range(times):
            self._record(host, Failure(kind, sent=True))
            one = self.naive[host]
            if not self.rules.split_local:
                self._count(one, 504 if kind is FailureKind.TIMEOUT else 503)
                continue
            one.local += 1
            if one.local == self.rules.consecutive_local:
                one.local = 0
                self._eject(one)

    @rule(seconds=st.sampled_from([0.3, 1.0, 2.5, 11.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        while (self.sweeps + 1) * self.rules.interval <= self.clock.monotonic():
            self.sweeps += 1
            self._sweep(self.sweeps * self.rules.interval)

    @rule()
    def reload(self) -> None:
        """A publish that changes something else of the cluster."""
        changed = make_cluster(*range(len(self.naive)), policy=self.cluster.policy)
        self.live = self.state.bind(Snapshot(clusters={NAME: changed}), {}, self.clock.monotonic())[NAME]

    @invariant()
    def the_same_are_ejected(self) -> None:
        sweep_locked(self.live, self.clock.monotonic())
        wanted = [one.ejected_at is not None for one in self.naive]
        assert [host.is_ejected for host in self.live.endpoints] == wanted
        assert [host.backoff for host in self.live.endpoints] == [one.times for one in self.naive]
        well = wanted.count(False)
        found = {host.endpoint.port for _ in range(60) if (host := pick_locked(self.live, None))}
        if 140 * well // len(wanted) < 100 and 100 * well / len(wanted) < self.rules.min_health_percent:
            assert found
        else:
            assert not any(wanted[port] for port in found)
            assert bool(found) == bool(well)

    # -- the reference ---------------------------------------------------------------------------------

    def _record(self, host: int, outcome: Outcome) -> None:
        now = self.clock.monotonic()
        sweep_locked(self.live, now)
        record_locked(self.live, self.live.endpoints[host], outcome, now)

    def _count(self, one: Naive, status: int) -> None:
        if status < 500:
            one.c5xx = one.gateway = 0
            return
        one.gateway = one.gateway + 1 if status in (502, 503, 504) else 0
        fired = one.gateway > 0 and one.gateway == self.rules.consecutive_gateway
        if fired:
            one.gateway = 0
            self._eject(one)
        one.c5xx += 1
        if one.c5xx == self.rules.consecutive_5xx:
            one.c5xx = 0
            self._eject(one)

    def _eject(self, one: Naive) -> None:
        out = sum(other.ejected_at is not None for other in self.naive)
        if one.ejected_at is not None or 100 * (out + 1) > self.rules.max_ejection_percent * len(self.naive):
            return
        one.ejected_at = self.clock.monotonic()
        base, longest = self.rules.base_ejection_time, max(self.rules.max_ejection_time, self.rules.base_ejection_time)
        if one.times * base < longest + base:
            one.times += 1

    def _sweep(self, now: float) -> None:
        base, longest = self.rules.base_ejection_time, max(self.rules.max_ejection_time, self.rules.base_ejection_time)
        for one in self.naive:
            if one.ejected_at is not None:
                if now - one.ejected_at >= min(base * one.times, longest):
                    one.ejected_at, one.back_at = None, now
                    one.c5xx = one.gateway = one.local = 0
            elif one.times and now - one.back_at >= self.rules.interval:
                one.times -= 1


TestEjection = Ejection.TestCase
TestEjection.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
