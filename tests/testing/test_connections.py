"""Connections of a simulation: there are none, but what a cluster limits of them holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from meshlib.testing import Bursts, Simulation

URL = "http://reviews:9080/"
PENDING = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  trafficPolicy:
    connectionPool: {http: {http1MaxPendingRequests: 1}}
"""


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(PENDING) as made:
        made.deploy("reviews", port=9080).latency(0.1)
        yield made


def test_a_burst_waits_for_connections_as_in_production(sim: Simulation) -> None:
    """One more connection is made at a time; those of earlier bursts are open still. All eight once passed."""
    calls = sim.send("GET", URL, times=24, load=Bursts(size=8, every=10))
    served = [sum(call.status == 200 for call in list(calls)[first : first + 8]) for first in (0, 8, 16)]
    assert served == [1, 2, 3]
    assert calls.flags == {"UO": 18}
    assert sim.upstream("reviews").received == 6


def test_connections_for_one_request_are_all_new(sim: Simulation) -> None:
    """None of them is there for the next burst."""
    sim.publish(
        PENDING.replace("http1MaxPendingRequests: 1", "http1MaxPendingRequests: 1, maxRequestsPerConnection: 1")
    )
    assert sim.send("GET", URL, times=24, load=Bursts(size=8, every=10)).statuses == {200: 3, 503: 21}


def test_what_broke_off_has_lost_its_connection(sim: Simulation) -> None:
    """The next burst starts with one connection less."""
    calls = sim.send("GET", URL, times=8, load=Bursts(size=4, every=10))
    assert calls.statuses == {200: 3, 503: 5}
    sim.upstream("reviews").fail("reset", times=1)
    assert sim.get(URL).flags == ("UC",)
    assert sim.send("GET", URL, times=4, load=Bursts(size=4, every=10)).statuses == {200: 2, 503: 2}


def test_calls_one_after_another_are_not_pending(sim: Simulation) -> None:
    """However near each other they are."""
    assert sim.send("GET", URL, times=50, every=0.01).statuses == {200: 50}


async def _by_aiohttp(sim: Simulation, times: int) -> list[int]:
    async with sim.aiohttp() as session:

        async def one() -> int:
            async with session.get(URL) as response:
                return response.status

        return await asyncio.gather(*(one() for _ in range(times)))


async def _by_httpx(sim: Simulation, times: int) -> list[int]:
    async with sim.httpx_async() as client:
        return [answer.status_code for answer in await asyncio.gather(*(client.get(URL) for _ in range(times)))]


@pytest.mark.parametrize("burst", [_by_aiohttp, _by_httpx])
def test_clients_wait_for_connections_too(
    sim: Simulation, burst: Callable[[Simulation, int], Coroutine[Any, Any, list[int]]]
) -> None:
    """Each in its own way, to the same end."""
    assert [sim.run(burst(sim, 8)).count(200) for _ in range(3)] == [1, 2, 3]


def test_a_place_where_nothing_listens_has_no_connection_to_spare(sim: Simulation) -> None:
    """Whoever waits for its connection in vain is pending all that time."""
    sim.upstream("reviews").fail("unreachable", lasting=5)
    calls = sim.send("GET", URL, times=3, every=1)
    assert [call.flags for call in calls] == [(), ("UO",), ("UO",)]
    assert calls[0].latency > 10  # the connect timeout; then it was tried again
    assert sim.send("GET", URL, times=3, load=Bursts(size=3, every=10)).statuses == {200: 2, 503: 1}
