"""LoadBalancerSettings: which endpoint of a destination gets the next request.

https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from meshlib.model.base import EMPTY, Maybe, Model, at_most_one
from meshlib.model.scalars import AnyDuration, Duration, FineDuration, UInt32, UInt64

__all__ = [
    "BackendUtilization",
    "ConsistentHashLB",
    "CookieAttribute",
    "Distribute",
    "Failover",
    "HTTPCookie",
    "LoadBalancerSettings",
    "LocalityLoadBalancerSetting",
    "MagLev",
    "RingHash",
    "WarmupConfiguration",
    "ZoneAwareLoadBalancerSetting",
]


class CookieAttribute(Model, frozen=True, kw_only=True):
    """An extra attribute of the cookie we issue, such as ``SameSite``."""

    name: Annotated[str, Meta(min_length=1)]
    value: Maybe[str] = None


class HTTPCookie(Model, frozen=True, kw_only=True):
    """Hash by a cookie. With a ``ttl`` a missing cookie is issued; ``0s`` makes a session cookie."""

    name: Annotated[str, Meta(min_length=1)]
    path: Maybe[str] = None
    ttl: Maybe[AnyDuration] = None
    attributes: tuple[CookieAttribute, ...] = ()


class RingHash(Model, frozen=True, kw_only=True):
    """Ketama ring of at least ``minimum_ring_size`` (1024) entries."""

    minimum_ring_size: Maybe[UInt64] = None


class MagLev(Model, frozen=True, kw_only=True):
    """Maglev table of ``table_size`` (65537) entries: a prime up to 5000011."""

    table_size: Maybe[UInt64] = None


class ConsistentHashLB(Model, frozen=True, kw_only=True):
    """Same key, same endpoint. One hash key; ring hash unless ``maglev`` is written.

    ``minimum_ring_size`` is the deprecated place of ``ring_hash.minimum_ring_size``.
    """

    http_header_name: Maybe[str] = None
    http_cookie: Maybe[HTTPCookie] = None
    use_source_ip: Maybe[bool] = None
    http_query_parameter_name: Maybe[str] = None
    ring_hash: Maybe[RingHash] = None
    maglev: Maybe[MagLev] = None
    minimum_ring_size: Maybe[UInt64] = None

    def __post_init__(self) -> None:
        at_most_one(self, "http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name")
        at_most_one(self, "ring_hash", "maglev")


class Distribute(Model, frozen=True, kw_only=True):
    """Share the traffic of locality ``from_`` out to localities by percent; the values sum up to 100."""

    from_: Maybe[str] = None
    to: Mapping[str, UInt32] = EMPTY


class Failover(Model, frozen=True, kw_only=True):
    """Endpoints of region ``to`` come next when those of region ``from_`` are not healthy."""

    from_: Maybe[str] = None
    to: Maybe[str] = None


class LocalityLoadBalancerSetting(Model, frozen=True, kw_only=True):
    """Prefer what is near. ``enabled`` null: as the mesh says. ``distribute`` excludes ``failover``.

    https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting
    """

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    enabled: bool | None = None


class ZoneAwareLoadBalancerSetting(Model, frozen=True, kw_only=True):
    """Keep traffic in its zone as far as capacity allows; not below ``min_cluster_size`` endpoints."""

    enabled: bool | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[str, ...] = ()
    min_cluster_size: Annotated[int, Meta(ge=1, le=4294967295)] | None = None


class WarmupConfiguration(Model, frozen=True, kw_only=True):
    """Slow start: new endpoints grow from ``minimum_percent`` (10) of their share over ``duration``."""

    duration: Duration
    minimum_percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    aggression: Annotated[float, Meta(gt=0)] | None = None


class BackendUtilization(Model, frozen=True, kw_only=True):
    """Weights from the load that endpoints report (ORCA). The periods are durations that Istio does not check yet."""

    weight_stabilization_period: Maybe[str] = None
    weight_expiration_period: Maybe[str] = None
    weight_update_period: Maybe[str] = None
    error_utilization_penalty_percent: Maybe[UInt32] = None
    metric_names_for_computing_utilization: tuple[str, ...] = ()


class LoadBalancerSettings(Model, frozen=True, kw_only=True):
    """The algorithm (``simple`` absent: LEAST_REQUEST) and what bends it: locality, zones, warm-up.

    ``warmup_duration_secs`` is the deprecated place of ``warmup.duration``.
    """

    simple: Maybe[Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"]] = None
    consistent_hash: Maybe[ConsistentHashLB] = None
    backend_utilization: Maybe[BackendUtilization] = None
    locality_lb_setting: Maybe[LocalityLoadBalancerSetting] = None
    zone_aware_lb_setting: Maybe[ZoneAwareLoadBalancerSetting] = None
    warmup_duration_secs: Maybe[FineDuration] = None
    warmup: Maybe[WarmupConfiguration] = None

    def __post_init__(self) -> None:
        at_most_one(self, "simple", "consistent_hash", "backend_utilization")
