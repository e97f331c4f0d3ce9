"""ClientPolicy: our own kind, for what Istio has no field for on the calling side. Opt-in; nothing of it is a default.

``apiVersion: meshlib.dev/v1alpha1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from meshlib.model.base import EMPTY, Maybe, Model, RuleError, Spec, at_most_one
from meshlib.model.destination import Percent
from meshlib.model.scalars import Duration, UInt32

__all__ = [
    "CircuitBreaker",
    "ClientPolicySpec",
    "Deadline",
    "Fallback",
    "Hedging",
    "LastGood",
    "StaticResponse",
]

Status: TypeAlias = Annotated[int, Meta(ge=200, le=599)]
Share: TypeAlias = Annotated[float, Meta(gt=0, le=100)]


class StaticResponse(Model, frozen=True, kw_only=True):
    """A fixed answer; ``status`` absent: 200."""

    status: Maybe[Status] = None
    body: Maybe[str] = None
    headers: Mapping[str, str] = EMPTY


class LastGood(Model, frozen=True, kw_only=True):
    """The last 2xx answer to the same GET or HEAD (of a function: its last result), not older than ``max_age``."""

    max_age: Duration


class Fallback(Model, frozen=True, kw_only=True):
    """What the caller gets when everything failed.

    ``last_good`` is tried first. ``statuses`` are those that count as failed
    besides refusals and connection failures (absent: 502, 503, 504).
    """

    response: Maybe[StaticResponse] = None
    last_good: Maybe[LastGood] = None
    statuses: tuple[Status, ...] = ()

    def __post_init__(self) -> None:
        if self.response is None and self.last_good is None:
            raise RuleError("a fallback needs response or lastGood", hint="write the answer to give")


class Hedging(Model, frozen=True, kw_only=True):
    """A second request when the first is slow; the first answer wins.

    It is sent after ``delay``, or after the ``quantile`` (0–1, such as 0.95) of the
    observed latency. ``budget`` caps hedges as a share of the requests (absent: 5 %).
    ``other_endpoint`` absent: true.
    """

    delay: Maybe[Duration] = None
    quantile: Maybe[Annotated[float, Meta(gt=0, lt=1)]] = None
    budget: Maybe[Percent] = None
    other_endpoint: Maybe[bool] = None

    def __post_init__(self) -> None:
        at_most_one(self, "delay", "quantile")
        if self.delay is None and self.quantile is None:
            raise RuleError("hedging needs delay or quantile", hint="write when the second request is sent")


class CircuitBreaker(Model, frozen=True, kw_only=True):
    """Refuse calls to a host that fails, and probe it with one request after ``open_for``.

    Opens at ``failure_rate`` or ``slow_call_rate`` percent of the last ``window`` once
    there are ``minimum_calls`` in it, or at ``consecutive_failures`` in a row. A call is
    slow from ``slow_call_duration``.
    """

    failure_rate: Maybe[Share] = None
    slow_call_rate: Maybe[Share] = None
    slow_call_duration: Maybe[Duration] = None
    consecutive_failures: Maybe[UInt32] = None
    window: Maybe[Duration] = None
    minimum_calls: Maybe[UInt32] = None
    open_for: Maybe[Duration] = None

    def __post_init__(self) -> None:
        if (self.slow_call_rate is None) != (self.slow_call_duration is None):
            raise RuleError("slowCallRate and slowCallDuration belong together", field="slowCallRate")
        if self.failure_rate is None and self.slow_call_rate is None and self.consecutive_failures is None:
            raise RuleError(
                "a circuit breaker needs failureRate, slowCallRate or consecutiveFailures",
                hint="write what opens the breaker",
            )


class Deadline(Model, frozen=True, kw_only=True):
    """One deadline for the whole chain of calls; ``default`` where the caller has set none."""

    propagate: Maybe[bool] = None
    default: Maybe[Duration] = None


class ClientPolicySpec(Spec, frozen=True, kw_only=True):
    """What callers do beyond Istio for ``hosts`` (as in a VirtualService, ``*.suffix`` allowed).

    ``retry_safety`` idempotent: after bytes were sent, only safe methods and requests with
    ``Idempotency-Key`` are sent again (absent: istio, which retries anything).
    ``faults_under_retries``: injected faults are seen by retries and breakers.
    """

    hosts: Annotated[tuple[str, ...], Meta(min_length=1)]
    fallback: Maybe[Fallback] = None
    hedging: Maybe[Hedging] = None
    retry_safety: Maybe[Literal["istio", "idempotent"]] = None
    faults_under_retries: Maybe[bool] = None
    circuit_breaker: Maybe[CircuitBreaker] = None
    deadline: Maybe[Deadline] = None
