"""The circuit breaker: against a naive reference, and under a stampede."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshlib._engine.breakers import COUNTED, SLOTS, Breaker
from meshlib._snapshot.client_policy import BreakerRules

RULES = st.builds(
    BreakerRules,
    failure_ratio=st.sampled_from([None, 0.25, 0.5, 1.0]),
    slow_ratio=st.sampled_from([None, 0.5]),
    slow_seconds=st.sampled_from([1.0, 5.0]),
    consecutive=st.integers(0, 3),
    window=st.sampled_from([None, 10.0]),
    minimum_calls=st.integers(1, 5),
    open_for=st.sampled_from([2.0, 7.0]),
)


class Breaking(RuleBasedStateMachine):
    """The reference keeps every call and looks at all of them each time."""

    @initialize(rules=RULES)
    def begin(self, rules: BreakerRules) -> None:
        self.rules = rules
        self.breaker = Breaker(rules)
        self.now = 0.0
        self.state = "closed"
        self.opened_at = 0.0
        self.probe: int | None = None
        self.period = 0  # counts changes of state
        self.ended: list[tuple[float, bool, bool]] = []
        self.on_their_way: list[tuple[int, int]] = []  # permit of the breaker, period of the reference

    @rule(calls=st.integers(1, 4))
    def enter(self, calls: int) -> None:
        for _ in range(calls):
            if self.state == "open" and self.now >= self.opened_at + self.rules.open_for:
                self.state, self.probe, self.period = "half-open", None, self.period + 1
            passes = self.state == "closed" or (self.state == "half-open" and self.probe is None)
            permit = self.breaker.enter(self.now)
            assert (permit is not None) == passes
            if permit is not None:
                self.on_their_way.append((permit, self.period))
                if self.state == "half-open":
                    self.probe = self.period

    @rule(which=st.integers(0, 30), failed=st.booleans(), seconds=st.sampled_from([0.1, 2.0, 6.0]))
    def end(self, which: int, failed: bool, seconds: float) -> None:
        if not self.on_their_way:
            return
        permit, period = self.on_their_way.pop(which % len(self.on_their_way))
        self.breaker.record(permit, self.now, failed=failed, seconds=seconds)
        if period != self.period:
            return
        slow = seconds >= self.rules.slow_seconds
        if self.state == "half-open":
            if failed or slow:
                self._open()
            else:
                self.state, self.period, self.ended = "closed", self.period + 1, []
            return
        self.ended.append((self.now, failed, slow))
        if self._is_bad():
            self._open()

    @rule(which=st.integers(0, 30))
    def give_up(self, which: int) -> None:
        if self.on_their_way:
            permit, period = self.on_their_way.pop(which % len(self.on_their_way))
            self.breaker.give_up(permit)
            if self.state == "half-open" and period == self.period:
                self.probe = None

    @rule(seconds=st.sampled_from([0.4, 1.0, 3.0, 9.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_states_are_the_same(self) -> None:
        assert self.breaker.state == self.state

    def _open(self) -> None:
        self.state, self.opened_at, self.period = "open", self.now, self.period + 1

    def _is_bad(self) -> bool:
        row = 0
        for _, failed, _ in reversed(self.ended):
            if not failed:
                break
            row += 1
        if self.rules.consecutive and row >= self.rules.consecutive:
            return True
        if self.rules.window is None:
            recent = self.ended[-COUNTED:]
        else:
            slot = self.rules.window / SLOTS
            recent = [call for call in self.ended if call[0] // slot > self.now // slot - SLOTS]
        if len(recent) < self.rules.minimum_calls:
            return False
        failures, slows = sum(call[1] for call in recent), sum(call[2] for call in recent)
        too_many = self.rules.failure_ratio is not None and failures >= self.rules.failure_ratio * len(recent)
        return too_many or (self.rules.slow_ratio is not None and slows >= self.rules.slow_ratio * len(recent))


TestBreaking = Breaking.TestCase
TestBreaking.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def opened(**rules: object) -> Breaker:
    breaker = Breaker(BreakerRules(consecutive=1, open_for=5.0, **rules))  # type: ignore[arg-type]
    permit = breaker.enter(0.0)
    assert permit is not None
    breaker.record(permit, 0.0, failed=True, seconds=0.1)
    assert breaker.state == "open"
    return breaker


def test_half_open_lets_one_of_200_threads_pass() -> None:
    """All wait at the same door."""
    breaker = opened()
    door = threading.Barrier(200)
    passed: Counter[bool] = Counter()
    lock = threading.Lock()

    def call() -> None:
        door.wait()
        permit = breaker.enter(6.0)
        with lock:
            passed[permit is not None] += 1

    threads = [threading.Thread(target=call) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == {True: 1, False: 199}


def test_a_probe_that_is_given_up_leaves_its_place() -> None:
    """Cancelled callers do not keep a breaker half-open for ever."""
    breaker = opened()
    probe = breaker.enter(5.0)
    assert probe is not None
    assert breaker.enter(5.0) is None
    breaker.give_up(probe)
    again = breaker.enter(5.0)
    assert again is not None
    breaker.record(again, 5.5, failed=False, seconds=0.5)
    assert breaker.state == "closed"


@pytest.mark.parametrize(("window", "later", "state"), [(None, 1000.0, "open"), (10.0, 1000.0, "closed")])
def test_a_time_window_forgets_and_a_count_window_does_not(window: float | None, later: float, state: str) -> None:
    """Three failures, a long pause, then the fourth call."""
    breaker = Breaker(BreakerRules(failure_ratio=0.7, minimum_calls=4, window=window))
    for now in (0.0, 0.1, 0.2, later):
        permit = breaker.enter(now)
        assert permit is not None
        breaker.record(permit, now, failed=True, seconds=0.1)
    assert breaker.state == state


def test_the_count_window_is_the_last_hundred() -> None:
    """Fifty failures among the last hundred, however many were good before."""
    breaker = Breaker(BreakerRules(failure_ratio=0.5))
    for number in range(1000):
        permit = breaker.enter(0.0)
        assert permit is not None
        breaker.record(permit, 0.0, failed=number >= 950, seconds=0.1)
        assert breaker.state == ("open" if number == 999 else "closed")
