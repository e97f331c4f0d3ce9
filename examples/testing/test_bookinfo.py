"""Bookinfo's YAML under test: five stories, each in milliseconds, without a cluster or a socket."""

from __future__ import annotations

import pytest

from meshlib.testing import Poisson
from meshlib.testing.plugin import SimulationFactory

pytestmark = pytest.mark.mesh("mesh/", namespace="bookinfo")

REVIEWS = "http://reviews:9080/reviews/0"
PRODUCTPAGE = "http://productpage:9080"
LEDGER = "http://ledger.vault.svc.cluster.local:9080"
ISSUER = "https://accounts.example"


def test_a_tenth_of_the_readers_see_the_canary(mesh_sim: SimulationFactory) -> None:
    """Testers are on v2, everybody else on v1 and, one in ten, on v3."""
    sim = mesh_sim()
    readers = sim.send("GET", REVIEWS, times=2000)
    assert 0.08 < readers.share("v3") < 0.12
    assert readers.routes == {"canary": 2000}
    testers = sim.send("GET", REVIEWS, times=50, headers={"end-user": "jason"})
    assert testers.subsets == {"v2": 50}


def test_an_outage_of_ratings_does_not_become_a_retry_storm(mesh_sim: SimulationFactory) -> None:
    """Each call may be repeated three times, but no more than two repetitions are on their way at once."""
    sim = mesh_sim()
    ratings = sim.upstream("ratings").latency(0.05).respond(503, lasting=60)
    calls = sim.send("GET", "http://ratings:9080/ratings/0", times=6000, load=Poisson(rate=100))
    during = calls.where(lambda call: call.started < 59)
    assert during.attempts < 1.4 * len(during)
    assert ratings.received == calls.attempts
    after = calls.where(lambda call: call.started > 61)
    assert after.attempts == len(after)


def test_one_bad_endpoint_is_taken_out_before_anybody_notices(mesh_sim: SimulationFactory) -> None:
    """It fails three times, is ejected for thirty seconds, and gets its traffic back once it is well."""
    sim = mesh_sim()
    bad = sim.upstream("reviews").endpoint("10.1.1.1:9080").respond(500, lasting=20)
    calls = sim.send("GET", REVIEWS, times=600, every=0.2)
    assert calls.statuses == {200: 600}
    assert calls.ejected == ["10.1.1.1:9080"]
    assert bad.received > 100
    assert sim.ejected == []


def test_a_token_opens_the_account_until_it_expires(mesh_sim: SimulationFactory) -> None:
    """Then it does not; one of a key that was withdrawn does until the keys are read again."""
    sim = mesh_sim()

    def account(token: str | None) -> int:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return sim.get(f"{PRODUCTPAGE}/account", headers=headers).status

    token = sim.token(ISSUER, sub="jason", expires_in=900)
    assert account(token) == 200
    assert account(None) == 403
    assert sim.get(f"{PRODUCTPAGE}/productpage").status == 200
    sim.advance(900 + 61)
    assert account(token) == 401
    renewed = sim.token(ISSUER, sub="jason")
    sim.rotate_keys()
    assert account(renewed) == 200
    sim.advance(20 * 60)
    assert account(renewed) == 401
    assert account(sim.token(ISSUER, sub="jason")) == 200


def test_nobody_but_reviews_reads_the_ledger(mesh_sim: SimulationFactory) -> None:
    """By the table that the team agreed on, and by calls from each service."""
    sim = mesh_sim()
    sim.authorize("access.csv").check()
    assert sim.service("reviews", version="v3").get(f"{LEDGER}/entries/7").status == 200
    assert sim.service("ratings").get(f"{LEDGER}/entries/7").status == 403


@pytest.mark.parametrize("endpoint", [f"10.1.1.{number}:9080" for number in range(1, 5)])
@pytest.mark.parametrize("way", ["connect", "reset", "hang"])
def test_no_single_endpoint_can_break_the_page(mesh_sim: SimulationFactory, endpoint: str, way: str) -> None:
    """Whichever it is, and however it fails."""
    sim = mesh_sim()
    sim.upstream("productpage").calls(REVIEWS)
    sim.upstream("reviews").calls("http://ratings:9080/ratings/0")
    sim.upstream("reviews").endpoint(endpoint).fail(way)  # type: ignore[arg-type]
    calls = sim.send("GET", f"{PRODUCTPAGE}/productpage", times=200, every=0.1)
    assert calls.statuses == {200: 200}
