"""Istio's metrics through an OpenTelemetry meter, for those who collect by OTLP instead of scraping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from opentelemetry.metrics import Meter

from meshlib.telemetry.counters import BOUNDS
from meshlib.telemetry.families import DESCRIPTIONS

__all__ = ["Attributes", "Instruments"]

Attributes: TypeAlias = tuple[Mapping[str, str] | None, ...]
"""The attributes of each metric for one kind of request; None: that metric is off."""

_UNITS: Final = {"istio_request_duration_milliseconds": "ms", "istio_request_bytes": "By", "istio_response_bytes": "By"}


class Instruments:
    """One instrument for each of Istio's HTTP metrics, in their order."""

    def __init__(self, meter: Meter) -> None:
        self._requests = meter.create_counter("istio_requests_total", description=_text("istio_requests_total"))
        self._histograms = tuple(
            meter.create_histogram(
                name, unit=unit, description=_text(name), explicit_bucket_boundaries_advisory=list(BOUNDS)
            )
            for name, unit in _UNITS.items()
        )

    def record(self, attributes: Attributes, *values: float) -> None:
        """One request: its duration, its bytes, those of its response."""
        counted = attributes[0]
        if counted is not None:
            self._requests.add(1, counted)
        for histogram, labels, value in zip(self._histograms, attributes[1:], values, strict=True):
            if labels is not None:
                histogram.record(value, labels)


def _text(name: str) -> str:
    return DESCRIPTIONS[name][1]
