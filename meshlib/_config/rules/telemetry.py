"""Telemetry: what Istio's webhook refuses (validation.go)."""

from __future__ import annotations

from meshlib._cel import CelError, parse
from meshlib._config.check import Path
from meshlib._config.rules.report import Report
from meshlib._config.rules.visibility import check_target_refs
from meshlib.model.resource import Metadata
from meshlib.model.telemetry import Metrics, TelemetrySpec, Tracing

__all__ = ["check_telemetry"]


def check_telemetry(spec: TelemetrySpec, metadata: Metadata, report: Report) -> None:
    """All rules of a Telemetry that its schema does not have."""
    del metadata
    check_target_refs(spec, report)
    for index, metrics in enumerate(spec.metrics):
        _check_metrics(metrics, ("spec", "metrics", index), report)
    if len(spec.tracing) > 1:
        report.warn(("spec", "tracing"), "multiple tracing is not currently supported")
    for index, tracing in enumerate(spec.tracing):
        _check_tracing(tracing, ("spec", "tracing", index), report)
    for index, logging in enumerate(spec.access_logging):
        if logging.filter is not None:
            place: Path = ("spec", "accessLogging", index, "filter", "expression")
            try:
                parse(logging.filter.expression or "")
            except CelError as error:
                report.add("MESH083", place, f"must be a valid CEL expression, {error}")


def _check_metrics(metrics: Metrics, path: Path, report: Report) -> None:
    for index, override in enumerate(metrics.overrides):
        for name, tag in override.tag_overrides.items():
            place = (*path, "overrides", index, "tagOverrides", name)
            if not name:
                report.warn(place, "tagOverrides.name may not be empty")
            if tag.operation in (None, "UPSERT") and not tag.value:
                message = "tagOverrides.value must be set when operation is UPSERT"
                report.add("MESH083", place, message, "add value, or set operation: REMOVE")


def _check_tracing(tracing: Tracing, path: Path, report: Report) -> None:
    if len(tracing.providers) > 1:
        report.warn((*path, "providers"), "multiple providers is not currently supported")
