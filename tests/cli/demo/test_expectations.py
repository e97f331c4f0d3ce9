"""What the demo reads out of a compiled configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshlib._snapshot.clusters import Cluster, Endpoint, OutlierDetection, TrafficPolicy
from meshlib._snapshot.matchers import Exact, HeaderMatch, RouteMatch
from meshlib._snapshot.routes import (
    DirectResponse,
    Forward,
    RetryPolicy,
    Route,
    RouteTable,
    VirtualHost,
    WeightedDestination,
)
from meshlib._snapshot.snapshot import Snapshot
from meshlib.cli.demo.expectations import Promise, Share, expect
from meshlib.cli.demo.ledger import EVERYONE, JASON

JASON_ONLY = RouteMatch((HeaderMatch("end-user", Exact("jason")),))
DETECTION = OutlierDetection(max_ejection_percent=50)


def make_cluster(*versions: str, outlier: OutlierDetection | None = None) -> Cluster:
    name = f"outbound|9080|{'-'.join(versions)}|reviews.default.svc.cluster.local"
    endpoints = tuple(
        Endpoint(address="127.0.0.1", port=number, labels={"version": version})
        for number, version in enumerate(versions, 1)
    )
    return Cluster(name=name, host="reviews", port=9080, endpoints=endpoints, policy=TrafficPolicy(outlier=outlier))


def to(*clusters: Cluster, weights: tuple[int, ...] = (1,), retry: RetryPolicy | None = None) -> Forward:
    targets = tuple(
        WeightedDestination(cluster=cluster.name, host=cluster.host, port=cluster.port, weight=weight)
        for cluster, weight in zip(clusters, weights, strict=True)
    )
    sums = tuple(sum(weights[: index + 1]) for index in range(len(weights)))
    return Forward(destinations=targets, sums=sums, retry=retry)


def promise(*routes: Route, clusters: tuple[Cluster, ...] = (), user: str = EVERYONE) -> Promise:
    host = VirtualHost(name="reviews", domains=("reviews",), routes=routes)
    table = RouteTable(exact={"reviews": host})
    snapshot = Snapshot(tables={9080: table}, clusters={cluster.name: cluster for cluster in clusters})
    return expect({"client": snapshot, "productpage": snapshot, "reviews": snapshot})["reviews", user]


def test_weights_become_shares_of_versions() -> None:
    """80 to 20 are shares of 0.8 and 0.2, named by the labels of the endpoints."""
    first, second = make_cluster("v1", "v1"), make_cluster("v2")
    found = promise(Route(match=RouteMatch(), action=to(first, second, weights=(80, 20))), clusters=(first, second))
    assert found.shares == (Share(("v1",), 0.8), Share(("v2",), 0.2))


def test_a_header_route_is_a_promise_to_its_user_alone() -> None:
    """Jason's rule comes first and concerns nobody else."""
    first, third = make_cluster("v1"), make_cluster("v3")
    routes = (Route(match=JASON_ONLY, action=to(third)), Route(match=RouteMatch(), action=to(first)))
    assert promise(*routes, clusters=(first, third), user=JASON).shares == (Share(("v3",), 1.0),)
    assert promise(*routes, clusters=(first, third)).shares == (Share(("v1",), 1.0),)


def test_one_destination_gets_everything() -> None:
    """The weight of a lone destination does not count, and its versions share its name."""
    both = make_cluster("v1", "v2")
    found = promise(Route(match=RouteMatch(), action=to(both, weights=(7,))), clusters=(both,))
    assert found.shares == (Share(("v1", "v2"), 1.0),)
    assert found.shares[0].name == "v1+v2"


@pytest.mark.parametrize(
    ("policy", "retries"),
    [
        (None, False),
        (RetryPolicy(attempts=2, conditions=frozenset({"connect-failure"})), False),
        (RetryPolicy(attempts=2, conditions=frozenset({"5xx"})), True),
        (RetryPolicy(attempts=2, conditions=frozenset({"gateway-error"})), True),
        (RetryPolicy(attempts=2, conditions=frozenset(), status_codes=frozenset({503})), True),
        (RetryPolicy(attempts=0, conditions=frozenset({"5xx"})), False),
    ],
    ids=["none", "default", "5xx", "gateway-error", "503", "off"],
)
def test_retries_after_503(policy: RetryPolicy | None, retries: bool) -> None:
    """Istio's default does not retry a 503; the demo must not claim that it does."""
    cluster = make_cluster("v1")
    found = promise(Route(match=RouteMatch(), action=to(cluster, retry=policy)), clusters=(cluster,))
    assert found.retries_503 is retries


@pytest.mark.parametrize(
    ("servers", "percent", "can_eject"), [(4, 50, True), (2, 50, True), (1, 50, False), (9, 10, False), (10, 10, True)]
)
def test_detection_that_cannot_eject_promises_nothing(servers: int, percent: int, can_eject: bool) -> None:
    """One of nine servers is more than the default of 10 %: nothing is ever ejected."""
    cluster = make_cluster(*["v1"] * servers, outlier=replace(DETECTION, max_ejection_percent=percent))
    found = promise(Route(match=RouteMatch(), action=to(cluster)), clusters=(cluster,))
    assert (found.outlier is not None) is can_eject


def test_a_request_that_is_not_forwarded_promises_no_shares() -> None:
    """A direct response, like a missing route, reaches no server."""
    answer = Route(match=RouteMatch(), action=DirectResponse(status=200))
    assert promise(answer).shares == ()
    assert promise().shares == ()
