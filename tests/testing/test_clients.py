"""Real clients in a simulation: code under test runs unchanged, on virtual time, without a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from meshlib import RefusedError
from meshlib.testing import Simulation, UpstreamRequest
from tests.testing.meshes import RETRIES, TEN

URL = "http://reviews:9080/reviews/0?page=1"
CLIENTS = ["aiohttp", "httpx", "httpx_async", "requests", "urllib3"]


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(RETRIES, seed=7) as made:
        made.deploy("reviews", replicas=TEN, port=9080)
        yield made


async def _by_aiohttp(sim: Simulation, body: bytes, **arguments: Any) -> tuple[int, bytes]:
    async with sim.aiohttp(**arguments) as session, session.post(URL, data=body) as response:
        return response.status, await response.read()


async def _by_httpx_async(sim: Simulation, body: bytes, **arguments: Any) -> tuple[int, bytes]:
    async with sim.httpx_async(timeout=None, **arguments) as client:
        response = await client.post(URL, content=body)
        return response.status_code, response.content


def _by_httpx(sim: Simulation, body: bytes, **arguments: Any) -> tuple[int, bytes]:
    with sim.httpx(timeout=None, **arguments) as client:
        response = client.post(URL, content=body)
        return response.status_code, response.content


def _by_requests(sim: Simulation, body: bytes, **arguments: Any) -> tuple[int, bytes]:
    with sim.requests(**arguments) as session:
        response = session.post(URL, data=body)
        return response.status_code, response.content


def _by_urllib3(sim: Simulation, body: bytes, **arguments: Any) -> tuple[int, bytes]:
    response = sim.mesh.urllib3(**arguments).request("POST", URL, body=body)
    return response.status, response.data


@pytest.fixture(params=CLIENTS)
def post(request: pytest.FixtureRequest, sim: Simulation) -> Callable[..., tuple[int, bytes]]:
    """POST a body by one of the clients."""

    def call(body: bytes = b"hello", **arguments: Any) -> tuple[int, bytes]:
        match request.param:
            case "aiohttp":
                return sim.run(_by_aiohttp(sim, body, **arguments))
            case "httpx_async":
                return sim.run(_by_httpx_async(sim, body, **arguments))
            case "httpx":
                return _by_httpx(sim, body, **arguments)
            case "requests":
                return _by_requests(sim, body, **arguments)
            case _:
                return _by_urllib3(sim, body, **arguments)

    return call


def test_a_request_arrives_whole_and_its_answer_returns(
    post: Callable[..., tuple[int, bytes]], sim: Simulation
) -> None:
    """Method, path, host, body and headers there; status and body back."""
    seen: list[UpstreamRequest] = []

    def answer(request: UpstreamRequest) -> dict[str, str]:
        seen.append(request)
        return {"by": request.principal}

    sim.upstream("reviews").handle(answer)
    status, body = post(b"x" * 10_000)
    assert (status, body) == (200, b'{"by": "cluster.local/ns/default/sa/default"}')
    assert (seen[0].method, seen[0].path, seen[0].host) == ("POST", "/reviews/0?page=1", "reviews:9080")
    assert seen[0].body == b"x" * 10_000
    assert seen[0].headers["x-request-id"]
    assert seen[0].endpoint.startswith("10.0.0.")


def test_failures_are_retried_on_virtual_time(post: Callable[..., tuple[int, bytes]], sim: Simulation) -> None:
    """Answers and broken connections; the back-off is waited for on the simulation's clock."""
    sim.upstream("reviews").sequence(503, 500, 502)
    began = time.monotonic()
    assert post()[0] == 200
    assert 0 < sim.now < 1
    sim.upstream("reviews").latency(600).respond(200)
    assert post()[0] == 504
    assert time.monotonic() - began < 30
    assert sim.now > 10


@pytest.mark.parametrize("way", ["connect", "reset", "hang", "unreachable", "protocol", "tls"])
def test_every_way_to_fail_is_what_a_sidecar_makes_of_it(
    post: Callable[..., tuple[int, bytes]], sim: Simulation, way: str
) -> None:
    """The same status as the simulation's own calls get."""
    sim.upstream("reviews").fail(way)  # type: ignore[arg-type]
    assert post()[0] == sim.request("POST", URL).status


def test_refusals_can_be_raised(post: Callable[..., tuple[int, bytes]], sim: Simulation) -> None:
    """As outside of a simulation."""
    sim.upstream("reviews").fail("connect")
    with pytest.raises(RefusedError, match="UF"):
        post(raise_on_refusal=True)


def test_the_timeout_of_the_caller_is_his_own(sim: Simulation) -> None:
    """Each library raises its own error, after that much virtual time."""
    sim.upstream("reviews").latency(60)

    async def by_aiohttp() -> None:
        async with sim.aiohttp(timeout=aiohttp.ClientTimeout(total=2)) as session, session.get(URL):
            pass

    with pytest.raises(TimeoutError):
        sim.run(by_aiohttp())
    with sim.httpx(timeout=3) as client, pytest.raises(httpx.ReadTimeout):
        client.get(URL)
    with sim.requests() as session, pytest.raises(requests.Timeout):
        session.get(URL, timeout=4)
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        sim.mesh.urllib3().request("GET", URL, timeout=1)
    assert sim.now == pytest.approx(10)


def test_code_that_sleeps_and_calls_takes_no_time(sim: Simulation) -> None:
    """Three hours of a blocking loop with its own back-off."""

    def poll() -> float:
        began = time.time()
        with sim.requests() as session:
            for _ in range(180):
                assert session.get(URL).status_code == 200
                time.sleep(60)
        return time.time() - began

    began = time.monotonic()
    assert sim.run(poll) == pytest.approx(3 * 3600, abs=1)
    assert time.monotonic() - began < 30


def test_code_that_takes_a_mesh_is_given_that_of_the_simulation(sim: Simulation) -> None:
    """Its clients end in the simulation too."""

    async def fetch(mesh: Any) -> list[int]:
        async with mesh.aiohttp() as session:

            async def get() -> int:
                await asyncio.sleep(3600)
                async with session.get(URL) as response:
                    return int(response.status)

            return list(await asyncio.gather(*(get() for _ in range(5))))

    assert sim.run(fetch(sim.mesh)) == [200] * 5
    assert sim.now == pytest.approx(3600.001)


def test_a_session_outside_of_virtual_time_is_refused(sim: Simulation) -> None:
    """Its timeouts would be real ones."""

    async def make() -> None:
        sim.aiohttp()

    with pytest.raises(RuntimeError, match=r"sim\.run"):
        asyncio.run(make())
    with pytest.raises(TypeError, match="connector"):
        sim.run(_by_aiohttp(sim, b"", connector=None))
    with pytest.raises(TypeError, match="transport"):
        sim.httpx(transport=httpx.HTTPTransport())


def test_calls_within_another_loop_work(sim: Simulation) -> None:
    """A test that is a coroutine of some other loop can use the blocking calls of a simulation."""

    async def main() -> int:
        return sim.get(URL).status

    assert asyncio.run(main()) == 200


@pytest.mark.parametrize("client", CLIENTS)
def test_what_has_no_body_in_http_has_none_here(client: str, sim: Simulation) -> None:
    """Answers to HEAD, and 204: a script's body was read by httpx, and by `sim.request`."""
    reviews = sim.upstream("reviews").respond(200, body="five", times=2)
    assert sim.request("HEAD", URL).body == b""

    def ask(method: str) -> tuple[int, bytes, str | None]:
        match client:
            case "aiohttp":
                return sim.run(_ask_by_aiohttp(sim, method))
            case "httpx_async":
                return sim.run(_ask_by_httpx_async(sim, method))
            case "urllib3":
                found = sim.mesh.urllib3().request(method, URL)
                return found.status, found.data, found.headers.get("content-length")
        with sim.httpx() if client == "httpx" else sim.requests() as made:
            answer = made.request(method, URL)
            return answer.status_code, answer.content, answer.headers.get("content-length")

    assert ask("HEAD") == (200, b"", "4")
    reviews.respond(204, body="five", times=2)
    assert ask("GET") == (204, b"", None)
    assert sim.get(URL).body == b""


async def _ask_by_aiohttp(sim: Simulation, method: str) -> tuple[int, bytes, str | None]:
    async with sim.aiohttp() as session, session.request(method, URL) as answer:
        return answer.status, await answer.read(), answer.headers.get("content-length")


async def _ask_by_httpx_async(sim: Simulation, method: str) -> tuple[int, bytes, str | None]:
    async with sim.httpx_async() as client:
        answer = await client.request(method, URL)
        return answer.status_code, answer.content, answer.headers.get("content-length")
