"""Ring hash and Maglev over changing hosts, and what a request is hashed by."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib._clock import SystemClock
from meshlib._engine.balancing import HashTable, make_balancer
from meshlib._engine.request_hash import hash_request
from meshlib._engine.state import EndpointState
from meshlib._engine.xxh64 import xxh64, xxh64_in_python
from meshlib._http import Headers, RequestHead
from meshlib._random import system_chance
from meshlib._snapshot.clusters import BalancerPolicy, Endpoint, Maglev, RingHash, TrafficPolicy
from meshlib._snapshot.routes import HashKey, RetryPolicy
from meshlib.adapters.aiohttp import governed_session
from tests.adapters.servers import upstream
from tests.mesh_builders import make_cluster, make_runtime, make_snapshot

CHANCE = system_chance(5)


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_the_fallback_gives_the_same_numbers(data: bytes, seed: int) -> None:
    """With and without the xxhash package the same host is picked."""
    assert xxh64_in_python(data, seed) == xxh64(data, seed)


def table(policy: BalancerPolicy, *ports: int) -> HashTable[EndpointState]:
    hosts = tuple(EndpointState(Endpoint(address="10.0.0.1", port=port)) for port in ports)
    found = make_balancer(policy, hosts, CHANCE)
    assert isinstance(found, HashTable)
    return found


@pytest.mark.parametrize("policy", [RingHash(), Maglev(251)], ids=repr)
def test_a_host_that_goes_moves_few_others(policy: BalancerPolicy) -> None:
    """Most keys stay where they were; every key of the lost host finds another."""
    before, after = table(policy, 1, 2, 3, 4, 5), table(policy, 1, 2, 3, 4)
    moved = 0
    for number in range(1000):
        value = xxh64(b"user-%d" % number)
        first, second = before.pick_by(value), after.pick_by(value)
        assert first is not None
        assert second is not None
        if first.endpoint.port != 5:
            moved += first.endpoint.port != second.endpoint.port
    assert moved < 200


@pytest.mark.parametrize("policy", [RingHash(), Maglev(251)], ids=repr)
def test_no_host_gives_none_and_no_hash_gives_any(policy: BalancerPolicy) -> None:
    """An empty table is no error; without a hash the picks are spread."""
    assert table(policy).pick() is None
    spread = table(policy, 1, 2, 3)
    assert {host.endpoint.port for _ in range(200) if (host := spread.pick()) is not None} == {1, 2, 3}


def head(path: str = "/", **headers: str) -> RequestHead:
    return RequestHead("GET", "http", "reviews", path, Headers(headers), port=80)


@pytest.mark.parametrize(
    ("key", "request_head", "text"),
    [
        (HashKey(kind="header", name="user"), head(user="jason"), b"jason"),
        (HashKey(kind="query", name="user"), head("/?a=1&user=j%20&user=k"), b"j%20"),
        (HashKey(kind="query", name="user"), head("/?user"), b""),
        (HashKey(kind="cookie", name="user"), head(cookie='a=b; user="jason"'), b"jason"),
        (HashKey(kind="header", name="user"), head(), None),
        (HashKey(kind="query", name="user"), head("/?other=1"), None),
        (HashKey(kind="cookie", name="user"), head(cookie="user="), None),
        (HashKey(kind="source_ip"), head(), None),
    ],
)
def test_what_is_hashed(key: HashKey, request_head: RequestHead, text: bytes | None) -> None:
    """The raw value; an empty cookie counts as none."""
    found = hash_request((key,), request_head, CHANCE)
    assert found.value == (None if text is None else xxh64(text))
    assert found.cookies == ()


def test_bytes_that_are_no_text_are_hashed_as_they_came() -> None:
    """They were an error, and at a gateway a 500."""
    request = RequestHead("GET", "http", "a", "/?q=\udcff", Headers({"x-a": "\udcff", "cookie": "c=\udcff"}), port=80)
    for key in (HashKey(kind="header", name="x-a"), HashKey(kind="query", name="q"), HashKey(kind="cookie", name="c")):
        assert hash_request((key,), request, CHANCE).value == xxh64(b"\xff")


def test_the_source_is_the_client_of_a_gateway_or_this_workload() -> None:
    """``useSourceIp``: the address as text, as Envoy hashes it; without one there is nothing to hash."""
    key = (HashKey(kind="source_ip"),)
    entered = head()
    entered.source = "203.0.113.7"
    assert hash_request(key, entered, CHANCE, "10.0.0.1").value == xxh64(b"203.0.113.7")
    assert hash_request(key, head(), CHANCE, "10.0.0.1").value == xxh64(b"10.0.0.1")
    assert hash_request(key, head(), CHANCE).value is None


def test_several_keys_are_combined_in_order() -> None:
    """Each turns what came before by one bit."""
    one, two = HashKey(kind="header", name="a"), HashKey(kind="header", name="b")
    request = head(a="x", b="y")
    assert hash_request((one, two), request, CHANCE).value != hash_request((two, one), request, CHANCE).value


@pytest.mark.parametrize(
    ("key", "attributes"),
    [
        (HashKey(kind="cookie", name="user", ttl=0.0), "; HttpOnly"),
        (
            HashKey(kind="cookie", name="user", ttl=60.0, path="/p", attributes=(("SameSite", "Lax"), ("Secure", ""))),
            "; Max-Age=60; Path=/p; SameSite=Lax; Secure; HttpOnly",
        ),
    ],
)
def test_a_missing_cookie_is_issued_as_envoy_writes_it(key: HashKey, attributes: str) -> None:
    """Observed on Envoy 1.39.3."""
    found = hash_request((key,), head(), CHANCE)
    (cookie,) = found.cookies
    value = cookie.removeprefix('user="').partition('"')[0]
    assert cookie == f'user="{value}"{attributes}'
    assert found.value == xxh64(value.encode())


async def test_a_session_sticks_by_the_cookie_it_was_given() -> None:
    """The cookie jar of the application brings it back to the same endpoint."""
    async with upstream(name="a") as one, upstream(name="b") as two, upstream(name="c") as three:
        cluster = make_cluster(one.port, two.port, three.port, policy=TrafficPolicy(balancer=RingHash()))
        keys = (HashKey(kind="cookie", name="stick", ttl=60.0, path="/"),)
        runtime = make_runtime(make_snapshot(cluster, hash_keys=keys), clock=SystemClock())
        seen = []
        async with governed_session(runtime) as session:
            for _ in range(8):
                async with session.get("http://reviews:9080/") as reply:
                    seen.append((await reply.json())["server"])
            jar = session.cookie_jar
            assert isinstance(jar, aiohttp.CookieJar)
            assert [cookie.key for cookie in jar] == ["stick"]
    assert len(set(seen)) == 1


async def test_a_retry_that_avoids_hosts_finds_the_next_entry() -> None:
    """With the hash of the same request."""
    async with upstream(*[503] * 9) as one, upstream(*[503] * 9) as two, upstream(*[503] * 9) as three:
        servers = (one, two, three)
        policy = TrafficPolicy(balancer=RingHash())
        retry = RetryPolicy(attempts=2, conditions=frozenset({"5xx"}), backoff=0.001, avoid_previous_hosts=True)
        cluster = make_cluster(*(server.port for server in servers), policy=policy)
        keys = (HashKey(kind="header", name="user"),)
        runtime = make_runtime(make_snapshot(cluster, hash_keys=keys, retry=retry), clock=SystemClock())
        async with governed_session(runtime) as session:
            async with session.get("http://reviews:9080/", headers={"user": "jason"}) as reply:
                assert reply.status == 503
        assert sum(len(server.seen) for server in servers) == 3
        assert max(len(server.seen) for server in servers) < 3
