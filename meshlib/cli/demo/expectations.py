"""What the configuration in force promises, read from its compiled form; nothing here knows the demo's own YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDict

from meshlib._http import RequestHead
from meshlib._snapshot.clusters import Cluster, OutlierDetection
from meshlib._snapshot.routes import Fault, Forward, RetryPolicy, Route
from meshlib._snapshot.snapshot import Snapshot
from meshlib.cli.demo.ledger import EVERYONE, JASON

__all__ = ["NO_FAULT", "USERS", "Expected", "Promise", "Share", "expect", "reaches"]

USERS: Final = (EVERYONE, JASON)

_CALLS: Final = {
    "productpage": ("client", "/productpage"),
    "details": ("productpage", "/details/0"),
    "reviews": ("productpage", "/reviews/0"),
    "ratings": ("reviews", "/ratings/0"),
}
"""Who calls each service, and for what path."""

NO_FAULT: Final = Fault()


@dataclass(frozen=True, slots=True)
class Share:
    """A share 0–1 of the requests, promised to the versions behind one destination."""

    versions: tuple[str, ...]
    ratio: float

    @property
    def name(self) -> str:
        """``v1``, or ``v1+v2`` for a destination with servers of both."""
        return "+".join(self.versions) or "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What one service promises one kind of user. No shares: the request is not forwarded.

    ``retries_503`` is whether the route tries again after a 503. ``outlier`` is the
    detection that can eject a server here; None if there is none, or if the share of
    one server is above its maximum.
    """

    service: str
    user: str
    route: str = ""
    shares: tuple[Share, ...] = ()
    fault: Fault = NO_FAULT
    retries_503: bool = False
    outlier: OutlierDetection | None = None


Expected = Mapping[tuple[str, str], Promise]
"""The promises by service and user."""


def expect(snapshots: Mapping[str, Snapshot]) -> Expected:
    """The promises of the configuration; ``snapshots`` by caller."""
    return {
        (service, user): _promise(snapshots[caller], service, user, path)
        for service, (caller, path) in _CALLS.items()
        for user in USERS
    }


def reaches(snapshot: Snapshot, service: str, path: str) -> bool:
    """Whether a plain request for a path is sent to the service, with no fault on its way."""
    request = RequestHead("GET", "http", f"{service}:9080", path, CIMultiDict(), port=9080, host=service)
    virtual_host = snapshot.find_host(request)
    route = None if virtual_host is None else virtual_host.match(request)
    return route is not None and isinstance(route.action, Forward) and not route.action.fault


def _promise(snapshot: Snapshot, service: str, user: str, path: str) -> Promise:
    headers = CIMultiDict({"end-user": JASON} if user == JASON else {})
    request = RequestHead("GET", "http", f"{service}:9080", path, headers, port=9080, host=service)
    virtual_host = snapshot.find_host(request)
    route = None if virtual_host is None else virtual_host.match(request)
    if route is None or not isinstance(route.action, Forward):
        return Promise(service=service, user=user)
    return _promise_of(snapshot, service, user, route, route.action)


def _promise_of(snapshot: Snapshot, service: str, user: str, route: Route, action: Forward) -> Promise:
    clusters = [snapshot.clusters.get(target.cluster) for target in action.destinations]
    total = sum(target.weight for target in action.destinations)
    shares = tuple(
        Share(_versions(cluster), target.weight / total if len(clusters) > 1 else 1.0)
        for target, cluster in zip(action.destinations, clusters, strict=True)
    )
    busiest = max(range(len(shares)), key=lambda index: shares[index].ratio, default=0)
    return Promise(
        service=service,
        user=user,
        route=route.name,
        shares=shares,
        fault=action.fault or NO_FAULT,
        retries_503=_retries_503(action.retry),
        outlier=_detection_of(clusters[busiest]) if clusters else None,
    )


def _retries_503(policy: RetryPolicy | None) -> bool:
    if policy is None or policy.attempts <= 0:
        return False
    return bool(policy.conditions & {"5xx", "gateway-error"}) or 503 in policy.status_codes


def _detection_of(cluster: Cluster | None) -> OutlierDetection | None:
    detection = None if cluster is None else cluster.policy.outlier
    if cluster is None or detection is None or not cluster.endpoints:
        return None
    return detection if 100 / len(cluster.endpoints) <= detection.max_ejection_percent else None


def _versions(cluster: Cluster | None) -> tuple[str, ...]:
    endpoints = () if cluster is None else cluster.endpoints
    return tuple(sorted({endpoint.labels.get("version", "?") for endpoint in endpoints}))
