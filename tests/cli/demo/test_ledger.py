"""What the demo counts."""

from __future__ import annotations

from meshlib.cli.demo.ledger import EVERYONE, JASON, Ledger, service_of
from meshlib.events import EndpointEjected, EndpointUnejected, FaultInjected, RetryScheduled

CLUSTER = "outbound|9080|v1|reviews.default.svc.cluster.local"


def make_ledger(at: float = 2.0) -> Ledger:
    return Ledger(lambda: at, {"127.0.0.1:1": "reviews-v1-1"}.__getitem__)


def page(version: str, *, ratings: int | None = None) -> dict[str, object]:
    reviews: dict[str, object] = {"status": 200, "version": version}
    if ratings is not None:
        reviews["ratings"] = {"status": ratings}
    return {"details": {"status": 200}, "reviews": reviews}


def test_a_page_tells_of_all_calls_behind_it() -> None:
    """One page of v2 is four calls, one of which failed."""
    ledger = make_ledger()
    ledger.record_page(EVERYONE, 200, page("v2", ratings=500))
    assert {(call.service, call.status): number for call, number in ledger.calls.items()} == {
        ("productpage", 200): 1,
        ("details", 200): 1,
        ("reviews", 200): 1,
        ("ratings", 500): 1,
    }
    assert ledger.reviewed(EVERYONE) == {"v2": 1}


def test_users_are_counted_apart() -> None:
    """Jason's pages are no part of everyone's shares."""
    ledger = make_ledger()
    ledger.record_page(JASON, 200, page("v3", ratings=200))
    ledger.record_page(EVERYONE, 200, page("v1"))
    assert ledger.reviewed(JASON) == {"v3": 1}
    assert ledger.reviewed(EVERYONE) == {"v1": 1}
    assert ledger.count("reviews", JASON) == 1
    assert ledger.count("reviews") == 2


def test_a_page_that_failed_has_nothing_behind_it() -> None:
    """Without a page only the request for it counts."""
    ledger = make_ledger()
    ledger.record_page(EVERYONE, 0, {})
    assert ledger.calls.total() == 1
    assert ledger.count("productpage", matches=bool) == 0


def test_faults_and_retries_are_counted_by_service() -> None:
    """Events name hosts and clusters; the demo thinks in services."""
    ledger = make_ledger()
    ledger.observe(FaultInjected(host="ratings:9080", route="bad", kind="abort", status=500))
    ledger.observe(FaultInjected(host="ratings:9080", route="slow", kind="delay", seconds=0.1))
    ledger.observe(RetryScheduled(cluster=CLUSTER, attempt=2, backoff=0.0, reason="5xx"))
    assert ledger.aborts == {("ratings", "bad"): 1}
    assert ledger.delays == {("ratings", "slow"): 1}
    assert ledger.retries == {"reviews": 1}
    assert ledger.injected_errors == 1


def test_an_ejection_is_noted_until_the_return() -> None:
    """While an endpoint is out, the ledger knows when it may come back."""
    ledger = make_ledger(at=2.0)
    ledger.observe(EndpointEjected(cluster=CLUSTER, endpoint="127.0.0.1:1", reason="consecutive5xxErrors", seconds=1.0))
    assert ledger.ejected == {"127.0.0.1:1": 3.0}
    ledger.observe(EndpointUnejected(cluster=CLUSTER, endpoint="127.0.0.1:1"))
    assert ledger.ejected == {}
    assert [note.text for note in ledger.notes] == [
        "reviews-v1-1 ejected (consecutive5xxErrors)",
        "reviews-v1-1 is back in the balancer",
    ]


def test_names_of_clusters_and_hosts_are_shortened() -> None:
    """Both become the name of the service."""
    assert service_of(CLUSTER) == "reviews"
    assert service_of("ratings:9080") == "ratings"
    assert service_of("details.default.svc.cluster.local") == "details"
