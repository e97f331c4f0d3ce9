"""The short way of a call: nothing about it can be seen but its haste."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib import LastGood, Mesh, RefusedError
from meshlib._calls.target import Options, Target
from meshlib.events import (
    AttemptFinished,
    EndpointEjected,
    EndpointUnejected,
    Event,
    ExchangeFinished,
    FaultInjected,
    RetryScheduled,
)
from meshlib.testing import VirtualClock, run_virtual
from tests.calls.meshes import BREAKER, CONFIG, POLICY, RETRY, DownError, Script, assert_at_rest, call_sync, load

ROUTES = (
    "retries: {attempts: 0}",
    "retries: {attempts: 2, retryOn: 'gateway-error,connect-failure', backoff: 1ms}",
    "timeout: 3s, retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx', backoff: 1ms}",
    "timeout: 1s, retries: {attempts: 1, perTryTimeout: 1s, retryOn: 'reset,409', backoff: 1ms}",
    "fault: {abort: {httpStatus: 503, percentage: {value: 30}}}",
)
TRAFFIC = (
    "loadBalancer: {simple: ROUND_ROBIN}",
    "loadBalancer: {simple: RANDOM}, connectionPool: {http: {http2MaxRequests: 2, maxRetries: 1}}",
    "outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 100}",
    (
        "outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, interval: 1s, "
        "baseEjectionTime: 1s, maxEjectionPercent: 50, consecutiveGatewayErrors: 2}"
    ),
    "loadBalancer: {consistentHash: {httpHeaderName: user}}",
)
POLICIES = (
    "",
    "circuitBreaker: {consecutiveFailures: 2, openFor: 2s}",
    "circuitBreaker: {failureRate: 50, minimumCalls: 3, window: 5s, slowCallDuration: 1s, slowCallRate: 60}",
    "retrySafety: idempotent\n  fallback: {lastGood: {maxAge: 3s}}",
    "deadline: {default: 1s}",
)
SPLIT = "route: [{destination: {host: ratings}, weight: 60}, {destination: {host: ratings, subset: v2}, weight: 40}]"

ENDS = st.sampled_from(
    [5, 5, 5, 5, DownError, ConnectionRefusedError, ConnectionResetError, TimeoutError, RefusedError, SystemExit]
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 6.0]),
            "ends": st.lists(st.tuples(st.sampled_from([0.0, 0.0, 0.25, 1.5]), ENDS), min_size=1, max_size=3),
            "cancelled": st.sampled_from([None, None, None, 0.1, 0.9]),
        }
    ),
    min_size=1,
    max_size=14,
)


class StopError(BaseException):
    """What counts for nothing."""


def _error(kind: Any) -> BaseException:
    if kind is RefusedError:
        return RefusedError(status=409, body="", flags=(), details="", host="x")
    return StopError() if kind is SystemExit else kind()


def _configured(route: str, traffic: str, policy: str, *, split: bool) -> str:
    text = CONFIG.replace("ROUTE", route).replace("TRAFFIC", traffic)
    if split:
        text = text.replace("route: [{destination: {host: ratings}}]", SPLIT)
    return text + (POLICY.replace("POLICY", policy) if policy else "")


class Run:
    """A mesh, the calls that are made through it, and all that can be seen of them."""

    def __init__(self, text: str, calls: list[dict[str, Any]], *, watched: bool, fallback: Any) -> None:
        self.clock = VirtualClock()
        self.chance = random.Random(5)
        self.mesh = Mesh.load(text, clock=self.clock, chance=self.chance)
        self.mesh.runtime.recorder = None  # it wants all calls once another test has imported OpenTelemetry's SDK
        self.calls = calls
        self.fallback = fallback
        self.seen: list[object] = []
        kinds = (RetryScheduled, EndpointEjected, EndpointUnejected, FaultInjected)
        self.mesh.observe(self.seen.append, *kinds)
        if watched:
            self.mesh.observe(lambda _: None, ExchangeFinished, AttemptFinished)

    def state(self) -> list[object]:
        """Every counter, and how far chance has come."""
        live = sorted(self.mesh.runtime.clusters().items())
        endpoints = [
            (name, one.key, one.active, one.backoff, one.ejected_at)
            for name, cluster in live
            for one in cluster.endpoints
        ]
        runs = [
            (one.consecutive_5xx, one.consecutive_gateway, one.consecutive_local)
            for _, cluster in live
            for one in cluster.endpoints
        ]
        clusters = [(name, one.state.active, one.state.retries, one.state.next_sweep) for name, one in live]
        breakers = [repr(caller) for caller in self.mesh.runtime.published.callers.values()]
        return [endpoints, runs, clusters, breakers, self.chance.getstate(), round(self.clock.monotonic(), 9)]

    def note(self, number: int, what: object) -> None:
        self.seen.append((number, what, self.state()))

    async def all(self) -> None:
        await asyncio.gather(*(self._one(number, **call) for number, call in enumerate(self.calls)))

    async def _one(self, number: int, at: float, ends: list[tuple[float, Any]], cancelled: float | None) -> None:
        entries = iter(ends)

        async def ratings(argument: int) -> object:
            self.note(number, "begins")
            seconds, end = next(entries, ends[-1])
            await asyncio.sleep(seconds)
            if end != 5:
                raise _error(end)
            return argument

        await asyncio.sleep(at)
        task = asyncio.ensure_future(self.mesh.call("ratings", fallback=self.fallback)(ratings)(number % 3))
        if cancelled is not None:
            asyncio.get_running_loop().call_later(cancelled, task.cancel)
        await asyncio.wait([task])
        outcome = "cancelled" if task.cancelled() else task.exception() or task.result()
        self.note(number, repr(outcome))

    def each(self) -> None:
        """The same, one after the other, by plain functions; what takes time takes it before the call."""
        for number, call in enumerate(self.calls):
            self.clock.advance(sum(seconds for seconds, _ in call["ends"]))
            entries = [_error(end) if end != 5 else number for _, end in call["ends"]]
            try:
                outcome = self.mesh.call("ratings", fallback=self.fallback)(Script(*entries))()
            except BaseException as error:  # noqa: BLE001 - that is what is compared
                outcome = repr(error)
            self.note(number, outcome)


FALLBACKS = st.sampled_from([None, None, lambda *_: 7, LastGood(2.0)])
SETUPS = st.builds(
    _configured, st.sampled_from(ROUTES), st.sampled_from(TRAFFIC), st.sampled_from(POLICIES), split=st.booleans()
)


@settings(max_examples=50)
@given(text=SETUPS, calls=CALLS, fallback=FALLBACKS)
def test_calls_side_by_side_end_as_by_the_long_way(text: str, calls: list[dict[str, Any]], fallback: Any) -> None:
    """Same picks, draws, counters, events, results and times, whoever is cut off or cancelled."""
    short, long = (Run(text, calls, watched=watched, fallback=fallback) for watched in (False, True))
    for run in (short, long):
        run_virtual(run.all(), run.clock)
        assert_at_rest(run.mesh)
    assert short.seen == long.seen


@settings(max_examples=50)
@given(text=SETUPS, calls=CALLS, fallback=FALLBACKS)
def test_plain_calls_end_as_by_the_long_way(text: str, calls: list[dict[str, Any]], fallback: Any) -> None:
    """The same for functions that block."""
    short, long = (Run(text, calls, watched=watched, fallback=fallback) for watched in (False, True))
    for run in (short, long):
        run.each()
        assert_at_rest(run.mesh)
    assert short.seen == long.seen


@pytest.mark.parametrize(
    ("route", "traffic", "policy", "is_there"),
    [
        (RETRY, TRAFFIC[0], "", True),
        (ROUTES[2], TRAFFIC[2], BREAKER, True),
        (ROUTES[3], TRAFFIC[4], POLICIES[3], True),
        (ROUTES[4], TRAFFIC[0], "", False),
        ("retries: {attempts: 1, retryOn: '200'}", TRAFFIC[0], "", False),
        (RETRY, "connectionPool: {tcp: {maxConnections: 1}}", "", False),
        (RETRY, TRAFFIC[0], "hedging: {delay: 1s}", False),
        (RETRY, TRAFFIC[0], POLICIES[4], False),
    ],
)
def test_where_there_is_a_short_way(route: str, traffic: str, policy: str, is_there: bool) -> None:
    """Nearly everywhere: not where more can happen to a first attempt than to be picked, cut off and counted."""
    mesh = load(route, traffic=traffic, policy=policy, clock=VirtualClock())
    recorder, mesh.runtime.recorder = mesh.runtime.recorder, None
    target = Target(mesh.runtime, "ratings", Options())
    assert (target.short_plan() is not None) is is_there
    stop = mesh.observe(lambda _: None, ExchangeFinished)
    assert target.short_plan() is None
    stop()
    assert (target.short_plan() is not None) is is_there
    mesh.metrics()
    mesh.runtime.recorder = recorder
    assert target.short_plan() is None


def test_who_begins_to_listen_in_the_middle_hears_the_end() -> None:
    """Of a call that goes on the long way."""
    mesh, seen = load(clock=VirtualClock()), list[Event]()

    def ratings() -> int:
        if not seen:
            mesh.observe(seen.append, AttemptFinished, ExchangeFinished, RetryScheduled)
            raise DownError
        return 5

    assert mesh.call("ratings")(ratings)() == 5
    assert [type(event) for event in seen] == [AttemptFinished, RetryScheduled, AttemptFinished, ExchangeFinished]
    assert_at_rest(mesh)


def test_a_publish_in_the_middle_leaves_the_call_on_its_snapshot() -> None:
    """Its retries are those of the route that it began with."""
    mesh = load(RETRY, clock=VirtualClock())
    script = Script(DownError(), DownError(), 5)

    def ratings() -> object:
        mesh.runtime.publish(load("retries: {attempts: 0}", clock=VirtualClock()).snapshot)
        return script()

    assert mesh.call("ratings")(ratings)() == 5
    with pytest.raises(DownError):
        call_sync(mesh, Script(DownError(), 5))
    assert_at_rest(mesh)


@pytest.mark.parametrize("make", [DownError, ConnectionRefusedError, ConnectionResetError, TimeoutError])
@pytest.mark.parametrize("watched", [False, True], ids=["short", "long"])
def test_a_failure_leaves_no_cycle_behind(make: Callable[[], BaseException], watched: bool) -> None:
    """Its exception is freed as soon as the caller lets it go, with all that its frames hold."""
    mesh = load(RETRY, clock=VirtualClock())
    if watched:
        mesh.observe(lambda _: None, ExchangeFinished)
    raised: list[weakref.ref[BaseException]] = []

    class FreshError(type(make())):  # type: ignore[misc]
        def __init__(self) -> None:
            raised.append(weakref.ref(self))

    @mesh.call("ratings")
    def ratings() -> None:
        raise FreshError

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(type(make())) as caught:
            ratings()
        del caught
        assert [one() for one in raised] == [None] * len(raised)
    finally:
        gc.enable()
