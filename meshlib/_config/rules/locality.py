"""Locality settings of a load balancer (validation.go)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.report import Report
from meshlib.model.load_balancer import Failover, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting
from meshlib.model.traffic_policy import OutlierDetection

__all__ = ["check_locality", "check_zone_aware"]

_TOPOLOGY: Final = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


def check_locality(
    setting: LocalityLoadBalancerSetting, outliers: OutlierDetection | None, path: Path, report: Report
) -> None:
    """Weights of 1 to 100 that sum up to 100; failover between different regions."""
    problem = _conflict(setting)
    if problem:
        report.add("MESH078", path, problem)
        return  # Istio looks no further
    for index, share in enumerate(setting.distribute):
        place = (*path, "distribute", index, "to")
        if any(not 1 <= weight <= 100 for weight in share.to.values()):
            report.add("MESH078", place, "locality weight must be in range [1, 100]")
            return
        total = sum(share.to.values())
        if total != 100:
            report.add("MESH078", place, f"total locality weight {total} != 100")
            return
        _check_localities(list(share.to), place, report)
    _check_localities([share.from_ or "" for share in setting.distribute], (*path, "distribute"), report)
    _check_needs(setting, outliers, path, report)
    for index, failover in enumerate(setting.failover):
        place = (*path, "failover", index)
        _check_failover(failover, place, report, what="locality lb", scope="locality lb failover only specify region")


def _conflict(setting: LocalityLoadBalancerSetting) -> str:
    if setting.distribute and setting.failover:
        return "can not simultaneously specify 'distribute' and 'failover'"
    label = next((one for one in setting.failover_priority if one in _TOPOLOGY), None)
    if setting.failover and label is not None:
        return f"can not simultaneously set 'failover' and topology label '{label}' in 'failover_priority'"
    return ""


def _check_needs(
    setting: LocalityLoadBalancerSetting | ZoneAwareLoadBalancerSetting,
    outliers: OutlierDetection | None,
    path: Path,
    report: Report,
) -> None:
    if (setting.failover or setting.failover_priority) and outliers is None:
        hint = "add outlierDetection: without it an endpoint is never left"
        report.warn(path, "outlier detection policy must be provided for failover", hint)


def check_zone_aware(
    setting: ZoneAwareLoadBalancerSetting, outliers: OutlierDetection | None, path: Path, report: Report
) -> None:
    """Zones are handled by the algorithm: only regions can be named."""
    _check_needs(setting, outliers, path, report)
    scope = "zone aware lb failover only specifies region; zone and subzone failover are handled automatically"
    for index, failover in enumerate(setting.failover):
        _check_failover(failover, (*path, "failover", index), report, what="zone aware lb", scope=scope)
    for index, label in enumerate(setting.failover_priority):
        if label in _TOPOLOGY:
            message = (
                f"'failover_priority' for zone aware lb must not use topology label '{label}'; "
                "region- and zone-level routing are handled automatically"
            )
            report.add("MESH078", (*path, "failoverPriority", index), message)


def _check_failover(failover: Failover, path: Path, report: Report, *, what: str, scope: str) -> None:
    source, target = failover.from_ or "", failover.to or ""
    if source == target:
        report.add("MESH078", path, f"{what} failover settings must specify different regions")
    if "/" in source or "/" in target:
        report.add("MESH078", path, scope)
    if "*" in source or "*" in target:
        report.add("MESH078", path, f"{what} failover region should not contain '*' wildcard")


def _check_localities(localities: Sequence[str], path: Path, report: Report) -> None:
    """Localities of one list: well formed, and none inside one before it."""
    seen: set[tuple[str, ...]] = set()
    for locality in localities:
        problem = _locality_problem(locality, seen)
        if problem:
            report.add("MESH078", path, f"locality {locality} {problem}")
            return


def _locality_problem(locality: str, seen: set[tuple[str, ...]]) -> str:
    if locality.count("*") > 1 or ("*" in locality and not locality.endswith("*")):
        return "wildcard '*' number can not exceed 1 and must be in the end"
    parts = tuple(locality.split("/", 2))
    overlap = "overlap with previous specified ones"
    if any(other[0] == "*" for other in seen):
        return overlap
    if "" in parts:
        return "must not contain empty region/zone/subzone info"
    # A region or zone overlaps with whatever lies in it, the other way round with the whole that it is in.
    if any(other[: len(parts)] == parts or _covers(other, parts) for other in seen):
        return overlap
    seen.add(parts)
    return ""


def _covers(other: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    plain = other[:-1] if len(other) > 1 and other[-1] == "*" else other
    return parts[: len(plain)] == plain
