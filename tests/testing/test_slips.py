"""Slips in a simulated world: told where they are made, since what is ignored makes a test pass."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlib import MeshError
from meshlib.testing import Bursts, Simulation, VirtualClock
from meshlib.testing.blocking import Blocking, run_in_memory
from meshlib.testing.memory_loop import MemoryLoop
from tests.testing.meshes import RETRIES, TEN

URL = "http://reviews:9080/"


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(RETRIES, seed=7) as made:
        made.deploy("reviews", replicas=TEN, port=9080)
        yield made


@pytest.mark.parametrize("url", ["https://reviews/", "http://reviews:81/", "http://reviews/"])
def test_a_call_to_a_wrong_port_does_not_take_the_services_name(sim: Simulation, url: str) -> None:
    """A script for it once went to the place where that call had ended, and no later call saw it."""
    assert sim.get(url).status == 503
    sim.upstream("reviews").respond(418)
    assert sim.get(URL).status == 418


def test_a_call_to_a_name_does_not_make_it_known(sim: Simulation) -> None:
    """A script for it could not be heard of."""
    assert sim.get("http://reviws:9080/").status == 503
    with pytest.raises(MeshError, match=r"'reviws' is none of reviews\.default\.svc\.cluster\.local; name it"):
        sim.upstream("reviws")


SLIPS: dict[str, tuple[Callable[[Simulation], object], type[Exception], str]] = {
    "an address as the list of them": (
        lambda sim: sim.deploy("x", replicas="10.0.0.1"),
        TypeError,
        "list of addresses",
    ),
    "an address with its port": (lambda sim: sim.deploy("x", replicas=["10.0.0.1:80"]), ValueError, "port is apart"),
    "replicas below none": (lambda sim: sim.deploy("x", replicas=-1), ValueError, "0 or more"),
    "a host as the name": (lambda sim: sim.deploy("x.shop"), ValueError, "no name of a service"),
    "no port": (lambda sim: sim.deploy("x", port=0), ValueError, "1 to 65535"),
    "a port as text": (lambda sim: sim.deploy("x", port=_any("80")), ValueError, "'80'"),
    "latency as text": (lambda sim: sim.upstream("reviews").latency(_any("3s")), TypeError, "number of seconds"),
    "latency of a rule": (lambda sim: sim.upstream("reviews").respond(latency=-1.0), ValueError, "0 or more"),
    "no capacity": (lambda sim: sim.upstream("reviews").capacity(0), ValueError, "answers none"),
    "an abort that is none": (lambda sim: sim.fault("reviews", abort=3).__enter__(), ValueError, "200 to 599"),
    "a delay into the past": (lambda sim: sim.fault("reviews", delay=-1).__enter__(), ValueError, "0 or more"),
    "more than all": (lambda sim: sim.fault("reviews", abort=503, percent=500).__enter__(), ValueError, "0 to 100"),
    "a name for a name": (lambda sim: sim.dns("api.example", "other.example"), ValueError, "is no address"),
    "calls into the past": (lambda sim: sim.send("GET", URL, times=2, every=-1), ValueError, "every is -1"),
    "calls below none": (lambda sim: sim.send("GET", URL, times=-2), ValueError, "times is -2"),
}


def _any(value: object) -> Any:
    return value


@pytest.mark.parametrize("slip", SLIPS)
def test_what_no_cluster_would_take_is_refused(sim: Simulation, slip: str) -> None:
    """With what it was, and what it is to be."""
    make, kind, message = SLIPS[slip]
    with pytest.raises(kind, match=message):
        make(sim)


def test_a_coroutine_of_another_loop_is_refused_wherever_it_calls(sim: Simulation) -> None:
    """There, an upstream's seconds were real ones, while the clock stood still and no timeout of the mesh passed."""

    async def by_call() -> object:
        return await sim.client.call("GET", URL)

    async def by_aiohttp() -> object:
        async with sim.aiohttp() as session, session.get(URL) as response:
            return response.status

    for work in (by_call, by_aiohttp):
        with pytest.raises(RuntimeError, match=r"given to sim\.run\(\), .*@pytest\.mark\.mesh; .*sim\.app"):
            asyncio.run(work())


def test_bursts_of_no_calls_are_refused() -> None:
    """They would never end."""
    with pytest.raises(ValueError, match="size is 0"):
        Bursts(size=0, every=1)


def test_a_mistake_in_the_background_is_raised_when_time_passes(sim: Simulation) -> None:
    """Or at the end; it was a line in a log, and calls that were missing."""
    sim.upstream("reviews").handle(lambda request: request.json())
    sim.start("GET", URL, times=1)
    with pytest.raises(ValueError, match="Expecting value"):
        sim.advance(1)
    sim.advance(1)
    sim.start("GET", "reviews", times=1)
    sim.get("http://elsewhere.example/")
    with pytest.raises(ValueError, match="not an absolute"):
        sim.close()


def test_nothing_stays_of_a_loop_that_is_closed() -> None:
    """Every simulation has one, and once left it behind; tests are many."""
    assert run_in_memory(asyncio.sleep(60, "slept")) == "slept"
    loop = MemoryLoop(VirtualClock())
    assert Blocking.of(loop) is Blocking.of(loop)
    loop.close()
    kept = weakref.ref(loop)
    del loop
    gc.collect()
    assert kept() is None
