"""What a real Envoy made of 220 outages and of 153 of our own: same status, body, flags and attempts."""

from __future__ import annotations

import io
from typing import Any

import pytest

from meshlib import Mesh
from meshlib.events import ExchangeFinished
from meshlib.testing import VirtualClock, run_virtual
from tests.adapters.prepared_calls import prepare_calls
from tests.conformance.outages import scripted_server
from tests.corpus import load_corpus, load_own

CASES = [*load_corpus("resilience/outages.json")["cases"], *load_own("outages.json")["cases"]]


@pytest.mark.parametrize("is_prepared", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_outage(case: dict[str, Any], is_prepared: bool) -> None:
    """Through aiohttp, on virtual time: as the first call of its kind, and as one that aiohttp has prepared before."""
    clock = VirtualClock()
    got = run_virtual(_play(case, clock, is_prepared=is_prepared), clock)
    expect = case["expect"]
    assert got == {name: expect[name] for name in ("status", "body", "attempts", "flags", "upstream_calls")}


async def _play(case: dict[str, Any], clock: VirtualClock, *, is_prepared: bool) -> dict[str, Any]:
    finished: list[ExchangeFinished] = []
    async with scripted_server(case["upstream"]) as server:
        mesh = Mesh.load(case["resources"].replace("PORT", str(server.port)), clock=clock)
        mesh.observe(finished.append, ExchangeFinished)  # type: ignore[arg-type]
        request = case["request"]
        headers = {name: value for name, value in request["headers"].items() if name != "content-length"}
        async with mesh.aiohttp() as session:
            if is_prepared:
                prepare_calls(session)
            body = request.get("body")
            if body is not None and len(body) > 2**20:
                body = io.BytesIO(body.encode())  # aiohttp warns of text that is this long
            async with session.request(request["method"], request["url"], headers=headers, data=body) as response:
                text = await response.text()
    event = finished[0]
    return {
        "status": response.status,
        "body": text,
        "attempts": event.attempts,
        "flags": sorted(event.flags),
        "upstream_calls": server.calls,
    }
