"""Warm-up: a new endpoint grows into its share of the traffic (Envoy's slow start, semantics 4.1).

Within ``duration`` of its arrival the weight of an endpoint is multiplied by
``max(minimum, (age / duration) ^ (1 / aggression))``, the age in whole milliseconds and
at least one of them. If all endpoints are new, all are lowered alike and nothing is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from meshlib._clock import Clock
from meshlib._engine.balancing.base import Host, HostT
from meshlib._snapshot.clusters import Warmup

__all__ = ["SlowStart", "is_warming", "warmup_factor"]


def warmup_factor(warmup: Warmup, age: float) -> float:
    """The factor for an endpoint that arrived ``age`` seconds ago; 1 when it is warm."""
    if age >= warmup.duration:
        return 1.0
    elapsed = max(int(age * 1000.0), 1) / (warmup.duration * 1000.0)
    grown: float = elapsed ** (1.0 / warmup.aggression)
    return max(grown, warmup.minimum)


def is_warming(host: Host, warmup: Warmup, now: float) -> bool:
    """Whether an endpoint has not got its full share yet."""
    return host.added_at is not None and now - host.added_at < warmup.duration


class SlowStart(Generic[HostT]):
    """Weights of hosts with their warm-up applied, for a schedule that asks at each pick."""

    __slots__ = ("_clock", "_warmup", "_weight")

    def __init__(self, warmup: Warmup, weight: Callable[[HostT], float], clock: Clock) -> None:
        self._warmup = warmup
        self._weight = weight
        self._clock = clock

    def __call__(self, host: HostT) -> float:
        """The weight of a host now; never 0, however young it is."""
        weight = self._weight(host)
        if host.added_at is None:
            return weight
        return weight * max(warmup_factor(self._warmup, self._clock.monotonic() - host.added_at), 1e-9)
