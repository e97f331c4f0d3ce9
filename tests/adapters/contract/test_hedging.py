"""The contract of clients: a second attempt beside a slow one, as a ClientPolicy wants it."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib.events import AttemptFinished, Event, ExchangeFinished
from tests.adapters.contract.clients import in_threads
from tests.adapters.contract.conftest import HOST, URL, Kit
from tests.adapters.contract.servers import Upstream
from tests.patience import PACES

HANG = {"hang": True}


def hedging(delay: str = "50ms", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "meshlib.dev/v1alpha1",
        "kind": "ClientPolicy",
        "metadata": {"name": "hedged", "namespace": "default"},
        "spec": {"hosts": [HOST], "hedging": {"delay": delay, "budget": {"value": 100}, **more}},
    }


def pair(kit: Kit, *script: Any) -> tuple[Upstream, Upstream]:
    """Two endpoints that follow one script, whichever is asked first."""
    both = kit.upstream(name="a"), kit.upstream(name="b")
    both[0].script = both[1].script = list(script)
    return both


def came(*servers: Upstream) -> int:
    """How many requests they have got."""
    return sum(len(one.seen) for one in servers)


def is_alone(*servers: Upstream) -> bool:
    """Whether two requests have come, and one of them is answered."""
    return came(*servers) == 2 and sum(one.inside for one in servers) == 1


def hang_up(*servers: Upstream, times: int = 1) -> Any:
    return lambda: sum(one.left for one in servers) == times


def test_a_slow_request_is_answered_by_a_second(kit: Kit) -> None:
    """At the other endpoint; the first is given up, its connection closed, and each is told."""
    servers = pair(kit, HANG)
    mesh = kit.mesh(more=[hedging()])
    told: list[Event] = []
    mesh.observe(told.append, AttemptFinished, ExchangeFinished)
    client = kit.client()
    reply = client.get(URL)
    assert (reply.status, reply.attempts, reply.flags) == (200, 2, ())
    seen = {one.name: one.seen[0].headers for one in servers}
    assert sorted(headers["x-envoy-attempt-count"] for headers in seen.values()) == ["1", "2"]
    assert len({headers["x-request-id"] for headers in seen.values()}) == 1
    kit.until(client, hang_up(*servers))
    kit.settle()
    won = seen[reply.json()["server"]]["x-envoy-attempt-count"]  # as a rule the second: it comes to the server later
    attempts = [one for one in told if isinstance(one, AttemptFinished)]
    assert [(one.status, one.failure) for one in attempts] == [(0, "local reset"), (200, "")]
    assert [one.attempt for one in attempts] == [3 - int(won), int(won)]
    assert [(one.status, one.attempts) for one in told if isinstance(one, ExchangeFinished)] == [(200, 2)]
    assert client.get(URL).status == 200


def test_a_fast_request_is_sent_once(kit: Kit) -> None:
    """On one connection, however many there are."""
    server = kit.upstream()
    kit.mesh(more=[hedging("300s")])
    client = kit.client()
    assert [client.get(URL).attempts for _ in range(5)] == [1] * 5
    assert (len(server.seen), server.connections) == (5, 1)
    assert kit.at_rest()


def test_a_second_that_fails_does_not_win(kit: Kit) -> None:
    """The first is waited for."""
    servers = pair(kit, {"when": lambda: is_alone(*servers), "delay": 0.1}, 503)
    kit.mesh(more=[hedging()])
    reply = kit.client().get(URL)
    assert (reply.status, reply.attempts) == (200, 2)
    assert came(*servers) == 2
    kit.settle()


def test_when_both_fail_the_retries_go_on(kit: Kit) -> None:
    """The second attempt was the first of them."""
    servers = pair(kit, {"when": lambda: is_alone(*servers), "delay": 0.1, "status": 503}, 503)
    kit.mesh(more=[hedging()], route={"retries": {"attempts": 2, "retryOn": "5xx", "backoff": "1ms"}})
    reply = kit.client().get(URL)
    assert (reply.status, reply.attempts) == (200, 3)
    kit.settle()


def test_the_body_of_the_winner_is_whole(kit: Kit) -> None:
    """It streams as any other, and the request counts until it is over."""
    pair(kit, HANG, {"parts": [b"x" * 70_000] * 5, "pause": 0.01})
    mesh = kit.mesh(more=[hedging()])
    with kit.client().stream(URL, 10_000) as (status, parts):
        got = next(parts)
        kit_is_busy = sum(live.state.active for live in mesh.runtime.clusters().values())
        got += b"".join(parts)
    assert (status, got, kit_is_busy) == (200, b"x" * 350_000, 1)
    kit.settle()


def test_both_end_with_the_timeout_of_the_route(kit: Kit) -> None:
    """A 504 in time; neither connection is left."""
    for pace in PACES:
        servers = pair(kit, HANG, HANG)
        kit.mesh(*(one.port for one in servers), more=[hedging()], route={"timeout": f"{pace}s"})
        client = kit.client()
        reply = client.get(URL)
        if came(*servers) == 2:
            break
    assert (reply.status, reply.flags, reply.attempts) == (504, ("UT",), 2)
    kit.until(client, hang_up(*servers, times=2))
    kit.settle()


@pytest.mark.parametrize(("headers", "sends"), [({}, 1), ({"Idempotency-Key": "a"}, 2)])
def test_a_post_is_sent_twice_only_if_it_says_so(kit: Kit, headers: dict[str, str], sends: int) -> None:
    """With its body, then."""
    slow = {"delay": 0.3} if sends == 1 else {"when": lambda: came(*servers) == 2}
    servers = pair(kit, slow, slow)
    kit.mesh(more=[hedging()])
    assert kit.client().post(URL, b"hello", headers=headers).json()["body"] == "hello"
    assert [one.body for server in servers for one in server.seen] == [b"hello"] * sends
    kit.settle()


def test_a_stream_is_never_sent_twice(kit: Kit) -> None:
    """It can be read once only."""
    servers = pair(kit, {"delay": 0.3})
    kit.mesh(more=[hedging()])
    client = kit.client()
    reply = client.post(URL, client.pieces(b"abc", b"def"), headers={"Idempotency-Key": "a"})
    assert (reply.json()["body"], reply.attempts) == ("abcdef", 1)
    assert came(*servers) == 1


def test_one_endpoint_is_asked_again(kit: Kit) -> None:
    """On another connection, where there is no other."""
    server = kit.upstream(HANG)
    kit.mesh(more=[hedging()])
    client = kit.client()
    assert client.get(URL).status == 200
    assert (len(server.seen), server.connections) == (2, 2)
    kit.until(client, hang_up(server))


def test_the_callers_own_timeout_ends_both(kit: Kit) -> None:
    """It is raised as ever."""
    for pace in PACES:
        servers = pair(kit, HANG, HANG)
        kit.mesh(*(one.port for one in servers), more=[hedging()])
        client = kit.client()
        with pytest.raises(client.timeouts):
            client.get(URL, timeout=pace)
        if came(*servers) == 2:
            break
    kit.until(client, hang_up(*servers, times=2))
    kit.settle()


def test_many_at_once(kit: Kit) -> None:
    """Every other answer is slow: all succeed, no counter and no thread is left."""
    servers = [kit.upstream() for _ in range(3)]
    for one in servers:
        one.script = [{"delay": 0.15} if number % 2 else 200 for number in range(200)]
    servers[0].script[0] = HANG  # whoever comes there first needs a second attempt, on any machine
    mesh = kit.mesh(more=[hedging("30ms")])
    clients = [kit.client(mesh) for _ in range(4)]
    answers = in_threads(4, lambda number: [clients[number].get(URL).status for _ in range(15)])
    assert answers == [[200] * 15] * 4
    assert came(*servers) > 60
    kit.settle()
