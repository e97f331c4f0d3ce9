"""WorkloadGroup: the template of workload entries that register themselves.

https://istio.io/latest/docs/reference/config/networking/workload-group/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from meshlib.model.base import EMPTY, Maybe, Model, Spec, at_most_one
from meshlib.model.scalars import NonNegativeInt32, Port
from meshlib.model.selectors import Labels
from meshlib.model.workload_entry import WorkloadTemplate

__all__ = [
    "ExecHealthCheckConfig",
    "GrpcHealthCheckConfig",
    "HTTPHeader",
    "HTTPHealthCheckConfig",
    "ReadinessProbe",
    "TCPHealthCheckConfig",
    "WorkloadGroupMetadata",
    "WorkloadGroupSpec",
    "WorkloadTemplate",
]


class HTTPHeader(Model, frozen=True, kw_only=True):
    """A header of the probe."""

    name: Maybe[
        Annotated[str, Meta(pattern=r"^[-_A-Za-z0-9]+\Z", description="a header name: letters, digits, - and _")]
    ] = None
    value: Maybe[str] = None


class HTTPHealthCheckConfig(Model, frozen=True, kw_only=True):
    """Probe by GET; ``scheme`` absent: HTTP."""

    path: Maybe[str] = None
    port: Port
    host: Maybe[str] = None
    scheme: Maybe[Annotated[str, Meta(pattern=r"^(HTTPS?)?\Z", description="one of HTTP, HTTPS")]] = None
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPHealthCheckConfig(Model, frozen=True, kw_only=True):
    """Probe by connecting."""

    host: Maybe[str] = None
    port: Port


class ExecHealthCheckConfig(Model, frozen=True, kw_only=True):
    """Probe by running a command; 0 is healthy."""

    command: tuple[Annotated[str, Meta(min_length=1)], ...]


class GrpcHealthCheckConfig(Model, frozen=True, kw_only=True):
    """Probe by the gRPC health service."""

    port: Maybe[Port] = None
    service: Maybe[str] = None


class ReadinessProbe(Model, frozen=True, kw_only=True):
    """When a workload counts as ready, probed in one way (period 10 s, timeout 1 s, 3 failures, 1 success)."""

    initial_delay_seconds: Maybe[NonNegativeInt32] = None
    timeout_seconds: Maybe[NonNegativeInt32] = None
    period_seconds: Maybe[NonNegativeInt32] = None
    success_threshold: Maybe[NonNegativeInt32] = None
    failure_threshold: Maybe[NonNegativeInt32] = None
    http_get: Maybe[HTTPHealthCheckConfig] = None
    tcp_socket: Maybe[TCPHealthCheckConfig] = None
    exec: Maybe[ExecHealthCheckConfig] = None
    grpc: Maybe[GrpcHealthCheckConfig] = None

    def __post_init__(self) -> None:
        at_most_one(self, "http_get", "tcp_socket", "exec", "grpc")


class WorkloadGroupMetadata(Model, frozen=True, kw_only=True):
    """Labels and annotations of the entries that are made."""

    labels: Annotated[Labels, Meta(max_length=256)] = EMPTY
    annotations: Annotated[Mapping[str, str], Meta(max_length=256)] = EMPTY


class WorkloadGroupSpec(Spec, frozen=True, kw_only=True):
    """What each registered workload looks like (``template``) and how it is probed."""

    metadata: Maybe[WorkloadGroupMetadata] = None
    template: WorkloadTemplate
    probe: Maybe[ReadinessProbe] = None
