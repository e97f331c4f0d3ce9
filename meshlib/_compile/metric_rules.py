"""Metrics overrides merged: what is off, what is removed, what is set (semantics 7.3, mergeMetrics)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from meshlib._compile.telemetry_providers import Providers
from meshlib._snapshot.telemetry import MetricChange, MetricRules
from meshlib.model import telemetry as model
from meshlib.telemetry.expressions import UnsupportedError, compile_expression

__all__ = ["compile_metrics"]

_NAMES: Final[Mapping[str, str]] = {
    "REQUEST_COUNT": "requests_total",
    "REQUEST_DURATION": "request_duration_milliseconds",
    "REQUEST_SIZE": "request_bytes",
    "RESPONSE_SIZE": "response_bytes",
    "TCP_OPENED_CONNECTIONS": "tcp_connections_opened_total",
    "TCP_CLOSED_CONNECTIONS": "tcp_connections_closed_total",
    "TCP_SENT_BYTES": "tcp_sent_bytes_total",
    "TCP_RECEIVED_BYTES": "tcp_received_bytes_total",
    "GRPC_REQUEST_MESSAGES": "request_messages_total",
    "GRPC_RESPONSE_MESSAGES": "response_messages_total",
}


class _Override:
    """What is known so far of one metric."""

    __slots__ = ("disabled", "tags")

    def __init__(self) -> None:
        self.disabled = False
        self.tags: dict[str, str | None] = {}


class _Known:
    """What is known so far of the metrics of one provider."""

    __slots__ = ("changes", "disabled")

    def __init__(self) -> None:
        self.disabled = False
        self.changes: dict[str, _Override] = {}

    def apply(self, override: model.MetricsOverrides) -> None:
        metrics = _metrics(override.match)
        self.disabled = bool(override.disabled) and len(metrics) > 1
        if self.disabled:  # its tags count for nothing
            return
        for metric in metrics:
            change = self.changes.setdefault(metric, _Override())
            if override.disabled is not None:
                change.disabled = override.disabled
            for tag, written in override.tag_overrides.items():
                change.tags[tag] = None if written.operation == "REMOVE" else written.value or ""


def compile_metrics(
    written: list[model.Metrics], providers: Providers, mode: Literal["CLIENT", "SERVER"]
) -> MetricRules:
    """The rules of one side. Overrides count for the providers in force where they stand.

    Disabling all metrics drops the filter; whatever is overridden later brings it back with all
    that was said of it before, as observed on Istio 1.31.
    """
    names = providers.defaults("metrics")
    known = {name: _Known() for name in names}
    for entry in written:
        names = tuple(one.name for one in entry.providers) or names
        for name in names:
            rules = known.setdefault(name, _Known())
            for override in entry.overrides:
                if _concerns(override.match, mode):
                    rules.apply(override)
    counting = [name for name in providers.counting(names) if not known[name].disabled]
    if not counting:
        return MetricRules(enabled=False)
    if len(counting) > 1:
        # Istio 1.31 makes a filter for each, and all of them write the same series of one proxy.
        providers.report(
            f"{', '.join(counting)} are all Prometheus: Istio counts each request once for every one of them in the "
            f"same series; here it is counted once, by the rules of {counting[0]}"
        )
    changes = known[counting[0]].changes
    _check(changes.values(), providers)
    return MetricRules(
        changes={metric: MetricChange(disabled=one.disabled, tags=one.tags) for metric, one in changes.items()}
    )


def _concerns(match: model.MetricSelector | None, mode: str) -> bool:
    return match is None or match.mode in (None, "CLIENT_AND_SERVER", mode)


def _metrics(match: model.MetricSelector | None) -> tuple[str, ...]:
    if match is None:
        return tuple(_NAMES.values())
    if match.custom_metric:
        return (match.custom_metric,)
    name = _NAMES.get(match.metric or "")
    return tuple(_NAMES.values()) if name is None else (name,)


def _check(changes: Iterable[_Override], providers: Providers) -> None:
    for change in changes:
        for tag, expression in change.tags.items():
            if expression is None:
                continue
            try:
                compile_expression(expression)
            except UnsupportedError as error:
                text = f"the value of the tag {tag!r} will be unknown: {error}"
                providers.report(text, code="MESH125")
