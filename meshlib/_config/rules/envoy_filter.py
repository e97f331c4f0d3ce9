"""EnvoyFilter: what Istio's webhook refuses about the patches."""

from __future__ import annotations

from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.envoy_patches import patch_problems
from meshlib._config.rules.report import Report
from meshlib._config.rules.visibility import takes_no_labels
from meshlib._regex import RegexError, compile_regex
from meshlib.model.base import EMPTY
from meshlib.model.envoy_filter import EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilterSpec, FilterMatch
from meshlib.model.resource import Metadata

__all__ = ["check_envoy_filter"]

_INTERNAL: Final = (
    "EnvoyFilter exposes internal implementation details that may change at any time. "
    "Prefer other APIs if possible, and exercise extreme caution, especially around upgrades."
)
_MANAGERS: Final = ("envoy.filters.network.http_connection_manager", "envoy.http_connection_manager")
_LONGEST_VERSION: Final = 1024
# What each applyTo may be matched by.
_LISTENERS: Final = frozenset({"LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER"})
_ROUTES: Final = frozenset({"ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"})


def check_envoy_filter(spec: EnvoyFilterSpec, metadata: Metadata, report: Report) -> None:
    """All rules of an EnvoyFilter."""
    del metadata
    report.warn(("spec",), _INTERNAL)
    takes_no_labels(spec.workload_selector, "Envoy filter", report)
    for index, patch in enumerate(spec.config_patches):
        if patch.match is None or patch.match.context != "WAYPOINT":
            _check_patch(patch, ("spec", "configPatches", index), report)


def _check_patch(patch: EnvoyConfigObjectPatch, path: Path, report: Report) -> None:
    problem = _missing(patch)
    if problem:
        report.add("MESH083", path, f"Envoy filter: {problem}")
        return
    match = patch.match
    if match is None or _check_version(match, (*path, "match", "proxy", "proxyVersion"), report):
        if match is None or _check_match(patch.apply_to or "", match, (*path, "match"), report):
            _check_value(patch, (*path, "patch", "value"), report)


def _check_value(patch: EnvoyConfigObjectPatch, path: Path, report: Report) -> None:
    if patch.patch is not None and patch.patch.value is not EMPTY:
        for place, problem in patch_problems(patch.apply_to or "", patch.patch.value, path):
            report.add("MESH083", place, f"Envoy filter: {problem}")


def _missing(patch: EnvoyConfigObjectPatch) -> str:
    if patch.apply_to in (None, "INVALID"):
        return "missing applyTo"
    if patch.patch is None:
        return "missing patch"
    if patch.patch.operation in (None, "INVALID"):
        return "missing patch operation"
    if patch.patch.operation != "REMOVE" and patch.patch.value is EMPTY:
        return "missing patch value for non-remove operation"
    return ""


def _check_version(match: EnvoyConfigObjectMatch, path: Path, report: Report) -> bool:
    version = match.proxy.proxy_version if match.proxy is not None else None
    if not version:
        return True
    if len(version) > _LONGEST_VERSION:
        limit = f"exceeds {_LONGEST_VERSION} characters and will be ignored"
        report.warn(path, f"Envoy filter: proxyVersion match {limit}")
        return True
    try:
        compile_regex(version)
    except RegexError as error:
        report.add("MESH084", path, f"Envoy filter: invalid regex for proxy version, [{error}]")
        return False
    return True


def _check_match(apply_to: str, match: EnvoyConfigObjectMatch, path: Path, report: Report) -> bool:
    """Whether Istio goes on to the value: it does not after a wrong match of filters."""
    is_written = any((match.listener, match.route_configuration, match.cluster, match.waypoint))
    if not is_written:
        return True
    wanted = "Envoy filter: applyTo for {} class objects cannot have non {} match"
    if apply_to in _LISTENERS:
        if match.listener is None:
            report.add("MESH083", path, wanted.format("listener", "listener"))
        elif match.listener.filter_chain is not None and match.listener.filter_chain.filter is not None:
            count = sum(problem.code != "MESH085" for problem in report.problems)
            _check_filter(apply_to, match.listener.filter_chain.filter, (*path, "listener"), report)
            return count == sum(problem.code != "MESH085" for problem in report.problems)
    elif apply_to in _ROUTES and match.route_configuration is None:
        report.add("MESH083", path, wanted.format("http route", "route configuration"))
    elif apply_to == "CLUSTER" and match.cluster is None:
        report.add("MESH083", path, wanted.format("cluster", "cluster"))
    return True


def _check_filter(apply_to: str, match: FilterMatch, path: Path, report: Report) -> None:
    place = (*path, "filterChain", "filter")
    if apply_to in ("LISTENER", "FILTER_CHAIN"):
        report.warn(place, f"Envoy filter: filter match has no effect when used with {apply_to}")
    if not match.name:
        report.add("MESH083", place, "Envoy filter: filter match has no name to match on")
        return
    inner = match.sub_filter
    if inner is None:
        return
    if apply_to != "HTTP_FILTER":
        report.add("MESH083", place, "Envoy filter: subfilter match can be used with applyTo HTTP_FILTER only")
    elif match.name not in _MANAGERS:
        report.add("MESH083", place, f"Envoy filter: subfilter match requires filter match with {_MANAGERS[0]}")
    elif not inner.name:
        report.add("MESH083", place, "Envoy filter: subfilter match has no name to match on")
