"""The contract of clients: the last good response stands in for a failure, as a ClientPolicy wants it."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from meshlib.testing import VirtualClock
from tests.adapters.contract.conftest import HOST, URL, Kit
from tests.adapters.contract.servers import tls_for

AGE = {"lastGood": {"maxAge": "60s"}}


def fallback(**more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "meshlib.dev/v1alpha1",
        "kind": "ClientPolicy",
        "metadata": {"name": "remembering", "namespace": "default"},
        "spec": {"hosts": [HOST], "fallback": {**AGE, **more}},
    }


def details(reply: Any) -> tuple[int, str]:
    return reply.status, reply.mesh.details


STANDS_IN = (200, "client_policy_last_good")


def test_the_last_good_response_stands_in(kit: Kit) -> None:
    """With its status, header fields and body, and its age; until it is too old."""
    kit.upstream({"body": b"good", "headers": [("x-mark", "1"), ("etag", '"a"')]}, 503, 503, 503)
    clock = VirtualClock()
    kit.load(kit.resources(more=[fallback()]), clock)
    client = kit.client()
    assert details(client.get(URL)) == (200, "via_upstream")
    clock.advance(59.0)
    reply = client.get(URL)
    assert (details(reply), reply.text) == (STANDS_IN, "good")
    fields = {name: reply.headers[name] for name in ("x-mark", "etag", "age", "content-length")}
    assert fields == {"x-mark": "1", "etag": '"a"', "age": "59", "content-length": "4"}
    assert client.get(URL + "other").status == 503
    clock.advance(2.0)
    assert client.get(URL).status == 503
    kit.settle()


def test_it_stands_in_when_nothing_answers(kit: Kit) -> None:
    """A refusal of the mesh is a failure too; then the answer of the policy, where nothing good is known."""
    server = kit.upstream({"body": b"good"}, {"reset": True}, {"reset": True})
    kit.mesh(more=[fallback(response={"status": 203, "body": "static"})])
    client = kit.client()
    client.get(URL)
    assert (client.get(URL).text, len(server.seen)) == ("good", 2)
    reply = client.get(URL + "other")
    assert (reply.text, reply.mesh.details) == ("static", "client_policy_fallback")
    kit.settle()


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Api-Key", "End-User"])
def test_nobody_gets_the_response_of_another(kit: Kit, name: str) -> None:
    """Whatever header field tells callers apart."""
    server = kit.upstream({"body": b"of alice"})
    server.script += [503] * 9
    kit.mesh(more=[fallback()])
    client = kit.client()
    assert client.get(URL, headers={name: "alice"}).text == "of alice"
    assert client.get(URL, headers={name: "bob"}).status == 503
    assert client.get(URL).status == 503
    assert client.get(URL, headers={name: "alice"}).text == "of alice"


def test_callers_with_other_tls_settings_share_nothing(plain_kit: Kit) -> None:
    """What an application brings along for https may be a certificate."""
    kit = plain_kit
    server = kit.upstream({"body": b"of alice"}, 503, 503, tls=tls_for(kit.authority.named, asks_for_client=False))
    entry = {
        "hosts": [HOST],
        "resolution": "STATIC",
        "ports": [{"number": 443, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": "127.0.0.1", "ports": {"http": server.port}}],
    }
    made = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "spec": entry}
    mesh = kit.load([{**made, "metadata": {"name": "named", "namespace": "default"}}, fallback()])
    url = f"https://{HOST}/"
    alice, bob = kit.client_trusting(mesh), kit.client_trusting(mesh)
    assert alice.get(url).text == "of alice"
    assert bob.get(url).status == 503
    assert alice.get(url).text == "of alice"


@pytest.mark.parametrize(
    "headers",
    [("set-cookie", "session=1"), ("cache-control", "private, no-store"), ("vary", "*")],
    ids=["set-cookie", "no-store", "vary"],
)
def test_what_must_not_be_kept_is_not(kit: Kit, headers: tuple[str, str]) -> None:
    """A new session, what forbids it, and what nobody can tell the request of."""
    kit.upstream({"body": b"x", "headers": [headers]}, 503)
    kit.mesh(more=[fallback()])
    client = kit.client()
    client.get(URL)
    assert client.get(URL).status == 503


def test_only_get_and_head_are_remembered(kit: Kit) -> None:
    """Each for itself; an answer to HEAD tells the length that a body would have."""
    kit.upstream({"body": b"x"}, 503, {"body": b"abc"}, 503)
    kit.mesh(more=[fallback()])
    client = kit.client()
    client.post(URL, b"")
    assert client.post(URL, b"").status == 503
    assert client.request("HEAD", URL).status == 200
    reply = client.request("HEAD", URL)
    assert (details(reply), reply.body, reply.headers["content-length"]) == (STANDS_IN, b"", "3")


def test_a_body_in_parts_is_whole(kit: Kit) -> None:
    """Chunks are put together, however slowly they come."""
    kit.upstream({"parts": [b"a" * 100_000, b"b" * 5, b"c"], "pause": 0.01}, 503)
    kit.mesh(more=[fallback()])
    client = kit.client()
    with client.stream(URL, 1000) as (status, parts):
        assert status == 200
        assert len(b"".join(parts)) == 100_006
    reply = client.get(URL)
    assert (reply.status, reply.body) == (200, b"a" * 100_000 + b"bbbbbc")
    assert "transfer-encoding" not in reply.headers


def test_a_compressed_body_comes_back(kit: Kit) -> None:
    """As the client gives it."""
    packed = gzip.compress(b"good " * 100)
    kit.upstream({"body": packed, "headers": [("content-encoding", "gzip")]}, 503)
    kit.mesh(more=[fallback()])
    client = kit.client()
    assert client.get(URL).body == b"good " * 100
    reply = client.get(URL)
    assert (details(reply), reply.body) == (STANDS_IN, b"good " * 100)


def test_an_empty_body_comes_back(kit: Kit) -> None:
    """Of a 204."""
    kit.upstream(204, 503)
    kit.mesh(more=[fallback()])
    client = kit.client()
    client.get(URL)
    assert details(client.get(URL)) == (204, "client_policy_last_good")


def test_a_body_that_was_not_read_to_its_end_is_forgotten(kit: Kit) -> None:
    """Nobody knows the rest of it; nor of one that broke off, or is larger than a mebibyte."""
    kit.upstream({"parts": [b"abcde", b"fghij"], "hold": True}, 503, {"body": b"helloworld", "cut": 5}, 503)
    kit.upstreams[0].script += [{"body": b"x" * (2**20 + 1)}, 503, {"body": b"x" * 2**20}, 503]
    kit.mesh(more=[fallback()])
    client = kit.client()
    with client.stream(URL) as (_, parts):
        next(parts)
    kit.settle()
    kit.upstreams[0].rest.set()
    assert client.get(URL).status == 503
    with pytest.raises(client.family):
        client.get(URL)
    assert client.get(URL).status == 503
    assert len(client.get(URL).body) == 2**20 + 1
    assert client.get(URL).status == 503
    assert len(client.get(URL).body) == 2**20
    assert len(client.get(URL).body) == 2**20
    kit.settle()


def test_what_the_route_changes_in_a_response_is_changed_once(kit: Kit) -> None:
    """It is kept as the upstream sent it."""
    kit.upstream({"body": b"x", "headers": [("x-list", "1")]}, 503)
    changes = {"headers": {"response": {"add": {"x-list": "2"}}}}
    kit.mesh(more=[fallback()], route={"route": [{"destination": {"host": HOST}, **changes}]})
    client = kit.client()
    lists = [client.get(URL).headers["x-list"] for _ in range(2)]
    assert lists[0] == lists[1]
    assert client.get(URL).mesh is not None


def test_clients_share_what_they_remember(kit: Kit) -> None:
    """It belongs to the mesh, and outlives a client and a reload."""
    kit.upstream({"body": b"good"}, 503)
    mesh = kit.mesh(more=[fallback()])
    kit.client(mesh).get(URL)
    kit.close_clients()
    mesh.runtime.publish(mesh.runtime.published.snapshot)
    assert details(kit.client(mesh).get(URL)) == STANDS_IN
