"""Load balancing of a DestinationRule: what Istio's webhook refuses (validateLoadBalancer)."""

from __future__ import annotations

from math import isqrt

from meshlib._config.check import Path
from meshlib._config.rules.locality import check_locality, check_zone_aware
from meshlib._config.rules.report import Report
from meshlib.model.load_balancer import ConsistentHashLB, HTTPCookie, LoadBalancerSettings
from meshlib.model.traffic_policy import OutlierDetection

__all__ = ["check_balancer"]


def check_balancer(
    balancer: LoadBalancerSettings, outliers: OutlierDetection | None, path: Path, report: Report
) -> None:
    """The hash, and either localities or zones."""
    if balancer.consistent_hash is not None:
        _check_hash(balancer.consistent_hash, (*path, "consistentHash"), report)
    if balancer.locality_lb_setting is not None and balancer.zone_aware_lb_setting is not None:
        report.add("MESH078", path, "only one of localityLbSetting and zoneAwareLbSetting can be set")
    if balancer.locality_lb_setting is not None:
        check_locality(balancer.locality_lb_setting, outliers, (*path, "localityLbSetting"), report)
    if balancer.zone_aware_lb_setting is not None:
        check_zone_aware(balancer.zone_aware_lb_setting, outliers, (*path, "zoneAwareLbSetting"), report)


def _check_hash(settings: ConsistentHashLB, path: Path, report: Report) -> None:
    if settings.http_cookie is not None:
        _check_cookie(settings.http_cookie, (*path, "httpCookie"), report)
    if settings.minimum_ring_size:
        place = (*path, "minimumRingSize")
        message = "consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash configuration instead"
        report.warn(place, message, "write ringHash: {minimumRingSize: …}")
        if settings.ring_hash is not None or settings.maglev is not None:
            report.add("MESH078", place, "only one of MinimumRingSize or Maglev/Ringhash can be specified")
    if settings.maglev is None:
        return
    size, place = settings.maglev.table_size or 0, (*path, "maglev", "tableSize")
    if size == 0:
        report.add("MESH078", place, "tableSize must be set for maglev", "write a prime number, such as 65537")
    if size >= 5000011:
        report.add("MESH078", place, "tableSize must be less than 5000011 for maglev")
    if not _is_prime(size):
        report.add("MESH078", place, "tableSize must be a prime number for maglev", "write 65537")


def _check_cookie(cookie: HTTPCookie, path: Path, report: Report) -> None:
    if not cookie.name:
        report.add("MESH078", (*path, "name"), "name required for HttpCookie")
    names: set[str] = set()
    for index, attribute in enumerate(cookie.attributes):
        place = (*path, "attributes", index, "name")
        if not attribute.name:
            report.add("MESH078", place, "cookie attribute name cannot be empty")
        elif attribute.name in names:
            report.add("MESH078", place, f"duplicate cookie attribute name: {attribute.name}")
        names.add(attribute.name or "")


def _is_prime(number: int) -> bool:
    """As Envoy counts: 1 is one too."""
    if 0 < number < 4:
        return True
    return number % 2 == 1 and all(number % factor for factor in range(3, isqrt(min(number, 10**9)) + 1, 2))
