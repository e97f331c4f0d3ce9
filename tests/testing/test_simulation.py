"""A mesh in memory: real policies, scripted upstreams, virtual time, chance that can be repeated."""

from __future__ import annotations

import contextvars
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from meshlib import MeshError
from meshlib._context import Carried, serving
from meshlib.testing import (
    Answer,
    Break,
    Bursts,
    Poisson,
    Simulation,
    StuckError,
    UpstreamRequest,
    Users,
    exponential,
    lognormal,
    sampled,
    uniform,
)
from tests.testing.meshes import CANARY, RETRIES, TEN

URL = "http://reviews:9080/"


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(RETRIES, seed=7) as made:
        made.deploy("reviews", replicas=TEN, port=9080)
        yield made


def test_one_broken_endpoint_of_ten_is_not_seen_by_anybody(sim: Simulation) -> None:
    """Retries hide it, outlier detection takes it out, and puts it back when its time is over."""
    sim.upstream("reviews").endpoint("10.0.0.1:9080").respond(503)
    calls = sim.send("GET", URL, times=1000, every=0.1)
    assert calls.statuses == {200: 1000}
    assert calls.ejected == ["10.0.0.1:9080"]
    assert calls.endpoints["10.0.0.1:9080"] == 14  # twice seven, since it comes back after 30 s
    assert sim.ejected == ["10.0.0.1:9080"]
    sim.upstream("reviews").recover()
    sim.advance(61)
    sim.get(URL)
    assert sim.ejected == []


def test_time_is_virtual_and_nothing_sleeps(sim: Simulation) -> None:
    """Three hours of calls take as long as their arithmetic."""
    began = time.monotonic()
    calls = sim.send("GET", URL, times=100, every=108.0)
    assert sim.now == pytest.approx(99 * 108 + 0.001)
    assert time.monotonic() - began < 60
    assert calls[1].started == 108.0


def test_a_simulation_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for its loop nor for its calls."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", refuse)
        patched.setattr(socket, "socketpair", refuse)
        with Simulation(RETRIES) as sim:
            sim.deploy("reviews", replicas=2, port=9080)
            assert sim.get(URL).status == 200

            async def main() -> int:
                async with sim.aiohttp() as session, session.get(URL) as response:
                    return response.status

            assert sim.run(main()) == 200


_STORY = """
import json
from meshlib.testing import Bursts, Poisson, Simulation, lognormal
from tests.testing.meshes import CANARY
with Simulation(CANARY, seed=%d) as sim:
    for version in ("v1", "v2"):
        sim.deploy("reviews", version=version, replicas=3, port=9080)
    sim.upstream("reviews").latency(lognormal(0.02, 0.5)).fail("reset", probability=0.1)
    loads = (Poisson(50), Bursts(size=9, every=1))
    calls = [sim.send("GET", "http://reviews:9080/", times=200, load=load) for load in loads]
    print(json.dumps([one.to_json() for one in calls]), sim.timeline, sim.token("https://a"), sep="\\n")
"""


def _story(seed: int, hashes: str) -> bytes:
    code = _STORY % seed
    environment = {"PYTHONHASHSEED": hashes, "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    """Whatever the hashes of strings are; another seed gives other calls."""
    one = _story(7, "1")
    assert one == _story(7, "2")
    assert one != _story(8, "1")


def test_a_request_that_brings_its_id_moves_no_draw() -> None:
    """Ids have a chance of their own: neither picks nor back-off depend on who made them."""

    def story(headers: dict[str, str]) -> str:
        with Simulation(RETRIES, seed=7) as sim:
            sim.deploy("reviews", replicas=TEN, port=9080)
            sim.upstream("reviews").respond(500, probability=0.5)
            sim.send("GET", URL, times=20, headers=headers)
            return str(sim.timeline)

    assert story({}) == story({"x-request-id": "one"})


def test_a_request_that_was_never_left_is_not_served_by_the_next_simulation() -> None:
    """A test client of Flask that is not closed stays in the context of its request: that was of another mesh."""
    seen: list[str] = []

    def main() -> None:
        serving.set(Carried({"x-request-id": "of another"}))
        with Simulation(RETRIES) as sim:
            sim.deploy("reviews", port=9080)
            sim.upstream("reviews").handle(lambda request: seen.append(request.headers["x-request-id"]) or 200)
            sim.get(URL)

    contextvars.copy_context().run(main)
    assert seen != ["of another"]
    assert len(seen) == 1


def test_weights_and_header_routes_are_those_of_the_yaml() -> None:
    """A tenth goes to the canary, all of one user's calls do."""
    with Simulation(CANARY, seed=3) as sim:
        for version in ("v1", "v2"):
            sim.deploy("reviews", version=version, replicas=2, port=9080)
        calls = sim.send("GET", URL, times=1000)
        assert 0.07 < calls.share("v2") < 0.13
        assert calls.routes == {"split": 1000}
        jason = sim.send("GET", URL, times=20, headers={"end-user": "jason"})
        assert jason.subsets == {"v2": 20}
        assert jason[0].explain().route == "for-jason"


def test_the_narrowest_script_wins_then_the_newest() -> None:
    """An endpoint's rule goes before its subset's, that before the host's."""
    with Simulation(CANARY) as sim:
        sim.deploy("reviews", version="v1", replicas=["10.0.0.1"], port=9080)
        sim.deploy("reviews", version="v2", replicas=["10.0.0.2"], port=9080)
        reviews = sim.upstream("reviews")
        reviews.endpoint("10.0.0.2:9080").respond(202)
        reviews.subset("v1").respond(201)
        reviews.respond(203)
        assert sim.get(URL, headers={"end-user": "jason"}).status == 202
        assert set(sim.send("GET", URL, times=50).statuses) == {201, 202}
        reviews.recover()
        assert reviews.received == 51
        assert sim.get(URL).status == 200


@pytest.mark.parametrize(
    ("script", "statuses"),
    [
        (lambda up: up.respond(404, times=2), [404, 404, 200, 200]),
        (lambda up: up.sequence(404, Answer(status=201), "text"), [404, 201, 200, 200]),
        (lambda up: up.respond(404, after=1.5), [200, 200, 404, 404]),
        (lambda up: up.respond(404, after=0.5, lasting=2), [200, 404, 404, 200]),
        (lambda up: up.respond(404).respond(403, times=1), [403, 404, 404, 404]),
        (lambda up: up.handle(lambda request: {"path": request.path}), [200] * 4),
    ],
)
def test_rules_hold_as_long_as_they_say(sim: Simulation, script: object, statuses: list[int]) -> None:
    """So many times, from then on, for so long."""
    script(sim.upstream("reviews"))  # type: ignore[operator]
    assert [call.status for call in sim.send("GET", URL, times=4, every=1)] == statuses


@pytest.mark.parametrize(
    ("way", "status", "flag"),
    [
        ("connect", 503, "UF"),
        ("reset", 503, "UC"),
        ("tls", 503, "UF"),
        ("protocol", 502, "UPE"),
        ("hang", 504, "UT"),
        ("unreachable", 503, "UF"),
    ],
)
def test_each_way_to_fail_gets_the_answer_of_a_sidecar(way: str, status: int, flag: str) -> None:
    """Status and response flag are Envoy's."""
    with Simulation(
        RETRIES.replace("{attempts: 3, retryOn: 5xx}", "{attempts: 0}").replace("timeout: 10s", "timeout: 20s")
    ) as sim:
        sim.deploy("reviews", port=9080)
        sim.upstream("reviews").fail(way)  # type: ignore[arg-type]
        call = sim.get(URL)
        assert (call.status, call.flags) == (status, (flag,))


def test_a_way_that_does_not_exist_is_refused(sim: Simulation) -> None:
    """The error names those that do."""
    with pytest.raises(ValueError, match="connect, unreachable"):
        sim.upstream("reviews").fail("explode")  # type: ignore[arg-type]


def test_an_upstream_that_is_not_known_names_those_that_are(sim: Simulation) -> None:
    """And what adds one; names outside of the mesh are fine."""
    with pytest.raises(MeshError, match=r"reviews\.default\.svc\.cluster\.local.*sim\.deploy\('ratings'"):
        sim.upstream("ratings")
    sim.upstream("api.example.com").respond(418)
    assert sim.get("http://api.example.com/").status == 418


def test_capacity_queues_and_overflows() -> None:
    """One at a time and one waiting; the third of a burst is turned away."""
    with Simulation() as sim:
        sim.upstream("slow.example.com").latency(1.0).capacity(1, queue=1, overflow=429)
        calls = sim.send("GET", "http://slow.example.com/", times=3, load=Bursts(size=3, every=1))
        assert [(call.status, call.latency) for call in calls] == [(200, 1.0), (200, 2.0), (429, 0.0)]


def test_loads_come_when_they_say() -> None:
    """Independent arrivals, bursts, and users who wait for their answers."""
    with Simulation(seed=5) as sim:
        sim.upstream("x.example.com").latency(0.5)
        url = "http://x.example.com/"
        poisson = sim.send("GET", url, times=1000, load=Poisson(rate=10))
        assert 80 < poisson[-1].started < 125
        bursts = sim.send("GET", url, times=10, load=Bursts(size=5, every=2))
        assert len({call.started for call in bursts}) == 2
        began = sim.now
        users = sim.send("GET", url, times=10, load=Users(count=2, think=1.5))
        assert max(call.started for call in users) - began == pytest.approx(4 * 2.0)


def test_a_background_load_goes_on_while_time_passes(sim: Simulation) -> None:
    """Its calls appear as they are answered."""
    calls = sim.start("GET", lambda number: f"{URL}{number}", times=100, every=1)
    sim.advance(9.5)
    assert len(list(calls)) == 10
    sim.upstream("reviews").respond(404)
    sim.advance(10)
    assert calls.statuses == {200: 10, 404: 10}
    assert calls[3].url == f"{URL}3"


@pytest.mark.parametrize(
    ("latency", "low", "high"),
    [
        (uniform(1, 2), 1, 2),
        (exponential(0.1), 0, 5),
        (lognormal(0.1, 1.0), 0, 20),
        (sampled([0.25]), 0.25, 0.25),
        (0.3, 0.3, 0.3),
    ],
)
def test_latencies_are_drawn_as_asked(latency: object, low: float, high: float) -> None:
    """Every draw lies where it must."""
    with Simulation() as sim:
        sim.upstream("x.example.com").latency(latency)  # type: ignore[arg-type]
        calls = sim.send("GET", "http://x.example.com/", times=200)
        assert all(low - 1e-9 <= one <= high + 1e-9 for one in calls.latencies)
        assert calls.percentile(0) <= calls.percentile(50) <= calls.percentile(99)


def test_services_call_each_other_by_their_own_view() -> None:
    """A rule for callers of one namespace only is a rule for them only; a broken dependency is a 502."""
    yaml = """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: ratings, namespace: default}
    spec:
      hosts: [ratings]
      http:
      - match: [{sourceLabels: {version: v2}}]
        fault: {abort: {httpStatus: 500, percentage: {value: 100}}}
        route: [{destination: {host: ratings}}]
      - route: [{destination: {host: ratings}}]
    """
    with Simulation(yaml) as sim:
        sim.deploy("ratings", port=9080)
        for version in ("v1", "v2"):
            sim.deploy("reviews", version=version, replicas=[f"10.0.1.{version[1]}"], port=9080)
        sim.upstream("reviews").calls("http://ratings:9080/ratings/0")
        calls = sim.send("GET", URL, times=40)
        assert {(call.endpoint, call.status) for call in calls} == {("10.0.1.1:9080", 200), ("10.0.1.2:9080", 502)}
        assert sim.service("reviews", version="v2").get("http://ratings:9080/").status == 500
        assert sim.get("http://ratings:9080/").status == 200


def test_a_call_on_behalf_of_another_carries_its_request_id() -> None:
    """What Istio asks applications to pass on is passed on; nothing else of the caller leaks."""
    seen: list[UpstreamRequest] = []

    async def reviews(request: UpstreamRequest) -> int:
        seen.append(request)
        await request.service.call("GET", "http://ratings:9080/")
        return 200

    with Simulation() as sim:
        sim.deploy("reviews", port=9080)
        sim.deploy("ratings", port=9080)
        sim.upstream("reviews").handle(reviews)
        sim.upstream("ratings").handle(lambda request: seen.append(request) or 200)
        sim.get(URL, headers={"x-request-id": "one", "cookie": "mine"})
        assert [request.headers["x-request-id"] for request in seen] == ["one", "one"]
        assert "cookie" not in seen[1].headers


def test_paths_are_those_of_clients(sim: Simulation) -> None:
    """Without dot segments, and without escapes that need not be."""
    seen: list[str] = []
    sim.upstream("reviews").handle(lambda request: seen.append(request.path) or 200)
    sim.get(URL + "x/%2e%2e/%61/./b")
    assert seen == ["/a/b"]


def test_a_mirror_gets_copies() -> None:
    """They arrive at the other upstream, and nobody waits for them."""
    yaml = """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: reviews, namespace: default}
    spec:
      hosts: [reviews]
      http:
      - route: [{destination: {host: reviews}}]
        mirror: {host: ratings}
    """
    with Simulation(yaml) as sim:
        sim.deploy("reviews", port=9080)
        ratings = sim.deploy("ratings", port=9080).latency(60)
        assert sim.send("GET", URL, times=10).percentile(100) < 1
        assert ratings.received == 10


def test_a_mirror_to_a_dialled_address_gets_none() -> None:
    """Envoy 1.40 has no address to send the copy to, though the cluster has endpoints."""
    yaml = """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: reviews, namespace: default}
    spec:
      hosts: [reviews]
      http:
      - route: [{destination: {host: reviews}}]
        mirror: {host: ratings}
    ---
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: ratings, namespace: default}
    spec: {host: ratings, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}
    """
    with Simulation(textwrap.dedent(yaml)) as sim:
        sim.deploy("reviews", port=9080)
        ratings = sim.deploy("ratings", port=9080)
        assert sim.send("GET", URL, times=10).statuses == {200: 10}
        assert ratings.received == 0
        assert "(never sent: " in str(sim.mesh.explain("GET", URL))


def test_faults_are_injected_for_as_long_as_the_experiment_lasts(sim: Simulation) -> None:
    """Above retries, as Istio has them; then everything is as before."""
    with sim.fault("reviews", abort=503, percent=50):
        calls = sim.send("GET", URL, times=400)
        assert 150 < calls.statuses[503] < 250
        assert calls.flags == {"FI": calls.statuses[503]}
    with sim.fault("reviews", delay=5):
        assert sim.get(URL).latency == pytest.approx(5.001)
    assert sim.send("GET", URL, times=20).statuses == {200: 20}


def test_a_simulation_that_waits_for_nothing_says_so() -> None:
    """A hanging upstream without any timeout would be a hanging test."""
    with Simulation() as sim:
        sim.upstream("x.example.com").fail("hang")
        with pytest.raises(StuckError, match="needs a timeout"):
            sim.get("http://x.example.com/")


def test_other_yaml_takes_effect_for_all_services(sim: Simulation) -> None:
    """What was deployed stays."""
    spec = {"hosts": ["reviews"], "http": [{"directResponse": {"status": 418}}]}
    meta = {"name": "reviews", "namespace": "default"}
    sim.publish({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec})
    assert sim.get(URL).status == 418
    assert sim.service("reviews").get(URL).status == 418


def test_what_failed_is_shown_with_the_timeline(sim: Simulation) -> None:
    """Without pytest too."""
    sim.upstream("reviews").respond(500, times=4)
    calls = sim.send("GET", URL, times=3)
    calls.check(most_attempts=6, p99_below=5)
    with pytest.raises(AssertionError, match=r"(?s)statuses are \{200: 2, 500: 1\}.*timeline:.*attempt 4"):
        calls.check(statuses={200: 3})


def test_a_handlers_mistake_is_raised_where_the_call_was_made(sim: Simulation) -> None:
    """It is the test that is wrong, not the upstream."""
    sim.upstream("reviews").handle(lambda request: request.json())
    with pytest.raises(ValueError, match="Expecting value"):
        sim.send("GET", URL, times=3, every=1)


def test_a_failure_from_a_handler_is_one(sim: Simulation) -> None:
    """Handlers may break the connection."""
    sim.upstream("reviews").handle(lambda _: Break("reset"), times=4)
    assert sim.get(URL).flags == ("URX", "UC")


def test_coverage_tells_what_no_call_has_exercised(sim: Simulation) -> None:
    """Route, retry, timeout and ejection of the YAML, each with its line."""
    sim.get(URL)
    assert str(sim.coverage).splitlines()[0] == "policy coverage: 25 % (1 of 4)"
    assert "the timeout ends it" in str(sim.coverage)
    sim.upstream("reviews").respond(503)
    sim.send("GET", URL, times=100)
    sim.upstream("reviews").fail("hang")
    sim.get(URL)
    assert sim.coverage.percent == 100
    assert sim.coverage.from_json(sim.coverage.to_json()).counts == sim.coverage.counts


NAMED = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: search, namespace: default}
spec:
  hosts: [search.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
"""


def test_names_resolve_for_their_time_to_live() -> None:
    """On virtual time; a name that is gone has no endpoint."""
    with Simulation(NAMED) as sim:
        get = lambda: sim.get("http://search.example.com/").endpoint  # noqa: E731
        assert get() == "search.example.com:80"
        sim.dns("search.example.com", "192.0.2.1", ttl=20)
        assert get() == "192.0.2.1:80"
        sim.dns("search.example.com", "192.0.2.2", ttl=20)
        sim.advance(19)
        assert get() == "192.0.2.1:80"
        sim.advance(1)
        assert get() == "192.0.2.2:80"
        sim.upstream("search.example.com").endpoint("192.0.2.2:80").respond(404)
        assert sim.get("http://search.example.com/").status == 404
        sim.dns("search.example.com")
        sim.advance(20)
        assert sim.get("http://search.example.com/").flags == ("UH",)
        sim.dns("search.example.com", "192.0.2.2")
        sim.advance(60)
        sim.publish(NAMED.replace("name: http", "name: http-web"))
        assert get() == "192.0.2.2:80"


def test_a_simulation_tells_what_it_cannot_run(sim: Simulation) -> None:
    """What is no work; and anything once it is closed."""
    with pytest.raises(TypeError, match="takes a coroutine, or a function without arguments, not 3"):
        sim.run(3)  # type: ignore[call-overload]
    sim.close()
    for ask in (lambda: sim.get(URL), lambda: sim.run(int), lambda: sim.advance(1.0)):
        with pytest.raises(RuntimeError, match="the simulation is closed: calls are made within its with block"):
            ask()
