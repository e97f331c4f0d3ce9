"""How long scripted upstreams take: a number of seconds, or a distribution drawn with the simulation's seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

__all__ = ["Draw", "Latency", "checked_latency", "exponential", "lognormal", "sampled", "uniform"]

Draw: TypeAlias = Callable[[random.Random], float]
"""Draws one duration in seconds."""

Latency: TypeAlias = "float | Draw"


def checked_latency(latency: Latency) -> Latency:
    """The latency. Raises TypeError or ValueError for what is neither seconds nor a distribution."""
    if callable(latency):
        return latency
    if not isinstance(latency, int | float):
        raise TypeError(f"a latency is {latency!r}, it is to be a number of seconds, or a distribution such as uniform")
    if not 0.0 <= latency < math.inf:
        raise ValueError(f"a latency is {latency!r} seconds, it is to be 0 or more")
    return latency


def uniform(low: float, high: float) -> Draw:
    """Every duration between ``low`` and ``high`` seconds, equally likely."""
    return lambda chance: chance.uniform(low, high)


def exponential(mean: float) -> Draw:
    """Many short ones, few long ones, ``mean`` seconds on average."""
    return lambda chance: chance.expovariate(1.0 / mean)


def lognormal(median: float, p99: float) -> Draw:
    """What real services look like: half below ``median`` seconds, one in a hundred above ``p99``."""
    if not 0 < median <= p99:
        raise ValueError(f"expected 0 < median ≤ p99, not median={median} and p99={p99}")
    sigma = math.log(p99 / median) / 2.3263478740408408  # the 99th percentile of the standard normal distribution
    return lambda chance: median * math.exp(sigma * chance.gauss(0.0, 1.0))


def sampled(durations: Sequence[float]) -> Draw:
    """One of the given durations, as measured somewhere else."""
    if not durations:
        raise ValueError("there must be a duration to draw")
    return lambda chance: durations[int(chance.random() * len(durations))]
