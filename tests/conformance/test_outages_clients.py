"""What a real Envoy made of the outages, through every other client: same status, body, flags and attempts.

Where something waits, asynchronous clients play on virtual time with real connections, and
synchronous ones in a simulation, which has virtual time for them too. Where the upstream
answers at once, synchronous clients have real connections, and half a minute before a timeout
of the case runs out: no figure here depends on how fast the machine is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from meshlib import Mesh
from meshlib.events import ExchangeFinished
from meshlib.testing import Answer, Break, Simulation, VirtualClock, run_virtual
from tests.adapters.contract.servers import Loop
from tests.conformance.outages import scripted_server
from tests.corpus import load_corpus, load_own

CASES = [*load_corpus("resilience/outages.json")["cases"], *load_own("outages.json")["cases"]]
COMPARED = ("status", "body", "attempts", "flags", "upstream_calls")
SYNC = ("httpx", "httpx2", "requests", "urllib3")
MUCH_SLOWER = 200


def send(client: str, mesh: Any, case: dict[str, Any]) -> tuple[int, str]:
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


def facts(status: int, body: str, finished: list[ExchangeFinished], calls: int) -> dict[str, Any]:
    event = finished[0]
    values = (status, body, event.attempts, sorted(event.flags), calls)
    return dict(zip(COMPARED, values, strict=True))


def waits(case: dict[str, Any]) -> bool:
    """Whether the upstream takes its time, so that a timeout may run out."""
    return any(isinstance(answer, dict) and "delay_ms" in answer for answer in case["upstream"])


def slower(resources: str) -> str:
    """With all timeouts multiplied: what is answered at once must not look late on a busy machine."""
    duration = re.compile(r"(?<![A-Za-z])(timeout|perTryTimeout): ([\d.]+)(m?s)")
    return duration.sub(lambda found: f"{found[1]}: {float(found[2]) * MUCH_SLOWER:g}{found[3]}", resources)


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def play(client: str, case: dict[str, Any], loop: Loop) -> dict[str, Any]:
    """Over real connections."""
    finished: list[ExchangeFinished] = []
    context = scripted_server(case["upstream"])
    server = loop.run(context.__aenter__())
    mesh = Mesh.load(slower(case["resources"]).replace("PORT", str(server.port)))
    mesh.observe(finished.append, ExchangeFinished)  # type: ignore[arg-type]
    got = facts(*send(client, mesh, case), finished, server.calls)
    loop.run(context.__aexit__(None, None, None))
    return got


def play_waiting(client: str, case: dict[str, Any]) -> dict[str, Any]:
    """In a simulation."""
    finished: list[ExchangeFinished] = []
    with Simulation(case["resources"].replace("PORT", "8080")) as sim:
        sim.mesh.observe(finished.append, ExchangeFinished)
        upstream = sim.upstream(urlsplit(case["request"]["url"]).hostname or "")
        *script, last = map(reaction, case["upstream"])
        upstream.handle(lambda _: last).sequence(*script)
        return facts(*send(client, sim.mesh, case), finished, upstream.received)


def reaction(entry: Any) -> Any:
    """What a simulated upstream makes of an entry of a script."""
    if isinstance(entry, int):
        return Answer(status=entry)
    if entry == "reset":
        return Break("reset")
    delay, fields = entry.get("delay_ms", 0) / 1000, tuple(entry.get("headers", {}).items())
    return Answer(status=entry.get("status", 200), headers=fields, body=entry.get("body", "").encode(), delay=delay)


@pytest.mark.parametrize("client", SYNC)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_outage(case: dict[str, Any], client: str, loop: Loop) -> None:
    """Through httpx, httpx2, requests and urllib3."""
    got = play_waiting(client, case) if waits(case) else play(client, case, loop)
    assert got == {name: case["expect"][name] for name in COMPARED}


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
    return facts(reply.status_code, reply.text, finished, server.calls)
