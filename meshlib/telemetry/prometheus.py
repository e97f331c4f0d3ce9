"""The metrics for prometheus_client: a collector, and the text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from meshlib.telemetry.counters import BOUNDS, Total
from meshlib.telemetry.families import Family

__all__ = ["LIMITS", "MeshCollector", "as_text", "default_registry"]

LIMITS: Final = (*map(floatToGoString, BOUNDS), "+Inf")
"""The bounds of histograms as Prometheus writes them."""


class MeshCollector(Collector):
    """Reads the metrics anew for each scrape."""

    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Every metric with its samples."""
        for family in self._families():
            yield _metric(family)

    def describe(self) -> list[Metric]:
        """Nothing: names need not be known before the first request."""
        return []


def _metric(family: Family) -> Metric:
    metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
    for labels, total in family.samples:
        values = dict(labels)
        if isinstance(total, tuple):
            _add_histogram(metric, values, total)
        else:
            metric.add_sample(family.name, values, total)
    return metric


def _add_histogram(metric: Metric, labels: dict[str, str], total: Total) -> None:
    assert isinstance(total, tuple)
    counts, amount = total
    seen = 0
    for limit, count in zip(LIMITS, counts, strict=True):
        seen += count
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": limit}, seen)
    metric.add_sample(f"{metric.name}_count", labels, seen)
    metric.add_sample(f"{metric.name}_sum", labels, amount)


def as_text(families: Iterable[Family]) -> str:
    """Prometheus' text format."""
    found = list(families)
    registry = CollectorRegistry()
    registry.register(MeshCollector(lambda: found))
    return generate_latest(registry).decode()


def default_registry() -> CollectorRegistry:
    """The registry that prometheus_client's own servers show."""
    return REGISTRY
