"""What is measured, traced and logged of one workload: the Telemetry resources and MeshConfig, merged (semantics 7.3).

Expressions and formats are kept as texts; telemetry prepares them once for each snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = [
    "DEFAULT_SAMPLING",
    "NO_TELEMETRY",
    "AccessLog",
    "CustomTag",
    "MetricChange",
    "MetricRules",
    "OwnService",
    "Telemetry",
    "Tracing",
]

DEFAULT_SAMPLING: Final = 1.0
"""Percent of the requests without a sampling decision that Istio traces."""

TagSource: TypeAlias = Literal["literal", "environment", "header", "formatter"]


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """What overrides make of one metric: ``tags`` to an expression each, or to None where the tag is removed."""

    disabled: bool = False
    tags: Mapping[str, str | None] = msgspec.field(default_factory=dict[str, "str | None"])


class MetricRules(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one side, by names without ``istio_`` (``requests_total``). ``enabled`` false: none at all."""

    enabled: bool = True
    changes: Mapping[str, MetricChange] = msgspec.field(default_factory=dict[str, MetricChange])

    def change(self, name: str) -> MetricChange:
        """What overrides make of a metric."""
        return self.changes.get(name, _UNCHANGED)


class CustomTag(msgspec.Struct, frozen=True):
    """A tag of spans: ``value`` is the literal, the format, or the name of a variable or header."""

    name: str
    source: TagSource
    value: str
    default: str = ""


class Tracing(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one side. ``sampling`` in percent is of requests that carry no decision.

    ``is_configured``: whether anything in the configuration is about tracing; if nothing is, the SDK samples.
    """

    enabled: bool = True
    is_configured: bool = False
    sampling: float = DEFAULT_SAMPLING
    reports: bool = True
    propagates: bool = True
    tags: tuple[CustomTag, ...] = ()
    istio_tags: bool = True
    path_length: int = 256


class AccessLog(msgspec.Struct, frozen=True, kw_only=True):
    """Access log of one provider: ``text`` or ``fields`` is the format, ``filter`` an expression (empty: all)."""

    provider: str
    path: str = "/dev/stdout"
    text: str = ""
    fields: Mapping[str, object] | None = None
    omit_empty: bool = False
    filter: str = ""


class OwnService(msgspec.Struct, frozen=True):
    """A service that leads to this workload, by its ``port``."""

    host: str
    name: str
    namespace: str
    port: int = 0


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, for calls made (client) and requests served (server). ``services`` lead to this workload, by port."""

    client_metrics: MetricRules = MetricRules()
    server_metrics: MetricRules = MetricRules()
    client_tracing: Tracing = Tracing()
    server_tracing: Tracing = Tracing()
    client_logs: tuple[AccessLog, ...] = ()
    server_logs: tuple[AccessLog, ...] = ()
    mesh_id: str = ""
    services: Mapping[int, OwnService] = msgspec.field(default_factory=dict[int, OwnService])


_UNCHANGED: Final = MetricChange()
NO_TELEMETRY: Final = Telemetry()
