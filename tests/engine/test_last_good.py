"""The last good responses of a host: what is kept, for whom, and how much of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib import Mesh
from meshlib._drivers import adrive
from meshlib._engine.commands import LocalReply, Reply
from meshlib._engine.exchange import Exchange
from meshlib._engine.good_responses import GoodResponses, Kept, Taped, key_of
from meshlib._http import Headers, RequestHead
from meshlib.testing import Answer, ScriptedTransport, Simulation, VirtualClock, run_virtual
from tests.engine.test_client_policy import BREAKER, begin, call, load
from tests.mesh_builders import AT_REST, counters

POLICY = "fallback: {lastGood: {maxAge: 60s}}"


def fill(mesh: Mesh, body: bytes = b"good", **headers: str) -> Reply:
    """A good call, whose body is read whole."""
    reply, _, _ = call(mesh, Answer(headers=(("x-from", "upstream"),)), **headers)
    assert isinstance(reply, Taped)
    reply.tape.feed(body)
    reply.tape.keep()
    return reply


def test_a_kept_response_stands_in_for_each_kind_of_failure() -> None:
    """A status, a refusal, an open breaker; what came instead is let go of."""
    mesh = load(f"{BREAKER}\n  {POLICY}")
    fill(mesh)
    for script, discarded in ((503, 1), (503, 1), (200, 0)):
        reply, exchange, transport = call(mesh, script)
        assert isinstance(reply, LocalReply)
        assert (reply.status, reply.body, exchange.details) == (200, b"good", "client_policy_last_good")
        assert (reply.refusal, transport.discarded) == (False, discarded)
        assert dict(reply.headers) == {"x-from": "upstream", "content-length": "4", "age": "0"}
    assert counters(mesh.runtime) == AT_REST


@pytest.mark.parametrize(("seconds", "status"), [(60.0, 200), (60.5, 503)])
def test_age_is_that_of_the_meshs_clock(seconds: float, status: int) -> None:
    """From the head of the response on."""
    mesh = load(POLICY)
    fill(mesh)
    assert isinstance(mesh.runtime.clock, VirtualClock)
    mesh.runtime.clock.advance(seconds)
    assert call(mesh, 503)[0].status == status


def test_the_statuses_of_the_policy_count() -> None:
    """Also where it has no answer of its own."""
    mesh = load("fallback: {lastGood: {maxAge: 60s}, statuses: [500]}")
    fill(mesh)
    assert [call(mesh, status)[0].status for status in (500, 503)] == [200, 503]


def test_a_newer_response_takes_the_place_of_the_older() -> None:
    """And a failure takes none."""
    mesh = load(POLICY)
    fill(mesh, b"old")
    fill(mesh, b"new")
    for _ in range(2):
        reply = call(mesh, 503)[0]
        assert isinstance(reply, LocalReply)
        assert reply.body == b"new"


def head(method: str = "GET", path: str = "/x", **headers: str) -> RequestHead:
    fields = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return RequestHead(method, "http", "reviews", path, fields, port=80)


def key(request: RequestHead) -> Any:
    return key_of(request, request.headers)


@pytest.mark.parametrize(
    "other",
    [
        head(authorization="Bearer a"),
        head(cookie="a=1"),
        head(accept_language="de"),
        head(end_user="jason"),
        head(baggage="user=1"),
        head(path="/x?y"),
        head(method="HEAD"),
        head(x_forwarded_for="10.0.0.1"),
    ],
    ids=lambda request: repr(request.headers) + request.path + request.method,
)
def test_whatever_a_response_may_depend_on_keeps_it_apart(other: RequestHead) -> None:
    """All header fields, but for those that differ each time."""
    assert key(other) not in (None, key(head()))


def test_claims_and_the_address_of_a_client_keep_it_apart() -> None:
    """At a gateway the token itself may be gone."""
    mine, other, far = head(), head(), head()
    mine.claims, other.claims, far.source = {"sub": "a"}, {"sub": "b"}, "10.0.0.1"
    assert len({key(mine), key(other), key(far), key(head())}) == 4


def test_what_differs_each_time_does_not() -> None:
    """Ids and traces."""
    one = head(x_request_id="1", traceparent="00-1-1-01", x_b3_traceid="1", x_envoy_attempt_count="1", b3="1")
    assert key(one) == key(head(x_request_id="2"))


@pytest.mark.parametrize(
    "request_", [head(method="POST"), head(cache_control="no-store"), head(upgrade="websocket")], ids=repr
)
def test_some_requests_are_never_remembered(request_: RequestHead) -> None:
    """By their method, their wish, or because what follows is no body."""
    assert key(request_) is None


def test_no_secret_is_kept_in_a_key() -> None:
    """A digest stands for it."""
    assert b"secret" not in repr(key(head(authorization="secret"))).encode()


def test_there_are_bounds() -> None:
    """To the number and to the bytes; the oldest goes first."""
    memory = GoodResponses()
    for number in range(1100):
        memory.keep((b"%d" % number, None), Kept(200, (), b"x", 0.0))
    assert repr(memory) == "<GoodResponses kept=1024 bytes=1024 given=0>"
    assert memory.find((b"75", None), 0.0, 1.0) is None
    assert memory.find((b"76", None), 0.0, 1.0) is not None
    for number in range(40):
        memory.keep((b"large %d" % number, None), Kept(200, (), b"x" * 2**20, 0.0))
    assert memory.find((b"large 39", None), 0.0, 1.0) is not None
    assert repr(memory).startswith("<GoodResponses kept=32 bytes=33554432")


def test_a_response_that_is_never_read_is_never_kept() -> None:
    """Nor one whose caller was cancelled."""
    mesh = load(POLICY)
    call(mesh, 200)
    assert call(mesh, 503)[0].status == 503
    clock = mesh.runtime.clock
    assert isinstance(clock, VirtualClock)

    async def cancel() -> None:
        made: Exchange = begin(mesh)
        task = asyncio.ensure_future(adrive(made.steps(), ScriptedTransport(Answer(delay=5.0))))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])

    run_virtual(cancel(), clock)
    assert call(mesh, 503)[0].status == 503


def test_what_is_remembered_survives_a_reload_and_ends_with_the_policy() -> None:
    """As long as there is one."""
    mesh = load(POLICY)
    fill(mesh)
    with_policy, without = mesh.runtime.published.snapshot, load("retrySafety: istio").runtime.published.snapshot
    mesh.runtime.publish(with_policy)
    assert call(mesh, 503)[0].status == 200
    mesh.runtime.publish(without)
    mesh.runtime.publish(with_policy)
    assert call(mesh, 503)[0].status == 503


def test_simulations_remember_too() -> None:
    """Virtual hours included."""
    from tests.engine.test_client_policy import CONFIG, NO_RETRY

    text = CONFIG.replace("ROUTE", NO_RETRY).replace("HOST", "reviews").replace("POLICY", POLICY)
    with Simulation(text, seed=1) as sim:
        upstream = sim.upstream("reviews")
        upstream.respond(200, body="good")
        assert sim.get("http://reviews/").status == 200
        upstream.respond(503)
        call = sim.get("http://reviews/")
        assert (call.status, call.body, call.details) == (200, b"good", "client_policy_last_good")
        sim.advance(61)
        assert sim.get("http://reviews/").status == 503
