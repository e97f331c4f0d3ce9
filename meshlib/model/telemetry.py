"""Telemetry: what is measured, traced and logged, and by which provider.

https://istio.io/latest/docs/reference/config/telemetry/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from meshlib.model.base import EMPTY, UNWRITTEN, Maybe, Model, RuleError, Spec, at_most_one
from meshlib.model.scalars import FineDuration
from meshlib.model.selectors import PolicyTargetReference, TypeWorkloadSelector, one_target

__all__ = [
    "AccessLogging",
    "CustomTag",
    "Environment",
    "Filter",
    "Formatter",
    "Literal_",
    "LogSelector",
    "MetricSelector",
    "Metrics",
    "MetricsOverrides",
    "ProviderRef",
    "RequestHeader",
    "TagOverride",
    "TelemetrySpec",
    "Tracing",
    "TracingSelector",
]

NonEmpty: TypeAlias = Annotated[str, Meta(min_length=1)]
WorkloadMode: TypeAlias = Literal["CLIENT_AND_SERVER", "CLIENT", "SERVER"]
Metric: TypeAlias = Literal[
    "ALL_METRICS",
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
]


class ProviderRef(Model, frozen=True, kw_only=True):
    """An extension provider of MeshConfig by name."""

    name: NonEmpty


class TracingSelector(Model, frozen=True, kw_only=True):
    """Which side the settings are for; absent: both."""

    mode: Maybe[WorkloadMode] = None


class Literal_(Model, frozen=True, kw_only=True):  # noqa: N801 - Literal is typing's
    """A tag with a fixed value."""

    value: NonEmpty


class Environment(Model, frozen=True, kw_only=True):
    """A tag from an environment variable of the process."""

    name: NonEmpty
    default_value: Maybe[str] = None


class RequestHeader(Model, frozen=True, kw_only=True):
    """A tag from a request header."""

    name: NonEmpty
    default_value: Maybe[str] = None


class Formatter(Model, frozen=True, kw_only=True):
    """A tag from an access-log format string."""

    value: NonEmpty


class CustomTag(Model, frozen=True, kw_only=True):
    """A tag of the span; one source of its value."""

    literal: Maybe[Literal_] = None
    environment: Maybe[Environment] = None
    header: Maybe[RequestHeader] = None
    formatter: Maybe[Formatter] = None

    def __post_init__(self) -> None:
        at_most_one(self, "literal", "environment", "header", "formatter")


class Tracing(Model, frozen=True, kw_only=True):
    """Spans: ``random_sampling_percentage`` (0–100; absent: inherited), tags, providers."""

    match: Maybe[TracingSelector] = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: Annotated[float, Meta(ge=0, le=100)] | None = None
    disable_span_reporting: bool | None = None
    disable_context_propagation: bool | None = None
    custom_tags: Mapping[NonEmpty, CustomTag] = EMPTY
    use_request_id_for_trace_sampling: bool | None = None
    enable_istio_tags: bool | None = None


class MetricSelector(Model, frozen=True, kw_only=True):
    """A metric of Istio's or one by its own name; absent: all."""

    metric: Maybe[Metric] = None
    custom_metric: Maybe[NonEmpty] = None
    mode: Maybe[WorkloadMode] = None

    def __post_init__(self) -> None:
        at_most_one(self, "metric", "custom_metric")


class TagOverride(Model, frozen=True, kw_only=True):
    """Set a tag to an expression (UPSERT, the default), or REMOVE it."""

    operation: Maybe[Literal["UPSERT", "REMOVE"]] = None
    value: Maybe[str] = None

    def __post_init__(self) -> None:
        if self.operation == "UPSERT" and not self.value:
            raise RuleError("value must be set when operation is UPSERT", field="value")
        if self.operation == "REMOVE" and self.value is not None:
            raise RuleError("value must not be set when operation is REMOVE", field="value", hint="remove value")


class MetricsOverrides(Model, frozen=True, kw_only=True):
    """Switch metrics off, or change their tags."""

    match: Maybe[MetricSelector] = None
    disabled: bool | None = None
    tag_overrides: Mapping[str, TagOverride] = EMPTY


class Metrics(Model, frozen=True, kw_only=True):
    """Metrics of the providers named (absent: the default ones)."""

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverrides, ...] = ()
    reporting_interval: Maybe[FineDuration] = None


class LogSelector(Model, frozen=True, kw_only=True):
    """Which side the settings are for; absent: both."""

    mode: Maybe[WorkloadMode] = None


class Filter(Model, frozen=True, kw_only=True):
    """Log only what the CEL ``expression`` holds for."""

    expression: Maybe[str] = None


class AccessLogging(Model, frozen=True, kw_only=True):
    """Access logs of the providers named (absent: the default ones)."""

    match: Maybe[LogSelector] = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: bool | None = None
    filter: Maybe[Filter] = None


class TelemetrySpec(Spec, frozen=True, kw_only=True):
    """Settings of the workloads in ``selector`` or behind ``target_refs`` (neither: of the namespace)."""

    RULES: ClassVar[tuple[str, ...]] = ("tracing", "metrics", "accessLogging")

    selector: Maybe[TypeWorkloadSelector] = None
    target_ref: Maybe[PolicyTargetReference] = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Meta(max_length=16)] = UNWRITTEN
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()

    def __post_init__(self) -> None:
        one_target(self)
