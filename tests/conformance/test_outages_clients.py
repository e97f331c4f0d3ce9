"""What a real Envoy made of the outages, through every other client: same status, body, flags and attempts.

Asynchronous clients play on virtual time. Synchronous ones wait for real, so the cases in which
something waits are played at the same time by a few threads, and each row is then a look at what
came out. Their times are a multiple of those of the case: an answer that was quick behind Envoy
must not look late on a busy machine. Where the upstream answers at once, no timeout may run out
at all, so these have half a minute, and are played before the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meshlib import Mesh
from meshlib.events import ExchangeFinished
from meshlib.testing import VirtualClock, run_virtual
from tests.adapters.contract.servers import Loop
from tests.conformance.outages import ScriptedServer, scripted_server
from tests.corpus import load_corpus, load_own

CASES = [*load_corpus("resilience/outages.json")["cases"], *load_own("outages.json")["cases"]]
COMPARED = ("status", "body", "attempts", "flags", "upstream_calls")
SYNC = ("httpx", "httpx2", "requests", "urllib3")
WAITING_THREADS = 12
SLOWER = 6
MUCH_SLOWER = 200

Answers = dict[str, dict[str, Any]]


def send(client: str, mesh: Mesh, case: dict[str, Any]) -> tuple[int, str]:
    """One request through a synchronous client, without a timeout of its own."""
    request = case["request"]
    headers = {name: value for name, value in request["headers"].items() if name != "content-length"}
    method, url, body = request["method"], request["url"], (request.get("body") or "").encode() or None
    if client in ("httpx", "httpx2"):
        with mesh.httpx(timeout=None, verify=False, package=client) as session:
            reply = session.request(method, url, headers=headers, content=body)
            return reply.status_code, reply.text
    if client == "requests":
        with mesh.requests() as session:
            answer = session.request(method, url, headers=headers, data=body)
            return answer.status_code, answer.text
    manager = mesh.urllib3()
    raw = manager.request(method, url, headers=headers, body=body, redirect=False)
    manager.clear()
    return raw.status, raw.data.decode()


def facts(status: int, body: str, finished: list[ExchangeFinished], server: ScriptedServer) -> dict[str, Any]:
    event = finished[0]
    values = (status, body, event.attempts, sorted(event.flags), server.calls)
    return dict(zip(COMPARED, values, strict=True))


def waits(case: dict[str, Any]) -> bool:
    """Whether the upstream takes its time, so that a timeout may run out."""
    return any(isinstance(answer, dict) and "delay_ms" in answer for answer in case["upstream"])


def slower(case: dict[str, Any]) -> dict[str, Any]:
    """The case with all its timeouts and delays multiplied."""
    factor = SLOWER if waits(case) else MUCH_SLOWER
    duration = re.compile(r"(?<![A-Za-z])(timeout|perTryTimeout): ([\d.]+)(m?s)")
    text = duration.sub(lambda found: f"{found[1]}: {float(found[2]) * factor:g}{found[3]}", case["resources"])
    upstream = [
        {**answer, "delay_ms": answer["delay_ms"] * factor} if "delay_ms" in answer else answer
        for answer in ({"status": one} if isinstance(one, int) else one for one in case["upstream"])
    ]
    return {**case, "resources": text, "upstream": upstream}


def play(client: str, mesh: Mesh, server: ScriptedServer, case: dict[str, Any]) -> dict[str, Any]:
    finished: list[ExchangeFinished] = []
    mesh.observe(finished.append, ExchangeFinished)  # type: ignore[arg-type]
    status, body = send(client, mesh, case)
    return facts(status, body, finished, server)


@pytest.fixture(scope="module", params=SYNC)
def answers(request: pytest.FixtureRequest) -> Iterator[Answers]:
    """Every case, played through one client."""
    loop = Loop()
    try:
        # What takes the processor's time is done before anything waits; who waits for long begins first.
        cases = sorted(map(slower, CASES), key=lambda case: (waits(case), -case["expect"].get("elapsed_ms", 0)))
        contexts = [scripted_server(case["upstream"]) for case in cases]
        servers = [loop.run(context.__aenter__()) for context in contexts]
        meshes = [
            Mesh.load(case["resources"].replace("PORT", str(server.port)))
            for case, server in zip(cases, servers, strict=True)
        ]
        todo = list(zip([request.param] * len(cases), meshes, servers, cases, strict=True))
        quick = sum(not waits(case) for case in cases)
        played = [play(*one) for one in todo[:quick]]
        with ThreadPoolExecutor(WAITING_THREADS) as pool:
            played += pool.map(lambda one: play(*one), todo[quick:])
        yield {case["id"]: got for case, got in zip(cases, played, strict=True)}
        for context in contexts:
            loop.run(context.__aexit__(None, None, None))
    finally:
        loop.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_outage(case: dict[str, Any], answers: Answers) -> None:
    """Through httpx, httpx2, requests and urllib3."""
    assert answers[case["id"]] == {name: case["expect"][name] for name in COMPARED}


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_outage_on_asyncio(case: dict[str, Any], package: str) -> None:
    """Through the AsyncClient of httpx and of httpx2, on virtual time."""
    pytest.importorskip(package)
    clock = VirtualClock()
    got = run_virtual(play_async(case, clock, package), clock)
    assert got == {name: case["expect"][name] for name in COMPARED}


async def play_async(case: dict[str, Any], clock: VirtualClock, package: str) -> dict[str, Any]:
    finished: list[ExchangeFinished] = []
    async with scripted_server(case["upstream"]) as server:
        mesh = Mesh.load(case["resources"].replace("PORT", str(server.port)), clock=clock)
        mesh.observe(finished.append, ExchangeFinished)  # type: ignore[arg-type]
        request = case["request"]
        headers = {name: value for name, value in request["headers"].items() if name != "content-length"}
        body = (request.get("body") or "").encode() or None
        async with mesh.httpx_async(timeout=None, package=package) as client:
            reply = await client.request(request["method"], request["url"], headers=headers, content=body)
    return facts(reply.status_code, reply.text, finished, server)
