"""ClientPolicies around exchanges: YAML, scripted upstreams, virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from meshlib import Mesh, Workload
from meshlib._context import deadline
from meshlib._drivers import adrive, drive
from meshlib._engine.commands import LocalReply, Reply
from meshlib._engine.exchange import Exchange
from meshlib._http import FailureKind, Headers
from meshlib.mesh import request_head
from meshlib.testing import Answer, ScriptedTransport, SyncScriptedTransport, VirtualClock, run_virtual
from tests.mesh_builders import AT_REST, counters

CONFIG = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}], ROUTE}]
---
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: reviews, namespace: default}
spec:
  hosts: [HOST]
  POLICY
"""
NO_RETRY = "retries: {attempts: 0}"
RETRY = "retries: {attempts: 3, retryOn: '5xx', backoff: 1ms}"
BREAKER = "circuitBreaker: {consecutiveFailures: 2, openFor: 10s}"


def load(policy: str, route: str = NO_RETRY, host: str = "reviews", clock: VirtualClock | None = None) -> Mesh:
    text = CONFIG.replace("ROUTE", route).replace("HOST", host).replace("POLICY", policy)
    return Mesh.load(text, clock=clock or VirtualClock())


def begin(mesh: Mesh, method: str = "GET", **headers: str) -> Exchange:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    head = request_head(method, "http://reviews.default/x", fields)
    return mesh.runtime.begin(head, Headers(head.headers), lambda: True)


def call(mesh: Mesh, *script: Any, method: str = "GET", **headers: str) -> tuple[Reply, Exchange, ScriptedTransport]:
    transport = ScriptedTransport(*script)
    exchange = begin(mesh, method, **headers)
    assert isinstance(mesh.runtime.clock, VirtualClock)
    reply = run_virtual(adrive(exchange.steps(), transport), mesh.runtime.clock)
    exchange.finish()
    return reply, exchange, transport


def advance(mesh: Mesh, seconds: float) -> None:
    assert isinstance(mesh.runtime.clock, VirtualClock)
    mesh.runtime.clock.advance(seconds)


def test_an_open_breaker_refuses_and_a_good_probe_closes_it() -> None:
    """After two failures nothing is sent for ten seconds."""
    mesh = load(BREAKER)
    assert [call(mesh, 500)[0].status for _ in range(2)] == [500, 500]
    reply, exchange, transport = call(mesh, 200)
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.body, exchange.flags, transport.sends) == (503, b"circuit breaker open", ("UO",), [])
    assert dict(reply.headers)["x-envoy-overloaded"] == "true"
    assert exchange.details == "client_policy_breaker_open"
    advance(mesh, 10.0)
    assert [call(mesh, 200)[0].status for _ in range(3)] == [200, 200, 200]


def test_the_breaker_sees_the_outcome_of_all_attempts() -> None:
    """A call that a retry has saved is a good call."""
    mesh = load(BREAKER, RETRY)
    for _ in range(5):
        assert call(mesh, 500, 200)[0].status == 200


def test_a_slow_call_counts() -> None:
    """Half of them slow."""
    mesh = load("circuitBreaker: {slowCallRate: 50, slowCallDuration: 1s, minimumCalls: 2, openFor: 10s}")
    assert call(mesh, 200)[0].status == 200
    assert call(mesh, Answer(delay=1.5))[0].status == 200
    assert call(mesh, 200)[0].status == 503


def test_two_hundred_waiting_callers_and_one_probe() -> None:
    """Half-open: one request reaches the upstream, the others are refused at once."""
    clock = VirtualClock()
    mesh = load(BREAKER, clock=clock)
    for _ in range(2):
        call(mesh, 500)
    advance(mesh, 10.0)
    transport = ScriptedTransport(Answer(delay=0.5))

    async def stampede() -> Counter[int]:
        replies = await asyncio.gather(*(adrive(begin(mesh).steps(), transport) for _ in range(200)))
        return Counter(reply.status for reply in replies)

    assert run_virtual(stampede(), clock) == {200: 1, 503: 199}
    assert len(transport.sends) == 1
    assert call(mesh, 200)[0].status == 200


def test_a_cancelled_probe_leaves_its_place_to_the_next() -> None:
    """And every counter is back."""
    clock = VirtualClock()
    mesh = load(BREAKER, clock=clock)
    for _ in range(2):
        call(mesh, 500)
    advance(mesh, 10.0)

    async def cancel() -> None:
        task = asyncio.ensure_future(adrive(begin(mesh).steps(), ScriptedTransport(Answer(delay=5.0))))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])

    run_virtual(cancel(), clock)
    assert counters(mesh.runtime) == AT_REST
    assert call(mesh, 200)[0].status == 200


def test_a_breaker_survives_a_reload() -> None:
    """As long as its rules stay."""
    mesh = load(BREAKER)
    for _ in range(2):
        call(mesh, 500)
    mesh.runtime.publish(mesh.runtime.published.snapshot)
    assert call(mesh, 200)[0].status == 503


@pytest.mark.parametrize("script", [503, FailureKind.CONNECT_FAILURE])
def test_the_fallback_answers_for_what_failed(script: Any) -> None:
    """Status, body and headers of the policy; the upstream's response is let go of."""
    mesh = load("fallback: {response: {status: 203, body: '[]', headers: {Content-Type: application/json}}}")
    reply, exchange, transport = call(mesh, script)
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.body, exchange.details) == (203, b"[]", "client_policy_fallback")
    assert dict(reply.headers) == {"content-type": "application/json", "content-length": "2"}
    assert transport.discarded == (script == 503)
    assert counters(mesh.runtime) == AT_REST


def test_the_fallback_leaves_other_answers_alone() -> None:
    """Also a 500, unless it is listed."""
    assert call(load("fallback: {response: {body: x}}"), 500)[0].status == 500
    assert call(load("fallback: {response: {body: x}, statuses: [500]}"), 500)[0].status == 200
    assert call(load("fallback: {response: {body: x}, statuses: [500]}"), 503)[0].status == 503


def test_the_fallback_covers_an_open_breaker() -> None:
    """Nobody sees the refusal."""
    mesh = load(f"{BREAKER}\n  fallback: {{response: {{body: x}}, statuses: [500]}}")
    assert [call(mesh, 500)[0].status for _ in range(3)] == [200, 200, 200]
    assert call(mesh, 500)[2].sends == []


@pytest.mark.parametrize(
    ("method", "headers", "first", "sends"),
    [
        ("GET", {}, 503, 2),
        ("POST", {}, 503, 1),
        ("POST", {"idempotency_key": "k"}, 503, 2),
        ("POST", {}, FailureKind.CONNECT_FAILURE, 2),
        ("POST", {}, FailureKind.TERMINATION, 1),
        ("DELETE", {}, FailureKind.TERMINATION, 1),
    ],
)
def test_unsafe_methods_are_not_replayed_after_bytes_were_sent(
    method: str, headers: dict[str, str], first: Any, sends: int
) -> None:
    """retrySafety: idempotent."""
    _, _, transport = call(load("retrySafety: idempotent", RETRY), first, 200, method=method, **headers)
    assert len(transport.sends) == sends


ABORTS = "fault: {abort: {httpStatus: 503, percentage: {value: 50}}}, " + RETRY


def test_faults_under_retries_are_retried() -> None:
    """With Istio's meaning half of the calls fail; under three retries one in sixteen."""
    above = load("retrySafety: istio", ABORTS)
    below = load("faultsUnderRetries: true", ABORTS)
    assert 60 < sum(call(above, 200)[0].status == 503 for _ in range(200)) < 140
    replies = [call(below, 200) for _ in range(200)]
    assert sum(reply.status == 503 for reply, *_ in replies) < 35
    assert all("FI" in exchange.flags for reply, exchange, _ in replies if exchange.attempts > 1)
    assert counters(below.runtime) == AT_REST


def test_a_fault_that_never_ends_uses_the_retries_up() -> None:
    """The injected answer comes back, with the flags of both."""
    always = "fault: {abort: {httpStatus: 503, percentage: {value: 100}}}, " + RETRY
    reply, exchange, transport = call(load("faultsUnderRetries: true", always), 200)
    assert (reply.status, exchange.attempts, transport.sends) == (503, 4, [])
    assert exchange.flags == ("FI", "URX")


def test_a_delay_under_retries_is_cut_by_the_per_try_timeout() -> None:
    """And retried as such."""
    delay = "fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}, timeout: 3s, " + RETRY.replace(
        "attempts: 3,", "attempts: 1, perTryTimeout: 1s,"
    )
    clock = VirtualClock()
    reply, exchange, transport = call(load("faultsUnderRetries: true", delay, clock=clock), 200)
    assert (reply.status, exchange.attempts, transport.sends) == (504, 2, [])
    assert exchange.flags == ("DI", "UT", "URX")
    assert clock.monotonic() == pytest.approx(2.0, abs=0.01)


def test_the_callers_deadline_bounds_the_call() -> None:
    """It is told to the upstream, cuts the attempt, and a call that cannot be in time is not made."""
    clock = VirtualClock()
    mesh = load("deadline: {propagate: true}", "timeout: 10s", clock=clock)
    with mesh.deadline(2.0):
        _, exchange, _ = call(mesh, 200)
        assert exchange.headers["x-envoy-expected-rq-timeout-ms"] == "2000"
        reply, exchange, _ = call(mesh, Answer(delay=5.0))
        assert (reply.status, exchange.flags, clock.monotonic()) == (504, ("UT",), 2.0)
        reply, exchange, transport = call(mesh, 200)
        assert (reply.status, exchange.details, transport.sends) == (504, "client_policy_deadline", [])
        with mesh.deadline(60.0):
            assert call(mesh, 200)[0].status == 504
    assert deadline.get() is None
    assert call(mesh, 200)[0].status == 200


def test_a_default_deadline_holds_where_the_caller_has_none() -> None:
    """Without a timeout of the route."""
    clock = VirtualClock()
    mesh = load("deadline: {default: 1s}", clock=clock)
    assert call(mesh, Answer(delay=5.0))[0].status == 504
    assert clock.monotonic() == 1.0


@pytest.mark.parametrize(
    ("host", "applies"),
    [("reviews", True), ("reviews.default.svc.cluster.local", True), ("'*.svc.cluster.local'", True), ("x", False)],
)
def test_which_hosts_a_policy_is_for(host: str, applies: bool) -> None:
    """Named as in a VirtualService."""
    assert (call(load("fallback: {response: {body: x}}", host=host), 503)[0].status == 200) is applies


def test_the_callers_own_policy_comes_first() -> None:
    """Of its namespace."""
    other = """
---
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: mine, namespace: shop}
spec:
  hosts: [reviews.default.svc.cluster.local]
  fallback: {response: {status: 299}}
"""
    text = CONFIG.replace("ROUTE", NO_RETRY).replace("HOST", "reviews").replace("POLICY", "retrySafety: istio") + other
    for namespace, status in (("shop", 299), ("default", 503)):
        mesh = Mesh.load(text, workload=Workload(namespace=namespace), clock=VirtualClock())
        assert call(mesh, 503)[0].status == status


def test_the_synchronous_driver_does_the_same() -> None:
    """One engine."""
    mesh = load(BREAKER)
    statuses = [drive(begin(mesh).steps(), SyncScriptedTransport(500)).status for _ in range(3)]
    assert statuses == [500, 500, 503]


def test_a_policy_for_all_hosts_is_none_for_hosts_that_nobody_knows() -> None:
    """They have nothing in common: a breaker of one would stop the others."""
    mesh = load("fallback: {response: {body: x}}", host="'*'")
    policies = mesh.runtime.published.snapshot.client_policies
    assert policies
    assert not {"allow_any", "block_all"}.intersection(policies)
