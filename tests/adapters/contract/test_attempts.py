"""The contract of clients: retries, timeouts, failures and what is left behind."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from meshlib.errors import MeshError, RefusedError
from tests.adapters.contract.clients import in_threads
from tests.adapters.contract.conftest import HOST, URL, Kit
from tests.patience import PACES, PATIENCE
from tests.ports import closed_port

RETRY = {"retries": {"attempts": 2, "retryOn": "5xx", "backoff": "1ms"}}
CONNECT = {"retries": {"attempts": 9, "retryOn": "connect-failure", "backoff": "1ms"}}


def retries(attempts: int, on: str, **more: str) -> dict[str, object]:
    return {"retries": {"attempts": attempts, "retryOn": on, "backoff": "1ms", **more}}


def test_a_503_is_retried(kit: Kit) -> None:
    """Until one is good."""
    server = kit.upstream(503, 503)
    kit.mesh(route=RETRY)
    reply = kit.client().get(URL)
    assert (reply.status, reply.attempts) == (200, 3)
    assert [seen.headers["x-envoy-attempt-count"] for seen in server.seen] == ["1", "2", "3"]
    assert kit.at_rest()


def test_the_last_response_is_returned_when_retries_are_used_up(kit: Kit) -> None:
    """With its body, and the flag URX."""
    server = kit.upstream(*[{"status": 503, "body": b"no"}] * 3)
    kit.mesh(route=RETRY)
    reply = kit.client().get(URL)
    assert (reply.status, reply.text, reply.flags) == (503, "no", ("URX",))
    assert len(server.seen) == 3


def test_the_library_does_not_retry_on_top(kit: Kit) -> None:
    """Without a retry policy there is one attempt."""
    server = kit.upstream(503, {"reset": True})
    client = kit.client()
    assert client.get(URL).status == 503
    assert client.get(URL).status == 503
    assert len(server.seen) == 2


def test_a_dead_endpoint_is_told_from_a_failing_one(kit: Kit) -> None:
    """connect-failure retries refused connections, and only those."""
    server = kit.upstream()
    kit.mesh(closed_port(), server.port, route=CONNECT)
    client = kit.client()
    assert {client.get(URL).status for _ in range(8)} == {200}
    server.script[:] = [{"reset": True}] * 9
    kit.settle()
    statuses = {client.get(URL).status for _ in range(4)}
    assert statuses == {503}
    assert len(server.seen) == 12


def test_a_refused_connection_is_uf(kit: Kit) -> None:
    """503 with Envoy's body."""
    kit.mesh(closed_port())
    reply = kit.client().get(URL)
    assert (reply.status, reply.flags) == (503, ("UF",))
    assert reply.text.endswith("reset reason: remote connection failure")
    assert kit.at_rest()


@pytest.mark.parametrize("name", ["a..b.invalid", f"{'a' * 64}.invalid"])
def test_a_name_that_dns_cannot_have_is_uf(kit: Kit, name: str) -> None:
    """As one that it does not have; the standard library says it in another way."""
    kit.mesh()
    reply = kit.client().get(f"http://{name}/")
    assert (reply.status, reply.flags) == (503, ("UF",))
    assert kit.at_rest()


def test_a_reset_before_the_response_is_uc(kit: Kit) -> None:
    """503 with Envoy's body; the connection is not used again."""
    server = kit.upstream({"reset": True})
    client = kit.client()
    reply = client.get(URL)
    assert (reply.status, reply.flags) == (503, ("UC",))
    assert reply.text.endswith("reset reason: connection termination")
    assert client.get(URL).status == 200
    assert server.connections == 2
    assert kit.at_rest()


def test_a_reset_is_retried_by_reset(kit: Kit) -> None:
    """retryOn: reset."""
    server = kit.upstream({"reset": True})
    kit.mesh(route=retries(1, "reset"))
    assert kit.client().get(URL).status == 200
    assert len(server.seen) == 2


def test_garbage_is_a_protocol_error(kit: Kit) -> None:
    """502 with the flag UPE."""
    kit.upstream({"garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n"})
    reply = kit.client().get(URL)
    assert (reply.status, reply.flags) == (502, ("UPE",))
    assert reply.text.endswith("reset reason: protocol error")


def test_a_host_without_endpoints_is_uh(kit: Kit) -> None:
    """503, nothing is sent."""
    kit.mesh(closed_port(), more=None)
    client = kit.client(kit_without_endpoints(kit))
    reply = client.get(URL)
    assert (reply.status, reply.text, reply.flags) == (503, "no healthy upstream", ("UH",))


def kit_without_endpoints(kit: Kit) -> object:
    from meshlib import Mesh

    resources = kit.resources(1)
    resources[0]["spec"]["endpoints"] = []
    return Mesh.load(resources)


def test_an_unknown_destination_is_nc(kit: Kit) -> None:
    """503 without a body."""
    kit.upstream()
    kit.mesh(http=[{"route": [{"destination": {"host": "nowhere"}}]}])
    reply = kit.client().get(URL)
    assert (reply.status, reply.body, reply.flags) == (503, b"", ("NC",))


def test_an_abort_of_the_route(kit: Kit) -> None:
    """Answered in the process."""
    server = kit.upstream()
    kit.mesh(route={"fault": {"abort": {"percentage": {"value": 100}, "httpStatus": 555}}})
    reply = kit.client().get(URL)
    assert (reply.status, reply.text, reply.flags) == (555, "fault filter abort", ("FI",))
    assert server.seen == []


def test_a_direct_response(kit: Kit) -> None:
    """With its body; HEAD gets none."""
    kit.upstream()
    kit.mesh(http=[{"directResponse": {"status": 200, "body": {"string": "hello"}}}])
    client = kit.client()
    assert client.get(URL).text == "hello"
    assert client.request("HEAD", URL).body == b""


def test_a_long_direct_response(kit: Kit) -> None:
    """Longer than what a client would buffer of a connection."""
    kit.mesh(http=[{"directResponse": {"status": 200, "body": {"string": "x" * 500_000}}}])
    assert kit.client().get(URL).text == "x" * 500_000


def test_the_routes_timeout_is_a_504(kit: Kit) -> None:
    """In time, with the flag UT."""
    kit.upstream({"hang": True})
    kit.mesh(route={"timeout": "100ms"})
    reply = kit.client().get(URL)
    assert (reply.status, reply.text, reply.flags) == (504, "upstream request timeout", ("UT",))
    assert kit.at_rest()


def test_a_head_that_comes_byte_by_byte_does_not_outwit_the_timeout(kit: Kit) -> None:
    """Each byte alone is in time, the head is not."""
    kit.upstream({"drip": 0.05})
    kit.mesh(route={"timeout": "300ms"})
    assert kit.client().get(URL).status == 504


def test_a_per_try_timeout_is_retried(kit: Kit) -> None:
    """Another attempt answers."""
    server = kit.upstream()
    for pace in PACES:
        server.script[:] = [{"hang": True}]
        kit.mesh(route=retries(9, "5xx", perTryTimeout=f"{pace}s"))
        reply = kit.client().get(URL)
        if reply.status == 200:
            break
    assert reply.status == 200
    assert reply.attempts >= 2
    assert kit.at_rest()


def test_a_per_try_timeout_does_not_cover_the_body(kit: Kit) -> None:
    """Envoy 1.39: once the response has started it is ignored."""
    server = kit.upstream()
    for pace in PACES:
        server.script[:] = [{"pause": pace + 0.2, "body": b"helloworld"}] * 10
        kit.mesh(route=retries(9, "5xx", perTryTimeout=f"{pace}s"))
        reply = kit.client().get(URL)
        if reply.status == 200:
            break
    assert reply.text == "helloworld"


def test_the_routes_timeout_covers_the_body(kit: Kit) -> None:
    """What has come stays readable, then the stream breaks; the flag is UT."""
    server = kit.upstream()
    route = {"route": [{"destination": {"host": HOST}}]}
    for pace in PACES:
        server.script[:] = [200, {"pause": 100, "body": b"helloworld"}]
        kit.mesh(http=[{"match": [{"uri": {"prefix": "/slow"}}], "timeout": f"{pace}s", **route}, route])
        client = kit.client()
        client.get(URL)  # the connection is there
        status, got, is_broken = read(client, URL + "slow")
        if status == 200:
            break
    assert (status, is_broken) == (200, True)
    assert got in (b"hello", b"")
    kit.settle()


def read(client: Any, url: str) -> tuple[int, bytes, bool]:
    """The status, what comes of the body, and whether it breaks off."""
    got = b""
    with client.stream(url) as (status, parts):
        try:
            for part in parts:
                got += part
        except client.family + client.timeouts:
            return status, got, True
    return status, got, False


def test_the_callers_shorter_timeout_wins(kit: Kit) -> None:
    """It is raised as the library's own, and not retried."""
    server = kit.upstream(200, *[{"hang": True}] * 3)
    kit.mesh(route={**RETRY, "timeout": "300s"})
    client = kit.client()
    client.get(URL)  # the connection is there
    with pytest.raises(client.timeouts) as raised:
        client.get(URL, timeout=0.3)
    assert not isinstance(raised.value, RefusedError)
    assert len(server.seen) <= 2
    kit.settle()


def test_the_mesh_s_shorter_timeout_wins(kit: Kit) -> None:
    """It is a 504."""
    kit.upstream({"hang": True})
    kit.mesh(route={"timeout": "100ms"})
    assert kit.client().get(URL, timeout=PATIENCE).status == 504


def test_a_refusal_can_be_raised_in_both_families(kit: Kit) -> None:
    """MeshError and the library's own; the cause is chained."""
    kit.mesh(closed_port())
    client = kit.client(raise_on_refusal=True)
    with pytest.raises(RefusedError) as raised:
        client.get(URL)
    error = raised.value
    assert isinstance(error, client.family)
    assert (error.status, error.status_hint, error.flags) == (503, 503, ("UF",))
    assert error.__cause__ is not None
    assert str(error).startswith("reviews.example.com: 503 from the mesh")
    assert kit.at_rest()


def test_a_timeout_can_be_raised_in_both_families(kit: Kit) -> None:
    """Also as a TimeoutError."""
    kit.upstream({"hang": True})
    kit.mesh(route={"timeout": "50ms"})
    client = kit.client(raise_on_refusal=True)
    with pytest.raises(TimeoutError) as raised:
        client.get(URL)
    assert isinstance(raised.value, RefusedError)
    assert isinstance(raised.value, client.timeouts)


def test_an_abort_can_be_raised_in_both_families(kit: Kit) -> None:
    """As the error for a status."""
    kit.upstream()
    kit.mesh(route={"fault": {"abort": {"percentage": {"value": 100}, "httpStatus": 500}}})
    client = kit.client(raise_on_refusal=True)
    with pytest.raises(client.family) as raised:
        client.get(URL)
    assert isinstance(raised.value, MeshError)


def test_responses_of_the_upstream_are_never_raised(kit: Kit) -> None:
    """Nor what a rule answers on purpose."""
    kit.upstream(503)
    assert kit.client(raise_on_refusal=True).get(URL).status == 503


def test_bytes_are_replayed_whole(kit: Kit) -> None:
    """Each attempt carries all of them."""
    server = kit.upstream(503, 503)
    kit.mesh(route=RETRY)
    assert kit.client().post(URL, b"hello").json()["body"] == "hello"
    assert [seen.body for seen in server.seen] == [b"hello"] * 3


def test_a_consumed_stream_is_not_replayed(kit: Kit) -> None:
    """Not even as an empty body: the 503 is returned."""
    server = kit.upstream(503)
    kit.mesh(route=RETRY)
    client = kit.client()
    assert client.post(URL, client.pieces(b"abc", b"def")).status == 503
    assert [seen.body for seen in server.seen] == [b"abcdef"]


def test_a_stream_survives_a_connect_failure(kit: Kit) -> None:
    """Nothing of it was read yet."""
    server = kit.upstream()
    kit.mesh(closed_port(), server.port, route=CONNECT)
    client = kit.client()
    for _ in range(6):
        assert client.post(URL, client.pieces(b"abc")).json()["body"] == "abc"


@pytest.mark.parametrize(("size", "calls"), [(2**20, 2), (2**20 + 1, 1)])
def test_bodies_beyond_one_mebibyte_are_not_replayed(kit: Kit, size: int, calls: int) -> None:
    """Envoy 1.39: 1,048,576 bytes are sent again, more are not."""
    server = kit.upstream(503, {"body": b""})
    kit.mesh(route=RETRY)
    client = kit.client()
    body = io.BytesIO(b"x" * size) if client.name.startswith("aiohttp") else b"x" * size
    assert client.post(URL, body).status == (200 if calls == 2 else 503)
    assert len(server.seen) == calls


def test_a_failing_endpoint_is_ejected(kit: Kit) -> None:
    """Outlier detection sees what the client sees."""
    bad, good = kit.upstream(*[500] * 50), kit.upstream()
    kit.mesh(policy={"outlierDetection": {"consecutive5xxErrors": 2, "maxEjectionPercent": 100}})
    client = kit.client()
    for _ in range(24):
        client.get(URL)
    assert len(bad.seen) == 2
    assert len(good.seen) == 22


def test_a_body_that_breaks_off_is_an_error_and_counts(kit: Kit) -> None:
    """After the head nothing is retried; the endpoint is judged."""
    server = kit.upstream({"cut": 5, "body": b"helloworld"})
    kit.mesh(route=RETRY, policy={"outlierDetection": {"consecutive5xxErrors": 1, "maxEjectionPercent": 100}})
    client = kit.client()
    with pytest.raises(client.family):
        client.get(URL)
    assert len(server.seen) == 1
    kit.settle()
    assert client.get(URL).flags == ("UH",)


def test_a_chunked_body_that_breaks_off_is_an_error(kit: Kit) -> None:
    """As with a length."""
    kit.upstream({"cut": 1, "parts": [b"abc"]})
    client = kit.client()
    with pytest.raises(client.family):
        client.get(URL)
    kit.settle()


def test_more_requests_than_the_limit_overflow(kit: Kit) -> None:
    """503 with x-envoy-overloaded; the others are served."""
    server = kit.upstream()
    server.gate.clear()
    mesh = kit.mesh(policy={"connectionPool": {"http": {"http2MaxRequests": 1}}})
    clients = [kit.client(mesh) for _ in range(3)]
    answers: list[int] = []
    threads = [threading.Thread(target=lambda one=one: answers.append(one.get(URL).status)) for one in clients]
    for thread in threads:
        thread.start()
    kit.settle(lambda: len(answers) == 2)
    server.gate.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(answers) == [200, 503, 503]
    kit.settle()


def test_threads_share_limits_and_state(kit: Kit) -> None:
    """Clients of many threads: nothing is lost or counted twice."""
    server = kit.upstream()
    mesh = kit.mesh()
    clients = [kit.client(mesh) for _ in range(6)]
    answers = in_threads(6, lambda number: [clients[number].get(URL).status for _ in range(5)])
    assert answers == [[200] * 5] * 6
    assert len(server.seen) == 30
    kit.settle()
