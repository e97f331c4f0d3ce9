"""The providers that Telemetry resources name: which exist, and which a process can serve."""

from __future__ import annotations

from typing import Final, Literal

from meshlib._compile.findings import Findings
from meshlib._snapshot.routes import Origin
from meshlib.model.mesh_config import MeshConfig
from meshlib.model.mesh_providers import EnvoyFileAccessLogProvider, ExtensionProvider

__all__ = ["ENVOY", "Providers"]

ENVOY: Final = "envoy"
"""Istio's own provider of access logs: its format is that of MeshConfig."""

_BUILT_IN: Final = (
    ExtensionProvider(name="prometheus", prometheus={}),
    ExtensionProvider(name="stackdriver", stackdriver={}),
    ExtensionProvider(name=ENVOY, envoy_file_access_log=EnvoyFileAccessLogProvider(path="/dev/stdout")),
)
_TRACERS: Final = ("zipkin", "lightstep", "datadog", "stackdriver", "opencensus", "skywalking", "opentelemetry")
_REMOTE_LOGS: Final = ("envoy_http_als", "envoy_tcp_als", "envoy_otel_als", "stackdriver")


class Providers:
    """The extension providers of MeshConfig with Istio's own. What is doubtful becomes a finding at ``origin``."""

    def __init__(self, config: MeshConfig, origin: Origin, findings: Findings) -> None:
        self._config = config
        self._origin = origin
        self._findings = findings
        self._by_name = {one.name: one for one in (*_BUILT_IN, *config.extension_providers)}

    def defaults(self, kind: Literal["metrics", "tracing", "access_logging"]) -> tuple[str, ...]:
        """The providers of resources that name none. Without any written, metrics go to Prometheus."""
        written = self._config.default_providers
        names: tuple[str, ...] = getattr(written, kind) if written is not None else ()
        # Every installation profile of Istio sets this one, and who asks for metrics here wants them.
        return names or (("prometheus",) if kind == "metrics" else ())

    def find(self, name: str) -> ExtensionProvider | None:
        """A provider by its name."""
        return self._by_name.get(name)

    def counts(self, names: tuple[str, ...]) -> bool:
        """Whether one of the providers is Prometheus."""
        return any(found is not None and found.prometheus is not None for found in map(self.find, names))

    def traces(self, names: tuple[str, ...]) -> bool:
        """Whether the first provider takes spans; without a usable one Istio does not trace."""
        found = self.find(names[0]) if names else None
        if found is None:
            self.report(f"no tracing provider {names[0]!r} is defined" if names else "no tracing provider is named")
            return False
        return any(getattr(found, kind) is not None for kind in _TRACERS)

    def file_log(self, name: str) -> EnvoyFileAccessLogProvider | None:
        """The file of an access-log provider; None, with a finding, for one that a process cannot write to."""
        found = self.find(name)
        if found is None:
            self.report(f"no access-log provider {name!r} is defined")
            return None
        if found.envoy_file_access_log is None and any(getattr(found, kind) is not None for kind in _REMOTE_LOGS):
            self.report(f"the access-log provider {name!r} is a remote service; meshlib logs through logging only")
        return found.envoy_file_access_log

    def report(self, message: str, *, code: str = "MESH126") -> None:
        """Say that something of the Telemetry resources has no effect."""
        self._findings.add(code, self._origin, message)
