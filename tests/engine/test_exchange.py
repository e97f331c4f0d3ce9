"""An exchange from its head to the reply, on virtual time and scripted upstreams."""

from __future__ import annotations

import asyncio

import pytest

from meshlib._drivers import adrive, drive
from meshlib._engine.commands import LocalReply, Reply
from meshlib._engine.exchange import Exchange
from meshlib._http import FailureKind, Headers, Response
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import ConnectionPool, RoundRobin, TrafficPolicy
from meshlib._snapshot.matchers import Exact
from meshlib._snapshot.routes import Abort, Cors, Delay, Fault, RetryPolicy
from meshlib.events import ExchangeFinished, FaultInjected, RetryScheduled
from meshlib.testing import Answer, ScriptedTransport, SyncScriptedTransport, VirtualClock, run_virtual
from tests.mesh_builders import AT_REST, EJECT_FIRST, begin, counters, make_cluster, make_runtime, make_snapshot

RETRY_5XX = RetryPolicy(attempts=2, conditions=frozenset({"5xx"}))
ON_503 = RetryPolicy(attempts=1, conditions=frozenset({"retriable-status-codes"}), status_codes=frozenset({503}))
DEFAULT = RetryPolicy(attempts=2, conditions=frozenset("connect-failure refused-stream unavailable cancelled".split()))
RESET = FailureKind.TERMINATION
REFUSED = FailureKind.CONNECT_FAILURE


def run(runtime: Runtime, transport: ScriptedTransport, exchange: Exchange | None = None) -> tuple[Reply, Exchange]:
    exchange = exchange or begin(runtime)
    assert isinstance(runtime.clock, VirtualClock)
    reply = run_virtual(adrive(exchange.steps(), transport), runtime.clock)
    exchange.finish()
    assert counters(runtime) == AT_REST
    return reply, exchange


@pytest.mark.parametrize(
    ("policy", "script", "status", "attempts", "flags"),
    [
        pytest.param(None, [503, 200], 503, 1, (), id="no policy, no retry"),
        pytest.param(DEFAULT, [503, 200], 503, 1, (), id="the default policy does not retry a plain 503"),
        pytest.param(DEFAULT, [REFUSED, REFUSED, 200], 200, 3, (), id="connect failures are retried by default"),
        pytest.param(DEFAULT, [REFUSED], 503, 3, ("URX", "UF"), id="the default policy gives up after two retries"),
        pytest.param(DEFAULT, [RESET, 200], 503, 1, ("UC",), id="a reset is not a connect failure"),
        pytest.param(RETRY_5XX, [502, 500, 200], 200, 3, (), id="5xx until success"),
        pytest.param(RETRY_5XX, [503], 503, 3, ("URX",), id="exhaustion returns the last response"),
        pytest.param(RETRY_5XX, [RESET, 200], 200, 2, (), id="5xx covers resets"),
        pytest.param(RETRY_5XX, [404, 200], 404, 1, (), id="4xx is none of its business"),
        pytest.param(ON_503, [503, 200], 200, 2, (), id="a code in retryOn"),
        pytest.param(ON_503, [500, 200], 500, 1, (), id="a code that is not in retryOn"),
    ],
)
def test_retries_follow_the_policy(
    policy: RetryPolicy | None, script: list[int | FailureKind], status: int, attempts: int, flags: tuple[str, ...]
) -> None:
    """Status, attempts and response flags for what an upstream does."""
    runtime = make_runtime(make_snapshot(make_cluster(1, 2, 3), retry=policy))
    reply, exchange = run(runtime, transport := ScriptedTransport(*script))
    assert (reply.status, exchange.attempts, exchange.flags) == (status, attempts, flags)
    assert len(transport.sends) == attempts


@pytest.mark.parametrize(
    ("script", "retry", "body"),
    [
        ([RESET], None, "reset reason: connection termination"),
        ([REFUSED], DEFAULT, "retried and the latest reset reason: remote connection failure"),
        ([FailureKind.CONNECT_TIMEOUT], None, "reset reason: connection timeout"),
    ],
)
def test_a_reset_is_answered_in_envoys_words(script: list[FailureKind], retry: RetryPolicy | None, body: str) -> None:
    """The body of the 503 names the reason, and whether there was a retry."""
    runtime = make_runtime(make_snapshot(make_cluster(1), retry=retry))
    reply, _ = run(runtime, ScriptedTransport(*script))
    assert isinstance(reply, LocalReply)
    assert reply.status == 503
    assert reply.body.decode() == f"upstream connect error or disconnect/reset before headers. {body}"
    assert ("content-type", "text/plain") in reply.headers


def test_the_route_timeout_spans_all_attempts() -> None:
    """Attempts of 0.4 s under a timeout of 1 s: cut in the third, 504 UT at 1 s."""
    retry = RetryPolicy(attempts=5, conditions=frozenset({"5xx"}), per_try_timeout=0.4, backoff=0.001)
    runtime = make_runtime(make_snapshot(make_cluster(1, 2), retry=retry, timeout=1.0))
    reply, exchange = run(runtime, ScriptedTransport(Answer(delay=60.0)))
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.body) == (504, b"upstream request timeout")
    assert (exchange.attempts, exchange.flags, exchange.details) == (3, ("UT",), "response_timeout")
    assert runtime.clock.monotonic() == pytest.approx(1.0, abs=1e-6)


def test_a_per_try_timeout_is_not_retried_by_the_default_policy() -> None:
    """It is neither a connect failure nor a refused stream (semantics 3.3)."""
    retry = RetryPolicy(attempts=2, conditions=DEFAULT.conditions, per_try_timeout=0.1)
    reply, exchange = run(
        make_runtime(make_snapshot(make_cluster(1), retry=retry)), ScriptedTransport(Answer(delay=9.0))
    )
    assert (reply.status, exchange.attempts, exchange.flags) == (504, 1, ("UT",))
    assert exchange.details == "upstream_per_try_timeout"


def test_a_per_try_timeout_longer_than_the_routes_is_ignored() -> None:
    """Only the route's timeout bounds the attempt then (semantics 3.2)."""
    retry = RetryPolicy(attempts=2, conditions=frozenset({"5xx"}), per_try_timeout=5.0)
    runtime = make_runtime(make_snapshot(make_cluster(1), retry=retry, timeout=0.5))
    reply, exchange = run(runtime, transport := ScriptedTransport(Answer(delay=9.0)))
    assert (reply.status, exchange.attempts) == (504, 1)
    assert transport.sends[0].timeout == 0.5


def test_a_timeout_during_the_back_off_is_a_504() -> None:
    """The route's timeout goes on while a retry waits."""
    retry = RetryPolicy(attempts=2, conditions=frozenset({"5xx"}), backoff=1000.0)
    runtime = make_runtime(make_snapshot(make_cluster(1), retry=retry, timeout=0.5))
    reply, exchange = run(runtime, ScriptedTransport(503))
    assert (reply.status, exchange.attempts, exchange.flags) == (504, 1, ("UT",))
    assert runtime.clock.monotonic() == pytest.approx(0.5)


def test_a_retry_avoids_the_hosts_already_tried() -> None:
    """Three hosts, three attempts: each host once."""
    cluster = make_cluster(1, 2, 3, policy=TrafficPolicy(balancer=RoundRobin()))
    runtime = make_runtime(make_snapshot(cluster, retry=RETRY_5XX))
    for _ in range(20):
        transport = ScriptedTransport(503)
        run(runtime, transport)
        assert {send.endpoint.port for send in transport.sends if send.endpoint} == {1, 2, 3}


def test_a_retry_takes_the_same_host_if_there_is_no_other() -> None:
    """After five more picks it takes what came."""
    runtime = make_runtime(make_snapshot(make_cluster(1), retry=RETRY_5XX))
    reply, exchange = run(runtime, ScriptedTransport(503, 200))
    assert (reply.status, exchange.attempts) == (200, 2)


def test_a_consumed_body_is_never_sent_again() -> None:
    """What came back is returned instead."""
    runtime = make_runtime(make_snapshot(make_cluster(1), retry=RETRY_5XX))
    reply, exchange = run(runtime, ScriptedTransport(503, 200), begin(runtime, method="POST", replay=False))
    assert (reply.status, exchange.attempts) == (503, 1)


def test_the_retry_limit_overflows() -> None:
    """maxRetries 0 concurrent retries: the response is returned with flag UO."""
    policy = TrafficPolicy(connection_pool=ConnectionPool(max_retries=0))
    runtime = make_runtime(make_snapshot(make_cluster(1, policy=policy), retry=RETRY_5XX))
    reply, exchange = run(runtime, ScriptedTransport(503))
    assert (reply.status, exchange.attempts, exchange.flags) == (503, 1, ("UO",))


def test_too_many_requests_overflow() -> None:
    """The request above http2MaxRequests is refused with Envoy's body and header, and is not sent."""
    policy = TrafficPolicy(connection_pool=ConnectionPool(max_requests=1))
    runtime = make_runtime(make_snapshot(make_cluster(1, policy=policy), retry=RETRY_5XX))
    first = begin(runtime)
    drive(first.steps(), SyncScriptedTransport(200))
    second = begin(runtime)
    reply = drive(second.steps(), transport := SyncScriptedTransport(200))
    assert isinstance(reply, LocalReply)
    assert (reply.status, second.flags, transport.sends) == (503, ("UO",), [])
    assert ("x-envoy-overloaded", "true") in reply.headers
    first.finish()
    assert counters(runtime) == AT_REST


def test_an_unknown_cluster_a_missing_host_and_no_endpoint_differ() -> None:
    """404 NR, 503 NC and 503 UH (semantics 2.9)."""
    snapshot = make_snapshot(make_cluster())
    empty = make_runtime(snapshot)
    reply, exchange = run(empty, ScriptedTransport())
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.body, exchange.flags) == (503, b"no healthy upstream", ("UH",))

    snapshot.clusters.clear()
    reply, exchange = run(make_runtime(snapshot), ScriptedTransport())
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.body, exchange.flags) == (503, b"", ("NC",))

    snapshot.tables.clear()
    reply, exchange = run(make_runtime(snapshot), ScriptedTransport())
    assert (reply.status, exchange.flags, exchange.details) == (404, ("NR",), "route_not_found")


def test_a_local_reply_to_grpc_is_a_200_with_a_grpc_status() -> None:
    """503 becomes UNAVAILABLE, the body the grpc-message."""
    runtime = make_runtime(make_snapshot(make_cluster()))
    reply, _ = run(runtime, ScriptedTransport(), begin(runtime, method="POST", content_type="application/grpc"))
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.body) == (200, b"")
    assert dict(reply.headers)["grpc-status"] == "14"
    assert dict(reply.headers)["grpc-message"] == "no healthy upstream"


def test_a_fault_delays_then_aborts_and_is_never_retried() -> None:
    """The delay is not in the route's timeout; nothing is sent."""
    fault = Fault(delay=Delay(seconds=7.0, ratio=1.0), abort=Abort(ratio=1.0, http_status=555))
    runtime = make_runtime(make_snapshot(make_cluster(1), fault=fault, retry=RETRY_5XX, timeout=1.0))
    seen: list[FaultInjected] = []
    runtime.observe(seen.append, FaultInjected)  # type: ignore[arg-type]
    reply, exchange = run(runtime, transport := ScriptedTransport())
    assert isinstance(reply, LocalReply)
    assert (reply.status, reply.body, exchange.flags) == (555, b"fault filter abort", ("DI", "FI"))
    assert transport.sends == []
    assert runtime.clock.monotonic() == 7.0
    assert [(event.kind, event.seconds, event.status) for event in seen] == [("delay", 7.0, 0), ("abort", 0.0, 555)]


@pytest.mark.parametrize(("content_type", "grpc_status"), [("application/grpc", "14"), ("text/plain", None)])
def test_a_grpc_abort_is_only_for_grpc_requests(content_type: str, grpc_status: str | None) -> None:
    """Envoy 1.39.3 answers other requests a plain 200 with the fault's body; response operations apply to both."""
    fault = Fault(abort=Abort(ratio=1.0, grpc_status=14))
    runtime = make_runtime(make_snapshot(make_cluster(1), fault=fault))
    reply, _ = run(runtime, ScriptedTransport(), begin(runtime, method="POST", content_type=content_type))
    assert isinstance(reply, LocalReply)
    assert reply.status == 200
    assert dict(reply.headers).get("grpc-status") == grpc_status


def test_a_preflight_is_answered_and_an_actual_request_marked() -> None:
    """The policy's headers replace the upstream's; a foreign origin gets none."""
    cors = Cors(origins=(Exact("https://shop.example"),), methods=("GET", "PUT"), max_age=60.0, credentials=True)
    runtime = make_runtime(make_snapshot(make_cluster(1), cors=cors))
    asked = {"origin": "https://shop.example", "access_control_request_method": "PUT"}
    reply, _ = run(runtime, transport := ScriptedTransport(), begin(runtime, method="OPTIONS", **asked))
    assert isinstance(reply, LocalReply)
    assert (reply.status, transport.sends) == (200, [])
    assert dict(reply.headers)["access-control-allow-methods"] == "GET,PUT"
    for origin, allowed in (("https://shop.example", "https://shop.example"), ("https://evil.example", None)):
        _, exchange = run(runtime, ScriptedTransport(200), begin(runtime, origin=origin))
        exchange.mutate_response(fields := Headers())
        assert fields.get("access-control-allow-origin") == allowed


def test_weights_are_half_open_intervals() -> None:
    """A draw that falls on the edge goes to the next destination."""

    class Edge:
        def random(self) -> float:
            return 0.5

        def getrandbits(self, k: int, /) -> int:
            return 0

    clusters = make_cluster(1, name="a"), make_cluster(2, name="b")
    runtime = make_runtime(make_snapshot(*clusters), chance=Edge())
    _, exchange = run(runtime, ScriptedTransport())
    assert exchange.live is not None
    assert exchange.live.cluster.name == "b"


def test_headers_of_the_mesh_are_set_and_envoys_control_headers_removed() -> None:
    """x-envoy-* overrides of the caller have no say (semantics 2.12)."""
    runtime = make_runtime(make_snapshot(make_cluster(1, 2), retry=RETRY_5XX, timeout=3.0))
    exchange = begin(runtime, X_Envoy_Retry_On="5xx", x_envoy_max_retries="9", x_request_id="mine")
    run(runtime, ScriptedTransport(503, 200), exchange)
    assert dict(exchange.headers) == {
        "x-request-id": "mine",
        "x-forwarded-proto": "http",
        "x-envoy-attempt-count": "2",
        "x-envoy-expected-rq-timeout-ms": exchange.headers["x-envoy-expected-rq-timeout-ms"],
    }
    assert 2900 < int(exchange.headers["x-envoy-expected-rq-timeout-ms"]) <= 3000


def test_events_tell_the_story_in_order() -> None:
    """Each retry, then the exchange."""
    runtime = make_runtime(make_snapshot(make_cluster(1, 2), retry=RETRY_5XX))
    seen: list[object] = []
    end = runtime.observe(seen.append, RetryScheduled, ExchangeFinished)
    run(runtime, ScriptedTransport(500, RESET, 200))
    assert [type(event).__name__ for event in seen] == ["RetryScheduled", "RetryScheduled", "ExchangeFinished"]
    last = seen[-1]
    assert isinstance(last, ExchangeFinished)
    assert (last.status, last.attempts, last.route) == (200, 3, "all")
    end()
    run(runtime, ScriptedTransport(200))
    assert len(seen) == 3


def test_an_observer_that_raises_does_not_fail_the_call() -> None:
    """It is reported once."""

    def broken(event: object) -> None:
        raise LookupError("no dashboard")

    runtime = make_runtime(make_snapshot(make_cluster(1)))
    runtime.observe(broken)
    with pytest.warns(RuntimeWarning, match="no dashboard"):
        reply, _ = run(runtime, ScriptedTransport(200))
    assert reply.status == 200
    run(runtime, ScriptedTransport(200))


@pytest.mark.parametrize("steps_before", range(8))
def test_cancelled_at_any_await_every_counter_is_right(steps_before: int) -> None:
    """Delay, send, back-off, second send …: whichever await is cut, nothing is left behind."""
    policy = TrafficPolicy(outlier=EJECT_FIRST)
    fault = Fault(delay=Delay(seconds=1.0, ratio=1.0))
    snapshot = make_snapshot(make_cluster(1, 2, 3, policy=policy), retry=RETRY_5XX, fault=fault, timeout=60.0)
    runtime = make_runtime(snapshot)
    finished: list[object] = []
    runtime.observe(finished.append, ExchangeFinished)

    async def cut() -> None:
        exchange = begin(runtime)
        transport = ScriptedTransport(Answer(status=503, delay=1.0))
        task = asyncio.get_running_loop().create_task(adrive(exchange.steps(), transport))
        for _ in range(steps_before):
            await asyncio.sleep(0.6)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            exchange.finish()

    assert isinstance(runtime.clock, VirtualClock)
    run_virtual(cut(), runtime.clock)
    assert counters(runtime) == AT_REST
    assert len(finished) <= 1


def test_the_synchronous_driver_gives_the_same_answers() -> None:
    """One engine, two drivers."""
    runtime = make_runtime(make_snapshot(make_cluster(1, 2), retry=RetryPolicy(
        attempts=2, conditions=frozenset({"5xx"}), backoff=1e-9)))  # fmt: skip
    exchange = begin(runtime)
    transport = SyncScriptedTransport(500, RESET, 200)
    reply = drive(exchange.steps(), transport)
    assert isinstance(reply, Response)
    assert (reply.status, exchange.attempts, transport.discarded) == (200, 3, 1)
    exchange.finish()
    assert counters(runtime) == AT_REST
