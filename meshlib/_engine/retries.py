"""When an attempt is followed by another (semantics 3).

Rules, in Envoy's order (``retry_state_impl.cc``): a condition of the policy must
match; then retries must be left (else flag URX); then the limit on concurrent
retries must have room (else flag UO); then the back-off is waited.
"""

from __future__ import annotations

from typing import Final

from meshlib._http import Failure, FailureKind, Outcome, Response, grpc_code
from meshlib._random import Chance
from meshlib._snapshot.routes import RetryPolicy

__all__ = ["backoff_seconds", "retry_reason"]

GRPC_CONDITIONS: Final = {
    1: "cancelled",
    4: "deadline-exceeded",
    8: "resource-exhausted",
    13: "internal",
    14: "unavailable",
}

_CONNECT = (FailureKind.CONNECT_FAILURE, FailureKind.CONNECT_TIMEOUT)


def retry_reason(policy: RetryPolicy, outcome: Outcome) -> str | None:
    """The retryOn condition that this outcome meets; None if it is not to be retried."""
    if type(outcome) is Response:
        return _response_reason(policy, outcome)
    assert isinstance(outcome, Failure)
    return _reset_reason(policy.conditions, outcome)


def _response_reason(policy: RetryPolicy, response: Response) -> str | None:
    status, conditions = response.status, policy.conditions
    if status < 400 and "grpc-status" not in response.headers:
        # The common case. A 1xx to 3xx is retried by its code alone (and by envoy-ratelimited, below).
        if status not in policy.status_codes and "x-envoy-ratelimited" not in response.headers:
            return None
    if "x-envoy-ratelimited" in response.headers:
        return "envoy-ratelimited" if "envoy-ratelimited" in conditions else None
    if "5xx" in conditions and status >= 500:
        return "5xx"
    if "gateway-error" in conditions and 502 <= status <= 504:
        return "gateway-error"
    if status == 409 and "retriable-4xx" in conditions:
        return "retriable-4xx"
    if status in policy.status_codes:
        return "retriable-status-codes"
    code = grpc_code(response.headers.get("grpc-status", ""))
    token = GRPC_CONDITIONS.get(code) if code is not None else None
    return token if token in conditions else None


def _reset_reason(conditions: frozenset[str], failure: Failure) -> str | None:
    # Any reset meets these three, a per-try timeout too.
    for condition in ("5xx", "gateway-error", "reset"):
        if condition in conditions:
            return condition
    if failure.kind in _CONNECT and "connect-failure" in conditions:
        return "connect-failure"
    if failure.kind is FailureKind.REFUSED_STREAM and "refused-stream" in conditions:
        return "refused-stream"
    if not failure.sent and "reset-before-request" in conditions:
        return "reset-before-request"
    return None


def backoff_seconds(policy: RetryPolicy, retry: int, chance: Chance) -> float:
    """The wait before retry number ``retry`` (from 1): uniform below an exponential bound (semantics 3.5)."""
    base = policy.backoff
    bound: float = min(base * 2.0 ** min(retry - 1, 32), base * 10.0)
    return chance.random() * bound
