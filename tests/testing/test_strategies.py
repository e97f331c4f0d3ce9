"""Statements about all requests, outages and splits."""

from __future__ import annotations

import unittest
from typing import Any

import pytest
from hypothesis import given, settings

from meshlib.testing import Simulation
from meshlib.testing.strategies import DrawnRequest, Outage, outages, requests, splits
from tests.testing.meshes import CANARY, RETRIES, TEN

ENDPOINTS = [f"{address}:9080" for address in TEN]


@given(outage=outages(ENDPOINTS, ways=("connect", "reset", 500, 503)))
@settings(max_examples=20)
def test_no_single_endpoint_failure_surfaces_as_an_error(outage: Outage) -> None:
    """Whichever endpoint, however it fails, whenever."""
    with Simulation(RETRIES, seed=1) as sim:
        sim.deploy("reviews", replicas=TEN, port=9080)
        outage.strike(sim.upstream("reviews"))
        assert sim.send("GET", "http://reviews:9080/", times=60, every=1).statuses == {200: 60}


@given(request=requests("reviews:9080", headers=("end-user", "x-other")))
@settings(max_examples=30)
def test_the_simulation_does_what_explain_says(request: DrawnRequest) -> None:
    """The route that a request takes is the one that is explained."""
    with Simulation(CANARY, seed=1) as sim:
        for version in ("v1", "v2"):
            sim.deploy("reviews", version=version, port=9080)
        call = sim.request(request.method, request.url, headers=request.headers)
        assert call.route == sim.explain(request.method, request.url, headers=request.headers).route
        assert call.status == 200


@given(split=splits("reviews", ["v1", "v2", "v3"]))
@settings(max_examples=20)
def test_a_subset_without_weight_gets_nothing(split: dict[str, Any]) -> None:
    """And those with weight get their share."""
    weights = {route["destination"]["subset"]: route["weight"] for route in split["spec"]["http"][0]["route"]}
    rule = CANARY.partition("---")[2] + "  - {name: v3, labels: {version: v3}}\n"
    with Simulation([split, rule], seed=1) as sim:
        for version in weights:
            sim.deploy("reviews", version=version, port=9080)
        calls = sim.send("GET", "http://reviews:9080/", times=300)
        for version, weight in weights.items():
            assert calls.share(version) == pytest.approx(weight / 100, abs=0 if weight in (0, 100) else 0.13)


class TestWithUnittest(unittest.TestCase):
    """A simulation needs no pytest."""

    def setUp(self) -> None:
        self.sim = self.enterContext(Simulation(RETRIES, seed=7))
        self.sim.deploy("reviews", replicas=TEN, port=9080)

    def test_a_bad_endpoint(self) -> None:
        self.sim.upstream("reviews").endpoint(ENDPOINTS[0]).respond(503)
        calls = self.sim.send("GET", "http://reviews:9080/", times=200, every=0.1)
        calls.check(statuses={200: 200}, ejected=ENDPOINTS[:1], p99_below=1)
