"""Outlier detection: which endpoints are judged bad, taken out and put back (semantics 4.12).

Rules, after Envoy's ``outlier_detection_impl.cc``:

* Each finished attempt moves the consecutive counters of its endpoint. A counter
  that reaches its threshold is set back to 0 and tries to eject the endpoint.
* An endpoint is ejected if ``100 × (ejected + 1) / endpoints`` does not exceed
  maxEjectionPercent, over all endpoints of the cluster. With the default 10 % a
  cluster of fewer than 10 endpoints never ejects.
* Every ``interval`` a sweep puts back endpoints whose time is over
  (``baseEjectionTime × ejections in a row``, at most 300 s) and forgives one
  ejection of each endpoint that has been back for an interval.

Nothing here runs by itself: sweeps that are due are made up for, one by one, by the
next pick or record. Since only those two look at the result, that is the same.
"""

from __future__ import annotations

from typing import Final

from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._http import Failure, FailureKind, Outcome, Response, grpc_code
from meshlib._snapshot.clusters import OutlierDetection
from meshlib.events import EndpointEjected, EndpointUnejected, Event

__all__ = ["record_locked", "sweep_locked"]

HTTP_OF_GRPC_STATUS: Final = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429,
    9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip


def record_locked(
    live: LiveCluster, host: EndpointState, outcome: Outcome, now: float, *, is_grpc: bool = False
) -> Event | None:
    """Judge one finished attempt; the event if the endpoint was ejected by it. ``is_grpc``: that of a gRPC request."""
    detection = live.cluster.policy.outlier
    if detection is None:
        return None
    if type(outcome) is Response:
        reason = _record_response(detection, host, outcome, is_grpc=is_grpc)
    else:
        assert isinstance(outcome, Failure)
        reason = _record_failure(detection, host, outcome)
    return _try_eject(live, detection, host, reason, now) if reason else None


def _record_response(
    detection: OutlierDetection, host: EndpointState, response: Response, *, is_grpc: bool
) -> str | None:
    if detection.split_local:
        host.consecutive_local = 0
    status = response.status
    code = grpc_code(response.headers.get("grpc-status", "")) if is_grpc else None
    if code is not None:  # whatever the HTTP status is
        status = HTTP_OF_GRPC_STATUS.get(code, 500)
    if detection.error_codes:
        # Listed codes are failures in place of 5xx; a failure counts as a plain 500.
        status = 500 if status in detection.error_codes else 200
    return _count(detection, host, status)


def _record_failure(detection: OutlierDetection, host: EndpointState, failure: Failure) -> str | None:
    if not detection.split_local:
        return _count(detection, host, 504 if failure.kind is FailureKind.TIMEOUT else 503)
    host.consecutive_local += 1
    if host.consecutive_local == detection.consecutive_local:
        host.consecutive_local = 0
        return "consecutiveLocalOriginFailures"
    return None


def _count(detection: OutlierDetection, host: EndpointState, status: int) -> str | None:
    if status < 500:
        host.consecutive_5xx = host.consecutive_gateway = 0
        return None
    reason = None
    host.consecutive_gateway = host.consecutive_gateway + 1 if status in (502, 503, 504) else 0
    if host.consecutive_gateway and host.consecutive_gateway == detection.consecutive_gateway:
        host.consecutive_gateway = 0
        reason = "consecutiveGatewayErrors"
    host.consecutive_5xx += 1
    if host.consecutive_5xx == detection.consecutive_5xx:
        host.consecutive_5xx = 0
        reason = reason or "consecutive5xxErrors"
    return reason


def _try_eject(
    live: LiveCluster, detection: OutlierDetection, host: EndpointState, reason: str, now: float
) -> Event | None:
    if host.ejected_at is not None or host not in live.endpoints:
        return None
    ejected = sum(one.ejected_at is not None for one in live.endpoints)
    if 100.0 * (ejected + 1) / len(live.endpoints) > min(100, detection.max_ejection_percent):
        return None
    host.ejected_at = now
    longest = max(detection.max_ejection_time, detection.base_ejection_time)
    if host.backoff * detection.base_ejection_time < longest + detection.base_ejection_time:
        host.backoff += 1
    live.rebuild_locked()
    seconds = min(detection.base_ejection_time * host.backoff, longest)
    return EndpointEjected(cluster=live.cluster.name, endpoint=host.key, reason=reason, seconds=seconds)


def sweep_locked(live: LiveCluster, now: float) -> list[Event]:
    """Make up for every sweep that was due until ``now``."""
    detection = live.cluster.policy.outlier
    state = live.state
    if detection is None or state.next_sweep is None:
        return []
    events: list[Event] = []
    while state.next_sweep <= now:
        if not any(host.ejected_at is not None or host.backoff for host in live.endpoints):
            # Nothing to put back or to forgive: skip the sweeps that would do nothing.
            missed = int((now - state.next_sweep) // detection.interval) + 1
            state.next_sweep += missed * detection.interval
            break
        events += _sweep_once(live, detection, state.next_sweep)
        state.next_sweep += detection.interval
    if events:
        live.rebuild_locked()
    return events


def _sweep_once(live: LiveCluster, detection: OutlierDetection, now: float) -> list[Event]:
    events: list[Event] = []
    longest = max(detection.max_ejection_time, detection.base_ejection_time)
    for host in live.endpoints:
        if host.ejected_at is not None:
            if now - host.ejected_at >= min(detection.base_ejection_time * host.backoff, longest):
                host.ejected_at = None
                host.last_uneject = now
                host.consecutive_5xx = host.consecutive_gateway = host.consecutive_local = 0
                events.append(EndpointUnejected(cluster=live.cluster.name, endpoint=host.key))
        elif host.backoff and now - host.last_uneject >= detection.interval:
            host.backoff -= 1
    return events
