"""Access logs of Telemetry and MeshConfig merged: which, in what format, of which requests (semantics 7.3, 7.4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from meshlib._compile.telemetry_providers import ENVOY, Providers
from meshlib._snapshot.telemetry import AccessLog
from meshlib.model import telemetry as model
from meshlib.model.mesh_config import MeshConfig
from meshlib.model.mesh_providers import EnvoyFileAccessLogProvider
from meshlib.telemetry.expressions import UnsupportedError, compile_expression
from meshlib.telemetry.log_format import DEFAULT_FIELDS, DEFAULT_TEXT, stray_signs, unknown_operators

__all__ = ["compile_logs"]


def compile_logs(
    levels: Sequence[Sequence[model.AccessLogging]],
    config: MeshConfig,
    providers: Providers,
    mode: Literal["CLIENT", "SERVER"],
) -> tuple[AccessLog, ...]:
    """The access logs of one side; where no provider is in force, that of ``accessLogFile``."""
    merged = _merge(levels, providers.defaults("access_logging"), mode)
    logs = []
    is_known = False
    for name, (is_on, expression) in sorted(merged.items()):
        file = providers.file_log(name)
        is_known = is_known or providers.find(name) is not None
        if file is not None and is_on:
            logs.append(_known(_file_log(name, file, config, _checked(expression, providers)), providers))
    if is_known or not config.access_log_file:
        return tuple(logs)
    return (_known(_mesh_log(ENVOY, config.access_log_file, config, ""), providers),)


def _merge(
    levels: Sequence[Sequence[model.AccessLogging]], defaults: tuple[str, ...], mode: str
) -> dict[str, tuple[bool, str]]:
    """Providers in force, each with whether it is on and with its filter.

    The names that a level gives replace those of the levels above; an entry without names
    is about the names before it. A filter counts only where its entry names the provider.
    Observed on Istio 1.31.
    """
    if not levels:
        return dict.fromkeys(defaults, (True, ""))
    in_scope: Sequence[str] = defaults
    filters: dict[str, str] = {}
    for level in levels:
        named: dict[str, None] = {}
        for entry in filter(lambda one: _concerns(one, mode), level):
            for provider in entry.providers:
                named[provider.name] = None
                filters[provider.name] = (entry.filter.expression if entry.filter is not None else None) or ""
        in_scope = tuple(named) or in_scope
    merged: dict[str, tuple[bool, str]] = {}
    names: Sequence[str] = defaults
    for entry in (entry for level in levels for entry in level):
        names = [one.name for one in entry.providers] or names
        if _concerns(entry, mode):
            merged.update({name: (not entry.disabled, filters.get(name, "")) for name in names if name in in_scope})
    return merged


def _concerns(entry: model.AccessLogging, mode: str) -> bool:
    return entry.match is None or entry.match.mode in (None, "CLIENT_AND_SERVER", mode)


def _checked(expression: str, providers: Providers) -> str:
    if expression:
        try:
            compile_expression(expression)
        except UnsupportedError as error:
            providers.report(f"the filter is passed over, every request is logged: {error}", code="MESH125")
            return ""
    return expression


def _known(log: AccessLog, providers: Providers) -> AccessLog:
    written = log.text if log.fields is None else log.fields
    for name in dict.fromkeys(unknown_operators(written)):
        providers.report(f"the operator %{name}% is not known in a process: it is written as -", code="MESH125")
    for text in dict.fromkeys(stray_signs(written)):
        message = (
            f"the format has {text!r}, where no operator begins; Envoy refuses it, here it is written as it stands"
        )
        providers.report(message, code="MESH125")
    return log


def _file_log(name: str, file: EnvoyFileAccessLogProvider, config: MeshConfig, expression: str) -> AccessLog:
    form, path, omit = file.log_format, file.path or "/dev/stdout", bool(file.omit_empty_values)
    if form is None:
        if name == ENVOY:
            return _mesh_log(name, path, config, expression)
        return AccessLog(provider=name, path=path, text=DEFAULT_TEXT, omit_empty=omit, filter=expression)
    if form.text is not None:
        return AccessLog(provider=name, path=path, text=_line(form.text), omit_empty=omit, filter=expression)
    fields: Mapping[str, object] = form.labels or DEFAULT_FIELDS
    return AccessLog(provider=name, path=path, fields=fields, omit_empty=omit, filter=expression)


def _mesh_log(name: str, path: str, config: MeshConfig, expression: str) -> AccessLog:
    """The format of MeshConfig; as JSON, one that is no object is replaced by the default."""
    written = config.access_log_format or ""
    if config.access_log_encoding != "JSON":
        return AccessLog(provider=name, path=path, text=_line(written) or DEFAULT_TEXT, filter=expression)
    fields: Mapping[str, object] = DEFAULT_FIELDS
    try:
        found = json.loads(written) if written else None
    except ValueError:
        found = None
    if isinstance(found, dict):
        fields = found
    return AccessLog(provider=name, path=path, fields=fields, filter=expression)


def _line(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
