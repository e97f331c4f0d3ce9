"""Extension providers of MeshConfig: authorizers, tracers, metrics and log sinks that other kinds name.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from meshlib.model.base import EMPTY, Json, Maybe, Model, at_most_one
from meshlib.model.scalars import AnyDuration, UInt32

__all__ = [
    "EnvoyExternalAuthorizationGrpcProvider",
    "EnvoyExternalAuthorizationHttpProvider",
    "EnvoyExternalAuthorizationRequestBody",
    "EnvoyFileAccessLogProvider",
    "ExtensionProvider",
    "GrpcService",
    "HttpHeader",
    "HttpService",
    "LogFormat",
    "LogService",
    "OpenTelemetryTracingProvider",
    "TracingProvider",
    "ZipkinTracingProvider",
]


class EnvoyExternalAuthorizationRequestBody(Model, frozen=True, kw_only=True):
    """How much of the body the authorizer sees."""

    max_request_bytes: Maybe[UInt32] = None
    allow_partial_message: Maybe[bool] = None
    pack_as_bytes: Maybe[bool] = None


class EnvoyExternalAuthorizationHttpProvider(Model, frozen=True, kw_only=True):
    """An authorizer over HTTP: ``service`` is ``[namespace/]host``; ``timeout`` absent: 600 s.

    ``fail_open`` lets requests through when it cannot be asked; else they get
    ``status_on_error`` (403). Header lists hold names and patterns with ``*``.
    """

    service: Maybe[str] = None
    port: Maybe[UInt32] = None
    timeout: Maybe[AnyDuration] = None
    path_prefix: Maybe[str] = None
    fail_open: Maybe[bool] = None
    clear_route_cache: Maybe[bool] = None
    status_on_error: Maybe[str] = None
    include_headers_in_check: tuple[str, ...] = ()
    include_request_headers_in_check: tuple[str, ...] = ()
    include_additional_headers_in_check: Mapping[str, str] = EMPTY
    include_request_body_in_check: Maybe[EnvoyExternalAuthorizationRequestBody] = None
    headers_to_upstream_on_allow: tuple[str, ...] = ()
    headers_to_downstream_on_deny: tuple[str, ...] = ()
    headers_to_downstream_on_allow: tuple[str, ...] = ()


class EnvoyExternalAuthorizationGrpcProvider(Model, frozen=True, kw_only=True):
    """An authorizer over gRPC (Envoy's ext_authz service)."""

    service: Maybe[str] = None
    port: Maybe[UInt32] = None
    timeout: Maybe[AnyDuration] = None
    fail_open: Maybe[bool] = None
    clear_route_cache: Maybe[bool] = None
    status_on_error: Maybe[str] = None
    include_request_body_in_check: Maybe[EnvoyExternalAuthorizationRequestBody] = None


class HttpHeader(Model, frozen=True, kw_only=True):
    """A header with its value, or with the environment variable that holds it."""

    name: Maybe[str] = None
    value: Maybe[str] = None
    env_name: Maybe[str] = None

    def __post_init__(self) -> None:
        at_most_one(self, "value", "env_name")


class TracingProvider(Model, frozen=True, kw_only=True):
    """A tracing backend with nothing special: Lightstep, Datadog, SkyWalking."""

    service: Maybe[str] = None
    port: Maybe[UInt32] = None
    access_token: Maybe[str] = None
    max_tag_length: Maybe[UInt32] = None


class ZipkinTracingProvider(Model, frozen=True, kw_only=True):
    """Zipkin: ``path`` absent: ``/api/v2/spans``."""

    service: Maybe[str] = None
    port: Maybe[UInt32] = None
    max_tag_length: Maybe[UInt32] = None
    enable_64bit_trace_id: Maybe[bool] = msgspec.field(default=None, name="enable64bitTraceId")
    path: Maybe[str] = None
    trace_context_option: Maybe[Literal["USE_B3", "USE_B3_WITH_W3C_PROPAGATION"]] = None
    timeout: Maybe[AnyDuration] = None
    headers: tuple[HttpHeader, ...] = ()


class HttpService(Model, frozen=True, kw_only=True):
    """OTLP over HTTP."""

    path: Maybe[str] = None
    timeout: Maybe[AnyDuration] = None
    headers: tuple[HttpHeader, ...] = ()


class GrpcService(Model, frozen=True, kw_only=True):
    """OTLP over gRPC."""

    timeout: Maybe[AnyDuration] = None
    initial_metadata: tuple[HttpHeader, ...] = ()


class OpenTelemetryTracingProvider(Model, frozen=True, kw_only=True):
    """An OpenTelemetry collector, over gRPC unless ``http`` is written."""

    service: Maybe[str] = None
    port: Maybe[UInt32] = None
    max_tag_length: Maybe[UInt32] = None
    http: Maybe[HttpService] = None
    grpc: Maybe[GrpcService] = None
    resource_detectors: Maybe[Mapping[str, Json]] = None
    service_attribute_enrichment: Maybe[Literal["ISTIO_CANONICAL", "OTEL_SEMANTIC_CONVENTIONS"]] = None
    dynatrace_sampler: Maybe[Mapping[str, Json]] = None


class LogFormat(Model, frozen=True, kw_only=True):
    """A log line as ``text``, or as JSON with ``labels``."""

    text: Maybe[str] = None
    labels: Mapping[str, Json] = EMPTY


class EnvoyFileAccessLogProvider(Model, frozen=True, kw_only=True):
    """Access log to a file; ``/dev/stdout`` is the process's output."""

    path: Maybe[str] = None
    log_format: Maybe[LogFormat] = None
    omit_empty_values: Maybe[bool] = None


class LogService(Model, frozen=True, kw_only=True):
    """Access log to a gRPC service."""

    service: Maybe[str] = None
    port: Maybe[UInt32] = None
    log_name: Maybe[str] = None
    log_format: Maybe[LogFormat] = None
    filter_state_objects_to_log: tuple[str, ...] = ()
    additional_request_headers_to_log: tuple[str, ...] = ()
    additional_response_headers_to_log: tuple[str, ...] = ()
    additional_response_trailers_to_log: tuple[str, ...] = ()


class ExtensionProvider(Model, frozen=True, kw_only=True):
    """A provider by ``name``; exactly one of the others says what it is."""

    name: Maybe[str] = None
    envoy_ext_authz_http: Maybe[EnvoyExternalAuthorizationHttpProvider] = None
    envoy_ext_authz_grpc: Maybe[EnvoyExternalAuthorizationGrpcProvider] = None
    zipkin: Maybe[ZipkinTracingProvider] = None
    lightstep: Maybe[TracingProvider] = None
    datadog: Maybe[TracingProvider] = None
    stackdriver: Maybe[Mapping[str, Json]] = None
    opencensus: Maybe[Mapping[str, Json]] = None
    skywalking: Maybe[TracingProvider] = None
    opentelemetry: Maybe[OpenTelemetryTracingProvider] = None
    prometheus: Maybe[Mapping[str, Json]] = None
    envoy_file_access_log: Maybe[EnvoyFileAccessLogProvider] = None
    envoy_http_als: Maybe[LogService] = None
    envoy_tcp_als: Maybe[LogService] = None
    envoy_otel_als: Maybe[LogService] = None
    sds: Maybe[Mapping[str, Json]] = None

    def __post_init__(self) -> None:
        at_most_one(self, *(name for name in self.__struct_fields__ if name != "name"))
