"""Compiled ClientPolicies: what callers of a host do beyond Istio. Defaults are filled in, durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BreakerRules", "ClientPolicy", "Fallback", "HedgeRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When calls are refused: ratios 0–1 over the last ``window`` seconds, or over the last 100 calls if it is None.

    ``failure_ratio`` and ``slow_ratio`` (None: off) count from ``minimum_calls`` on;
    ``consecutive`` failures in a row (0: off) at once. ``slow_seconds`` is what a slow call takes.
    """

    failure_ratio: float | None = None
    slow_ratio: float | None = None
    slow_seconds: float = float("inf")
    consecutive: int = 0
    window: float | None = None
    minimum_calls: int = 20
    open_for: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """The answer in place of a failure."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeRules:
    """When a second attempt is sent: after ``delay`` seconds, or after the ``quantile`` (0–1) of the latencies.

    ``ratio`` 0–1 of the calls may have one; ``elsewhere``: at another endpoint, if there is one.
    """

    delay: float | None = None
    quantile: float | None = None
    ratio: float = 0.05
    elsewhere: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPolicy:
    """What holds for the calls to a host; ``origin`` names the resource."""

    origin: str
    breaker: BreakerRules | None = None
    fallback: Fallback | None = None
    last_good: float | None = None
    """How old the last good result or response may be to stand in for a failure, in seconds."""
    failed: frozenset[int] = frozenset((502, 503, 504))
    """The statuses that call for a fallback, besides refusals."""
    hedging: HedgeRules | None = None
    replays_safely: bool = False
    """Whether an unsafe method is never sent again once a byte of it may have arrived."""
    faults_under_retries: bool = False
    keeps_deadline: bool = False
    """Whether the caller's deadline bounds the call."""
    default_deadline: float | None = None
