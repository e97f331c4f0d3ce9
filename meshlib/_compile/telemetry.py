"""Telemetry and MeshConfig merged for one workload (semantics 7.3).

Order: the root namespace, the workload's namespace, the workload itself; in the two first
the oldest resource without a selector counts, of those with one all that select the
workload. How the lists are merged was observed on what Istio 1.31 makes of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from meshlib._compile.access_logs import compile_logs
from meshlib._compile.findings import Findings
from meshlib._compile.index import Entry, Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.metric_rules import compile_metrics
from meshlib._compile.order import by_age
from meshlib._compile.own_services import own_services
from meshlib._compile.telemetry_providers import Providers
from meshlib._snapshot.routes import Origin
from meshlib._snapshot.telemetry import DEFAULT_SAMPLING, CustomTag, Telemetry, Tracing
from meshlib.model import telemetry as model
from meshlib.model.mesh_config import MeshConfig
from meshlib.model.mesh_proxy import MeshTracing, TracingTag
from meshlib.workload import Workload

__all__ = ["Mode", "compile_telemetry"]

Mode: TypeAlias = Literal["CLIENT", "SERVER"]

AnyTag: TypeAlias = model.CustomTag | TracingTag

_PATH_LENGTH: Final = 256


class Applied(NamedTuple):
    """The Telemetry resources of a workload, most general first."""

    metrics: list[model.Metrics]
    tracing: list[model.Tracing]
    logs: list[model.AccessLogging]


def compile_telemetry(index: Index, mesh: MeshSettings, workload: Workload, findings: Findings) -> Telemetry:
    """What is measured, traced and logged of a workload."""
    config = MeshConfig()
    for entry in index.of("MeshConfig", MeshConfig):
        config = entry.spec
    entries = list(_applied(index, mesh, workload))
    specs = [entry.spec for entry in entries]
    metrics = [one for spec in specs for one in spec.metrics]
    tracing = [one for spec in specs for one in spec.tracing]
    logs = [spec.access_logging for spec in specs if spec.access_logging]
    providers = Providers(config, _origin(entries), findings)
    proxy = config.default_config
    return Telemetry(
        client_metrics=compile_metrics(metrics, providers, "CLIENT"),
        server_metrics=compile_metrics(metrics, providers, "SERVER"),
        client_tracing=_tracing(tracing, config, providers, "CLIENT"),
        server_tracing=_tracing(tracing, config, providers, "SERVER"),
        client_logs=compile_logs(logs, config, providers, "CLIENT"),
        server_logs=compile_logs(logs, config, providers, "SERVER"),
        mesh_id=(proxy.mesh_id if proxy is not None else None) or mesh.trust_domain,
        services=own_services(index, workload),
    )


def _origin(entries: list[Entry[model.TelemetrySpec]]) -> Origin:
    if not entries:
        return Origin("MeshConfig", "extensionProviders")
    last = entries[-1]
    name = f"Telemetry {last.meta.namespace}/{last.meta.name}"
    return Origin(name, "spec", last.resource.file, last.resource.line)


def _applied(index: Index, mesh: MeshSettings, workload: Workload) -> Iterable[Entry[model.TelemetrySpec]]:
    entries = sorted(index.of("Telemetry", model.TelemetrySpec), key=by_age)
    own = workload.namespace
    for namespace in dict.fromkeys((mesh.root_namespace, own)):
        general = (one for one in entries if one.meta.namespace == namespace and _is_general(one.spec))
        yield from list(general)[:1]
    for entry in entries:
        if entry.meta.namespace == own and not _is_general(entry.spec) and _selects(entry.spec, workload):
            yield entry


def _is_general(spec: model.TelemetrySpec) -> bool:
    has_selector = spec.selector is not None and bool(spec.selector.match_labels)
    return not has_selector and spec.target_ref is None and not spec.target_refs


def _selects(spec: model.TelemetrySpec, workload: Workload) -> bool:
    references = (*spec.target_refs, *((spec.target_ref,) if spec.target_ref is not None else ()))
    if references:
        # Only gateways of the Gateway API and waypoints are targets; a sidecar never is.
        gateway = workload.labels.get("gateway.networking.k8s.io/gateway-name")
        return any(one.kind == "Gateway" and one.name == gateway for one in references)
    return spec.selector is not None and spec.selector.match_labels.items() <= workload.labels.items()


# -- tracing (semantics 7.6) -----------------------------------------------------------------------------


def _tracing(written: list[model.Tracing], config: MeshConfig, providers: Providers, mode: Mode) -> Tracing:
    """The spans of one side: each setting from the most specific entry that has it."""
    mesh = config.default_config.tracing if config.default_config is not None else None
    entries = [one for one in written if one.match is None or one.match.mode in (None, "CLIENT_AND_SERVER", mode)]
    names = providers.defaults("tracing")
    sampling: float | None = None
    tags: Mapping[str, AnyTag] = {}
    reports, propagates, istio_tags = True, True, None
    for entry in entries:
        names = tuple(one.name for one in entry.providers) or names
        sampling = entry.random_sampling_percentage if entry.random_sampling_percentage is not None else sampling
        tags = entry.custom_tags or tags
        reports = reports if entry.disable_span_reporting is None else not entry.disable_span_reporting
        propagates = propagates if entry.disable_context_propagation is None else not entry.disable_context_propagation
        istio_tags = istio_tags if entry.enable_istio_tags is None else entry.enable_istio_tags
    is_usable = providers.traces(names) if written or names else config.enable_tracing is not False
    # Envoy: with span reporting off, Istio configures no tracer at all.
    return Tracing(
        enabled=is_usable and reports,
        is_configured=bool(written or names or mesh is not None or config.enable_tracing is not None),
        sampling=_mesh_sampling(mesh) if sampling is None else sampling,
        propagates=propagates,
        tags=_tags(tags or (mesh.custom_tags if mesh is not None else {})),
        istio_tags=(mesh.enable_istio_tags if mesh is not None else None) is not False
        if istio_tags is None
        else istio_tags,
        path_length=providers.longest_path(names)
        or (mesh.max_path_tag_length if mesh is not None else None)
        or _PATH_LENGTH,
    )


def _mesh_sampling(mesh: MeshTracing | None) -> float:
    """0 means that it is not set; what is no percentage becomes the default, as in Istio."""
    sampling = (mesh.sampling if mesh is not None else None) or DEFAULT_SAMPLING
    return sampling if 0 < sampling <= 100 else DEFAULT_SAMPLING


def _tags(tags: Mapping[str, AnyTag]) -> tuple[CustomTag, ...]:
    return tuple(tag for name in sorted(tags) if (tag := _tag(name, tags[name])) is not None)


def _tag(name: str, tag: AnyTag) -> CustomTag | None:
    if tag.literal is not None:
        return CustomTag(name, "literal", tag.literal.value)
    if tag.environment is not None:
        return CustomTag(name, "environment", tag.environment.name, tag.environment.default_value or "")
    if tag.header is not None:
        return CustomTag(name, "header", tag.header.name, tag.header.default_value or "")
    formatter = tag.formatter if isinstance(tag, model.CustomTag) else None
    return None if formatter is None else CustomTag(name, "formatter", formatter.value)
