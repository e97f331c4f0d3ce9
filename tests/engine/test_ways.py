"""The way without a generator (``agovern``) and the way by steps (``adrive``) do the same, whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meshlib._drivers import adrive, agovern, drive, govern
from meshlib._engine.exchange import Exchange
from meshlib._http import FailureKind
from meshlib._random import system_chance
from meshlib._snapshot.clusters import ConnectionPool, Maglev, OutlierDetection, RoundRobin, TrafficPolicy
from meshlib._snapshot.routes import (
    Abort,
    Cors,
    Delay,
    Fault,
    HashKey,
    HeaderOps,
    HeaderValue,
    Mirror,
    RetryPolicy,
    Rewrite,
)
from meshlib._snapshot.snapshot import Snapshot
from meshlib._timers import Timers
from meshlib.telemetry.recorder import Telemetry
from meshlib.testing import Answer, ScriptedTransport, SyncScriptedTransport, VirtualClock, run_virtual
from meshlib.workload import Workload
from tests.mesh_builders import AT_REST, begin, counters, make_cluster, make_runtime, make_snapshot

OTHER = "outbound|9080|v2|reviews.default.svc.cluster.local"
RETRIES = (
    None,
    RetryPolicy(attempts=2, conditions=frozenset({"5xx"}), backoff=0.025),
    RetryPolicy(attempts=1, conditions=frozenset({"5xx", "reset"}), per_try_timeout=1.0, backoff=0.025),
    RetryPolicy(attempts=1, conditions=frozenset({"retriable-status-codes"}), status_codes=frozenset({200})),
)
POLICIES = (
    TrafficPolicy(),
    TrafficPolicy(balancer=RoundRobin(), outlier=OutlierDetection(consecutive_5xx=1, max_ejection_percent=100)),
    TrafficPolicy(connection_pool=ConnectionPool(max_requests=0)),
    TrafficPolicy(connection_pool=ConnectionPool(max_connections=1, max_pending_requests=0)),
    TrafficPolicy(balancer=Maglev(table_size=5)),
)
ANSWERS = (
    200,
    204,
    404,
    500,
    503,
    Answer(status=200, headers=(("grpc-status", "14"),)),
    Answer(status=200, delay=0.5),
    Answer(status=200, delay=5.0),
    FailureKind.TERMINATION,
    FailureKind.CONNECT_FAILURE,
    FailureKind.OVERFLOW,
)
ACTIONS: dict[str, st.SearchStrategy[Any]] = {
    "retry": st.sampled_from(RETRIES),
    "timeout": st.sampled_from((None, 0.75, 2.0)),
    "rewrite": st.sampled_from((None, Rewrite(path="/new", cut=4))),
    "fault": st.sampled_from(
        (None, None, Fault(delay=Delay(seconds=0.2, ratio=0.5), abort=Abort(http_status=418, ratio=0.3)))
    ),
    "cors": st.sampled_from((None, None, Cors(origins=()))),
    "mirrors": st.sampled_from(((), (), (Mirror(cluster=OTHER, host="reviews", port=9080, ratio=0.5),))),
    "hash_keys": st.sampled_from(
        ((), (HashKey(kind="header", name="user"),), (HashKey(kind="cookie", name="c", ttl=9.0),))
    ),
    "response_levels": st.sampled_from(((), (HeaderOps(set=(("x-answered", HeaderValue(("yes",))),)),))),
}
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from(("jason", "")),
        "x_request_id": st.just("mine"),
        "x_envoy_max_retries": st.just("9"),
        "content_type": st.sampled_from(("application/json", "application/grpc")),
    },
)


class Way:
    """One runtime whose exchanges all go the same way; remembers what can be seen of them."""

    def __init__(self, snapshot: Snapshot, *, by_steps: bool) -> None:
        self.by_steps = by_steps
        self.runtime = make_runtime(snapshot, chance=system_chance(11))
        self.events: list[object] = []
        self.runtime.observe(self.events.append)
        telemetry = self.runtime.recorder = Telemetry(Workload(), self.runtime)
        self.metrics = telemetry.switch_on_metrics(max_series=100, max_hosts=10)

    def call(self, script: list[Any], *, cancel: bool, **headers: Any) -> tuple[object, ...]:
        """One exchange, and all that it shows."""
        transport, clock = ScriptedTransport(*script), self.runtime.clock
        assert isinstance(clock, VirtualClock)
        exchange = begin(self.runtime, path="/old/x?q", **headers)
        seen = run_virtual(self._drive(exchange, transport, cancel=cancel), clock)
        exchange.finish(3)
        assert counters(self.runtime) == AT_REST
        sends = [(send.cluster.name, send.endpoint, send.attempt, send.timeout, send.path) for send in transport.sends]
        copies = [(copy.cluster.name, copy.endpoint, copy.path) for copy in transport.copies]
        state = {name: vars_of(live.state) for name, live in self.runtime.clusters().items()}
        return (
            seen, sends, copies, transport.discarded, exchange.attempts, exchange.flags, exchange.details,
            list(exchange.headers.items()), exchange.cookies, state, clock.monotonic(),
        )  # fmt: skip

    async def _drive(self, exchange: Exchange, transport: ScriptedTransport, *, cancel: bool) -> object:
        timers = Timers()
        if self.by_steps:
            task = asyncio.ensure_future(adrive(exchange.steps(), transport, timers))
        else:
            task = asyncio.ensure_future(agovern(exchange, transport, timers))
        if cancel:
            asyncio.get_running_loop().call_later(0.3, task.cancel)
        try:
            reply = await task
        except asyncio.CancelledError:
            return "cancelled"
        return type(reply), reply.status, list(dict(reply.headers).items())


def vars_of(state: Any) -> object:
    hosts = [(key, one.consecutive_5xx, one.ejected_at, one.backoff) for key, one in state.endpoints.items()]
    return state.next_sweep, state.mirrored, hosts


@given(
    action=st.fixed_dictionaries(ACTIONS),
    policies=st.lists(st.sampled_from(POLICIES), min_size=1, max_size=2),
    calls=st.lists(
        st.tuples(st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=3), st.booleans(), REQUESTS), max_size=5
    ),
)
def test_both_ways_show_the_same(action: dict[str, Any], policies: list[TrafficPolicy], calls: list[Any]) -> None:
    """Replies, sends, headers, events, metrics and counters are equal, for any features, answers and cancellations."""
    names = (OTHER.replace("|v2|", "||"), OTHER)
    clusters = [make_cluster(1, 2, 3, policy=one, name=name) for one, name in zip(policies, names, strict=False)]
    ways = [Way(make_snapshot(*clusters, **action), by_steps=by_steps) for by_steps in (True, False)]
    for script, cancel, headers in calls:
        first, second = (way.call(script, cancel=cancel, **headers) for way in ways)
        assert first == second
    assert ways[0].events == ways[1].events
    assert ways[0].metrics.store.totals() == ways[1].metrics.store.totals()


@given(
    action=st.fixed_dictionaries(
        {name: ACTIONS[name] for name in ("timeout", "rewrite", "hash_keys", "response_levels")}
    ),
    policies=st.lists(st.sampled_from(POLICIES), min_size=1, max_size=2),
    script=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=3),
)
def test_both_ways_of_a_thread_show_the_same(
    action: dict[str, Any], policies: list[TrafficPolicy], script: list[Any]
) -> None:
    """``govern`` and ``drive``; without retries, whose pauses would be real."""
    names = (OTHER.replace("|v2|", "||"), OTHER)
    clusters = [make_cluster(1, 2, 3, policy=one, name=name) for one, name in zip(policies, names, strict=False)]
    seen = []
    for way in (lambda one, to: drive(one.steps(), to), govern):
        runtime, transport = make_runtime(make_snapshot(*clusters, **action)), SyncScriptedTransport(*script)
        for _ in range(3):
            exchange = begin(runtime, path="/old/x?q")
            reply = way(exchange, transport)
            exchange.finish(3)
            sends = [(send.endpoint, send.attempt, send.timeout, send.path) for send in transport.sends]
            seen.append((reply.status, exchange.flags, list(exchange.headers.items()), sends))
        assert counters(runtime) == AT_REST
    assert seen[:3] == seen[3:]
