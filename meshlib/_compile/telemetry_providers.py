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

    def counting(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the providers that are Prometheus, each once."""
        found = ((name, self.find(name)) for name in dict.fromkeys(names))
        return tuple(name for name, one in found if one is not None and one.prometheus is not None)

    def traces(self, names: tuple[str, ...]) -> bool:
        """Whether the first provider takes spans; without a usable one Istio does not trace."""
        found = self.find(names[0]) if names else None
        if found is None:
            self.report(f"no tracing provider {names[0]!r} is defined" if names else "no tracing provider is named")
            return False
        return any(getattr(found, kind) is not None for kind in _TRACERS)

    def longest_path(self, names: tuple[str, ...]) -> int | None:
        """The most characters of a path in a tag, if the first provider limits them; SkyWalking's limit has no effect.

        It wins over that of ``defaultConfig.tracing``; 0 is as good as unset (observed on Istio 1.31).
        """
        found = self.find(names[0]) if names else None
        settings = found and (found.zipkin or found.datadog or found.opentelemetry)
        return (settings.max_tag_length or None) if settings else None

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
