"""Routes, timeouts, faults and limits around functions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib import Mesh, RefusedError
from meshlib.errors import CallTimeoutError
from meshlib.events import AttemptFinished, ExchangeFinished
from meshlib.testing import VirtualClock, run_virtual
from tests.calls.meshes import (
    CONFIG,
    EITHER,
    NO_RETRY,
    RETRY,
    DownError,
    Script,
    assert_at_rest,
    call_async,
    call_sync,
    load,
)


def test_a_hung_function_is_cut_off_at_its_per_try_timeout() -> None:
    """And tried again."""
    clock, begun = VirtualClock(), []
    mesh = load("retries: {attempts: 1, perTryTimeout: 2s, retryOn: reset, backoff: 1ms}", clock=clock)

    @mesh.call("ratings")
    async def ratings() -> int:
        begun.append(clock.monotonic())
        await asyncio.sleep(60 if len(begun) == 1 else 0.5)
        return 5

    assert run_virtual(ratings(), clock) == 5
    assert begun[1] == pytest.approx(2.0, abs=0.01)
    assert_at_rest(mesh)


def test_the_routes_timeout_ends_the_call() -> None:
    """With an error that is a TimeoutError too."""
    clock = VirtualClock()
    mesh = load("timeout: 3s", clock=clock)

    @mesh.call("ratings")
    async def ratings() -> None:
        await asyncio.sleep(60)

    with pytest.raises(CallTimeoutError, match="ratings: 504") as caught:
        run_virtual(ratings(), clock)
    assert (caught.value.status, caught.value.flags, clock.monotonic()) == (504, ("UT",), 3.0)
    assert isinstance(caught.value, TimeoutError)
    assert_at_rest(mesh)


def test_a_late_plain_function_keeps_its_result() -> None:
    """It cannot be cut off, and to throw its result away would help nobody."""
    clock = VirtualClock()
    mesh = load("timeout: 1s", clock=clock)
    assert mesh.run("ratings", lambda: clock.advance(5.0) or "late") == "late"


@EITHER
def test_an_injected_abort_is_a_refusal(call: Any) -> None:
    """The function is not called."""
    script = Script(5)
    mesh = load("fault: {abort: {httpStatus: 418, percentage: {value: 100}}}", clock=VirtualClock())
    with pytest.raises(RefusedError) as caught:
        call(mesh, script)
    assert (caught.value.status, caught.value.flags, script.calls) == (418, ("FI",), 0)


def test_an_injected_delay_is_waited() -> None:
    """Before the call."""
    clock = VirtualClock()
    assert call_async(load("fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}", clock=clock), Script(5)) == 5
    assert clock.monotonic() == 2.0


@EITHER
def test_too_many_calls_are_refused(call: Any) -> None:
    """503, flag UO."""
    mesh, inner = load(traffic="connectionPool: {http: {http2MaxRequests: 1}}", clock=VirtualClock()), Script(5)

    def outer() -> object:
        with pytest.raises(RefusedError, match="overflow"):
            mesh.run("ratings", inner)
        return 6

    assert mesh.run("ratings", outer) == 6
    assert inner.calls == 0
    assert call(mesh, inner) == 5
    assert_at_rest(mesh)


def test_outlier_detection_sees_functions() -> None:
    """An endpoint whose calls fail is ejected; when all are, nothing is called."""
    outlier = "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 30s, maxEjectionPercent: 100}"
    mesh, script = load(NO_RETRY, traffic=outlier, clock=VirtualClock()), Script(DownError(), DownError(), 5)
    for _ in range(2):
        with pytest.raises(DownError):
            call_sync(mesh, script)
    with pytest.raises(RefusedError, match="no healthy upstream"):
        call_sync(mesh, script)
    assert script.calls == 2


def test_a_subset_is_that_of_the_call() -> None:
    """And its endpoints."""
    mesh, seen = load(clock=VirtualClock()), []
    mesh.observe(seen.append, AttemptFinished)
    for _ in range(3):
        call_sync(mesh, Script(5), subset="v2")
    assert {(event.cluster, event.endpoint) for event in seen} == {
        ("outbound|9080|v2|ratings.default.svc.cluster.local", "10.0.0.2:9080")
    }
    with pytest.raises(RefusedError) as caught:
        call_sync(mesh, Script(5), subset="v9")
    assert (caught.value.status, caught.value.flags) == (503, ("NC",))


def test_events_tell_of_the_exchange() -> None:
    """Under the default method, and the one that is named."""
    mesh, seen = load(clock=VirtualClock()), []
    mesh.observe(seen.append, ExchangeFinished)
    call_sync(mesh, Script(DownError(), 5))
    call_sync(mesh, Script(5), method="get")
    assert [(event.host, event.method, event.status, event.attempts) for event in seen] == [
        ("ratings", "CALL", 200, 2),
        ("ratings", "GET", 200, 1),
    ]


def test_a_route_is_found_by_method_and_port() -> None:
    """As for a request of ``/``."""
    mesh = load(clock=VirtualClock())
    assert call_sync(mesh, Script(5), port=9080) == 5
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x, namespace: default}
spec:
  hosts: [x.example.com]
  http:
  - {match: [{method: {exact: GET}}], directResponse: {status: 410}}
  - {match: [{uri: {prefix: /never}}], directResponse: {status: 500}}
"""
    mesh = Mesh.load(text, clock=VirtualClock())
    for method, status in (("GET", 410), (None, 404)):
        with pytest.raises(RefusedError) as caught:
            mesh.call("x.example.com", method=method)(lambda: 5)()
        assert caught.value.status == status


def test_an_unknown_host_is_let_through() -> None:
    """ALLOW_ANY is Istio's default; the function knows where it goes."""
    mesh = load(clock=VirtualClock())
    assert mesh.run("elsewhere.example.com", Script(5)) == 5
    assert mesh.run("elsewhere.example.com:8443", Script(6)) == 6


def test_a_publish_is_seen_by_functions_that_were_decorated_before() -> None:
    """At their next call."""
    clock, script = VirtualClock(), Script(DownError())
    mesh = load(NO_RETRY, clock=clock)

    @mesh.call("ratings")
    def ratings() -> object:
        return script()

    other = load(RETRY, clock=clock)
    for expected in (1, 5):
        with pytest.raises(DownError):
            ratings()
        assert script.calls == expected
        mesh.runtime.publish(other.snapshot)


def test_the_callers_deadline_bounds_functions() -> None:
    """Of hosts whose policy keeps one."""
    clock = VirtualClock()
    mesh = load("timeout: 10s", policy="deadline: {propagate: true}", clock=clock)

    @mesh.call("ratings")
    async def ratings() -> None:
        await asyncio.sleep(60)

    with mesh.deadline(2.0), pytest.raises(CallTimeoutError):
        run_virtual(ratings(), clock)
    assert clock.monotonic() == 2.0


@pytest.mark.parametrize(("method", "calls"), [(None, 1), ("POST", 1), ("GET", 2)])
def test_an_unknown_function_is_not_replayed_when_that_may_hurt(method: str | None, calls: int) -> None:
    """retrySafety: idempotent; a connection that never came can always be tried again."""
    mesh = load(
        "retries: {attempts: 1, retryOn: '5xx', backoff: 1ms}", policy="retrySafety: idempotent", clock=VirtualClock()
    )
    script = Script(DownError())
    with pytest.raises(DownError):
        call_sync(mesh, script, method=method)
    assert script.calls == calls
    script = Script(ConnectionRefusedError())
    with pytest.raises(ConnectionRefusedError):
        call_sync(mesh, script, method=method)
    assert script.calls == 2


@pytest.mark.parametrize(
    ("route", "seconds", "attempts"),
    [
        ("name: plain", 5.0, 3),
        ("timeout: 3s", 3.0, 2),
        ("retries: {attempts: 1, perTryTimeout: 1s, retryOn: reset, backoff: 1ms}", 2.0, 2),
        ("retries: {attempts: 0}", 5.0, 1),
        ("timeout: 1s, retries: {attempts: 0}", 1.0, 1),
    ],
)
def test_a_destination_rule_has_defaults_for_routes(route: str, seconds: float, attempts: int) -> None:
    """The form of the founding article: timeout and retryPolicy hold where the route sets none."""
    clock, begun = VirtualClock(), []
    mesh = load(route, traffic="timeout: 5s, retryPolicy: {attempts: 3, perTryTimeout: 2s, retryOn: 5xx}", clock=clock)
    assert {finding.code for finding in mesh.findings} == {"MESH030"}

    @mesh.call("ratings")
    async def ratings() -> None:
        begun.append(clock.monotonic())
        await asyncio.sleep(60)

    with pytest.raises(CallTimeoutError):
        run_virtual(ratings(), clock)
    assert clock.monotonic() == pytest.approx(seconds, abs=0.03)
    assert len(begun) == attempts
    assert_at_rest(mesh)


def test_the_defaults_of_a_subset_come_before_those_of_its_host() -> None:
    """As all of a subset's policy does."""
    clock = VirtualClock()
    mesh = load("name: plain", traffic="timeout: 5s", clock=clock)
    text = CONFIG.replace("ROUTE", "name: plain").replace("TRAFFIC", "timeout: 5s")
    text = text.replace("destination: {host: ratings}", "destination: {host: ratings, subset: v2}")
    mesh.publish(text.replace("{name: v2, ", "{name: v2, trafficPolicy: {timeout: 2s}, "))

    async def ratings() -> None:
        await asyncio.sleep(60)

    with pytest.raises(CallTimeoutError):
        run_virtual(mesh.run("ratings", ratings), clock)
    assert clock.monotonic() == 2.0
