"""ClientPolicy ``hedging`` around requests: scripted upstreams, virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib import Mesh
from meshlib._drivers import adrive
from meshlib._engine.commands import Reply, Send
from meshlib._engine.exchange import Exchange
from meshlib._http import FailureKind
from meshlib.events import AttemptFinished, Event, ExchangeFinished, RetryScheduled
from meshlib.testing import Answer, ScriptedTransport, VirtualClock, run_virtual
from tests.engine.test_client_policy import CONFIG, NO_RETRY, begin
from tests.mesh_builders import AT_REST, counters

HEDGING = "hedging: {delay: 100ms, budget: {value: 100}}"
RETRY_5XX = "retries: {attempts: 2, retryOn: '5xx', backoff: 1ms}"
RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  trafficPolicy: {TRAFFIC}
"""


def load(policy: str = HEDGING, route: str = NO_RETRY, traffic: str = "tls: {mode: DISABLE}") -> Mesh:
    text = (CONFIG + RULE).replace("ROUTE", route).replace("HOST", "reviews")
    return Mesh.load(text.replace("POLICY", policy).replace("TRAFFIC", traffic), clock=VirtualClock())


def slow(seconds: float, status: int = 200) -> Answer:
    return Answer(status=status, delay=seconds)


class Told:
    """A call, and everything that was told of it."""

    def __init__(
        self, *script: Any, policy: str = HEDGING, route: str = NO_RETRY, method: str = "GET", mesh: Mesh | None = None,
        **headers: str,
    ) -> None:  # fmt: skip
        self.mesh = mesh or load(policy, route)
        self.events: list[Event] = []
        end = self.mesh.observe(self.events.append, AttemptFinished, ExchangeFinished, RetryScheduled)
        self.transport = ScriptedTransport(*script)
        self.exchange: Exchange = begin(self.mesh, method, **headers)
        clock = self.mesh.runtime.clock
        assert isinstance(clock, VirtualClock)
        began = clock.monotonic()
        self.reply: Reply = run_virtual(adrive(self.exchange.steps(), self.transport), clock)
        self.seconds = round(clock.monotonic() - began, 3)
        self.exchange.finish()
        end()
        assert counters(self.mesh.runtime) == AT_REST

    @property
    def attempts(self) -> list[tuple[int, int, str]]:
        return [(one.attempt, one.status, one.failure) for one in self.events if isinstance(one, AttemptFinished)]


@pytest.mark.parametrize(
    ("script", "status", "seconds", "attempts"),
    [
        ((slow(0.05), 200), 200, 0.05, [(1, 200, "")]),  # the second is never sent
        ((slow(5.0), slow(0.2)), 200, 0.3, [(1, 0, "local reset"), (2, 200, "")]),
        ((slow(0.2), slow(5.0)), 200, 0.2, [(2, 0, "local reset"), (1, 200, "")]),
        ((slow(0.2, 503), slow(0.3)), 200, 0.4, [(1, 503, ""), (2, 200, "")]),  # a failure is no winner
        ((slow(0.5), FailureKind.CONNECT_FAILURE), 200, 0.5, [(2, 0, "remote connection failure"), (1, 200, "")]),
        ((slow(0.2, 404), slow(5.0)), 404, 0.2, [(2, 0, "local reset"), (1, 404, "")]),  # an answer like any other
        ((slow(0.2, 500), slow(0.3, 503)), 503, 0.4, [(1, 500, ""), (2, 503, "")]),  # the second was a retry
        ((slow(0.3, 500), slow(0.1, 503)), 503, 0.3, [(1, 500, ""), (2, 503, "")]),
    ],
)
def test_a_slow_request_gets_a_second_attempt(
    script: tuple[Any, ...], status: int, seconds: float, attempts: list[tuple[int, int, str]]
) -> None:
    """The first good answer wins; each attempt is told, the request is one."""
    told = Told(*script)
    assert (told.reply.status, told.seconds, told.attempts) == (status, seconds, attempts)
    assert told.exchange.attempts == len(attempts)
    assert [one.attempts for one in told.events if isinstance(one, ExchangeFinished)] == [len(attempts)]


def test_the_second_goes_to_another_endpoint() -> None:
    """And says that it is the second; `otherEndpoint: false` leaves that to the balancer."""
    told = Told(slow(5.0), slow(0.1))
    first, second = [send.endpoint for send in told.transport.sends]
    assert first != second
    assert [send.attempt for send in told.transport.sends] == [1, 2]
    assert told.exchange.endpoint is not None
    assert told.exchange.endpoint.endpoint == second
    (scheduled,) = [one for one in told.events if isinstance(one, RetryScheduled)]
    assert (scheduled.attempt, scheduled.reason, round(scheduled.backoff, 3)) == (2, "hedge", 0.1)


def test_the_retries_of_the_route_go_on_after_both() -> None:
    """The second attempt was one of them."""
    told = Told(slow(0.2, 503), slow(0.1, 503), 200, route=RETRY_5XX)
    assert (told.reply.status, told.exchange.attempts) == (200, 3)
    told = Told(slow(0.2, 503), slow(0.1, 503), 503, 200, route=RETRY_5XX)
    assert (told.reply.status, told.exchange.attempts, told.exchange.flags) == (503, 3, ("URX",))


def test_an_answer_that_the_route_retries_is_no_winner() -> None:
    """A 404 among the codes of retryOn."""
    told = Told(slow(0.2, 404), slow(0.3), route="retries: {attempts: 2, retryOn: '404', backoff: 1ms}")
    assert (told.reply.status, told.seconds, told.transport.discarded) == (200, 0.4, 1)


@pytest.mark.parametrize(
    ("method", "headers", "sends"),
    [
        ("POST", {}, 1),
        ("POST", {"idempotency_key": "a"}, 2),
        ("HEAD", {}, 2),
        ("GET", {"upgrade": "websocket"}, 1),
        ("GET", {"expect": "100-continue"}, 1),
    ],
)
def test_only_what_may_arrive_twice_is_sent_twice(method: str, headers: dict[str, str], sends: int) -> None:
    """Whatever retrySafety says: nothing has failed yet."""
    assert len(Told(slow(1.0), method=method, **headers).transport.sends) == sends


def test_a_hedge_keeps_to_the_limits() -> None:
    """Without a place among the retries, or without room, there is none, and nobody is refused for it."""
    for pool in ("http: {maxRetries: 1}", "http: {http2MaxRequests: 2}"):
        mesh = load(traffic=f"connectionPool: {{{pool}}}")
        transport = ScriptedTransport(slow(1.0))
        clock = mesh.runtime.clock
        assert isinstance(clock, VirtualClock)

        async def both(mesh: Mesh = mesh, transport: ScriptedTransport = transport) -> list[Reply]:
            made = [begin(mesh) for _ in range(2)]
            replies = await asyncio.gather(*(adrive(one.steps(), transport) for one in made))
            for one in made:
                assert one.flags == ()
                one.finish()
            return replies

        assert [reply.status for reply in run_virtual(both(), clock)] == [200, 200]
        assert len(transport.sends) == (3 if "Retries" in pool else 2)
        assert counters(mesh.runtime) == AT_REST


def test_hedges_keep_to_their_budget() -> None:
    """One to begin with, then a tenth of the requests."""
    mesh = load("hedging: {delay: 100ms, budget: {value: 10}}")
    assert sum(len(Told(slow(1.0), mesh=mesh).transport.sends) for _ in range(100)) == 111


def test_a_quantile_is_that_of_the_requests_before() -> None:
    """Nothing is hedged before there are twenty."""
    mesh = load("hedging: {quantile: 0.9, budget: {value: 100}}")
    sends = [len(Told(slow(0.9 if number >= 18 else 0.1), mesh=mesh).transport.sends) for number in range(20)]
    assert sends == [1] * 20
    told = Told(slow(9.0), slow(0.5), mesh=mesh)
    assert (len(told.transport.sends), told.seconds) == (2, 1.4)


def test_both_keep_to_the_timeout_of_the_route() -> None:
    """The second gets what is left of it."""
    told = Told(slow(5.0), route=f"timeout: 300ms, {NO_RETRY}")
    assert (told.reply.status, told.exchange.flags, told.seconds) == (504, ("UT",), 0.3)
    assert [round(send.timeout or 0.0, 3) for send in told.transport.sends] == [0.3, 0.2]


def test_a_per_try_timeout_ends_one_of_them() -> None:
    """The other goes on."""
    told = Told(slow(5.0), slow(0.15), route="retries: {attempts: 1, perTryTimeout: 200ms, retryOn: '5xx'}")
    assert (told.reply.status, told.seconds) == (200, 0.25)
    assert told.attempts == [(1, 0, "timeout"), (2, 200, "")]


def test_a_cancelled_request_cancels_both() -> None:
    """At each instant; every counter is back."""
    for after in (0.05, 0.1, 0.2, 0.35):
        mesh = load(HEDGING)
        clock = mesh.runtime.clock
        assert isinstance(clock, VirtualClock)
        transport = ScriptedTransport(slow(0.3, 503), slow(5.0))

        async def cancel(mesh: Mesh = mesh, transport: ScriptedTransport = transport, after: float = after) -> None:
            task = asyncio.ensure_future(adrive(begin(mesh).steps(), transport))
            await asyncio.sleep(after)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert len(asyncio.all_tasks()) == 1

        run_virtual(cancel(), clock)
        assert counters(mesh.runtime) == AT_REST


def test_what_came_too_late_is_let_go() -> None:
    """Both answer in the same turn: one is returned, the other dropped."""
    told = Told(slow(0.3), slow(0.2))
    assert (told.reply.status, told.transport.discarded) == (200, 1)


def test_faults_under_retries_do_not_keep_a_hedge_away() -> None:
    """A delay is the attempt's own; then the attempt is hedged as any other."""
    fault = "fault: {delay: {percentage: {value: 100}, fixedDelay: 1s}}"
    told = Told(slow(5.0), slow(0.1), policy=f"{HEDGING}\n  faultsUnderRetries: true", route=f"{fault}, {NO_RETRY}")
    assert (told.reply.status, told.seconds, told.exchange.attempts) == (200, 1.2, 2)


def test_a_stack_of_failures_is_judged_once_each() -> None:
    """Outlier detection sees what came back, and never who was given up."""
    outlier = "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}"
    mesh = load(traffic=outlier)
    told = Told(slow(0.2, 503), slow(0.5), mesh=mesh)
    assert told.reply.status == 200
    ejected = [host.key for live in mesh.runtime.clusters().values() for host in live.endpoints if host.is_ejected]
    first: Send = told.transport.sends[0]
    assert first.endpoint is not None
    assert ejected == [first.endpoint.key]
    assert Told(slow(5.0), slow(0.1), mesh=load(traffic=outlier)).exchange.flags == ()
