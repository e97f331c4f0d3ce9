"""EnvoyFilter: patches of Envoy's own configuration. Modelled so that files can be checked; nothing is applied.

https://istio.io/latest/docs/reference/config/networking/envoy-filter/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from meshlib.model.base import EMPTY, UNWRITTEN, Json, Maybe, Model, RuleError, Spec, at_most_one
from meshlib.model.scalars import Int32, Port, UInt32
from meshlib.model.selectors import PolicyTargetReference, WorkloadSelector

__all__ = [
    "ClusterMatch",
    "EnvoyConfigObjectMatch",
    "EnvoyConfigObjectPatch",
    "EnvoyFilterSpec",
    "FilterChainMatch",
    "FilterMatch",
    "ListenerMatch",
    "Patch",
    "ProxyMatch",
    "RouteConfigurationMatch",
    "RouteMatch",
    "SubFilterMatch",
    "VirtualHostMatch",
    "WaypointMatch",
    "WaypointRouteMatch",
]


class ProxyMatch(Model, frozen=True, kw_only=True):
    """Proxies by version and metadata."""

    proxy_version: Maybe[str] = None
    metadata: Mapping[str, str] = EMPTY


class SubFilterMatch(Model, frozen=True, kw_only=True):
    """A filter within a filter."""

    name: Maybe[str] = None


class FilterMatch(Model, frozen=True, kw_only=True):
    """A filter by name."""

    name: Maybe[str] = None
    sub_filter: Maybe[SubFilterMatch] = None


class FilterChainMatch(Model, frozen=True, kw_only=True):
    """A filter chain of a listener."""

    name: Maybe[str] = None
    sni: Maybe[str] = None
    transport_protocol: Maybe[str] = None
    transport_socket: Maybe[str] = None
    application_protocols: Maybe[str] = None
    filter: Maybe[FilterMatch] = None
    destination_port: Maybe[UInt32] = None


class ListenerMatch(Model, frozen=True, kw_only=True):
    """A listener."""

    port_number: Maybe[UInt32] = None
    port_name: Maybe[str] = None
    filter_chain: Maybe[FilterChainMatch] = None
    listener_filter: Maybe[str] = None
    name: Maybe[str] = None


class RouteMatch(Model, frozen=True, kw_only=True):
    """A route of a virtual host."""

    name: Maybe[str] = None
    action: Maybe[Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"]] = None


class VirtualHostMatch(Model, frozen=True, kw_only=True):
    """A virtual host of a route configuration."""

    name: Maybe[str] = None
    domain_name: Maybe[str] = None
    route: Maybe[RouteMatch] = None


class RouteConfigurationMatch(Model, frozen=True, kw_only=True):
    """A route configuration."""

    port_number: Maybe[UInt32] = None
    port_name: Maybe[str] = None
    gateway: Maybe[str] = None
    vhost: Maybe[VirtualHostMatch] = None
    name: Maybe[str] = None


class ClusterMatch(Model, frozen=True, kw_only=True):
    """A cluster."""

    port_number: Maybe[UInt32] = None
    service: Maybe[str] = None
    subset: Maybe[str] = None
    name: Maybe[str] = None


class WaypointRouteMatch(Model, frozen=True, kw_only=True):
    """A route of a waypoint."""

    name: Maybe[str] = None


class WaypointMatch(Model, frozen=True, kw_only=True):
    """A part of a waypoint proxy."""

    port_number: Maybe[Port] = None
    filter: Maybe[FilterMatch] = None
    route: Maybe[WaypointRouteMatch] = None


class EnvoyConfigObjectMatch(Model, frozen=True, kw_only=True):
    """Where the patch is applied; one kind of object."""

    context: Maybe[Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"]] = None
    proxy: Maybe[ProxyMatch] = None
    listener: Maybe[ListenerMatch] = None
    route_configuration: Maybe[RouteConfigurationMatch] = None
    cluster: Maybe[ClusterMatch] = None
    waypoint: Maybe[WaypointMatch] = None

    def __post_init__(self) -> None:
        at_most_one(self, "listener", "route_configuration", "cluster", "waypoint")
        if (self.context == "WAYPOINT") != (self.waypoint is not None):
            raise RuleError("only support waypointMatch when context is WAYPOINT", field="context")


class Patch(Model, frozen=True, kw_only=True):
    """What is done to the object; ``value`` is Envoy's own JSON."""

    operation: Maybe[
        Literal[
            "INVALID",
            "MERGE",
            "ADD",
            "REMOVE",
            "INSERT_BEFORE",
            "INSERT_AFTER",
            "INSERT_FIRST",
            "REPLACE",
            "MERGE_AND_REPLACE_LIST",
        ]
    ] = None
    value: Mapping[str, Json] = EMPTY
    filter_class: Maybe[Literal["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"]] = None


class EnvoyConfigObjectPatch(Model, frozen=True, kw_only=True):
    """One patch."""

    apply_to: Maybe[
        Literal[
            "INVALID",
            "LISTENER",
            "FILTER_CHAIN",
            "NETWORK_FILTER",
            "HTTP_FILTER",
            "ROUTE_CONFIGURATION",
            "VIRTUAL_HOST",
            "HTTP_ROUTE",
            "CLUSTER",
            "EXTENSION_CONFIG",
            "BOOTSTRAP",
            "LISTENER_FILTER",
        ]
    ] = None
    match: Maybe[EnvoyConfigObjectMatch] = None
    patch: Maybe[Patch] = None


class EnvoyFilterSpec(Spec, frozen=True, kw_only=True):
    """Patches for the workloads in ``workload_selector`` or behind ``target_refs``; lower ``priority`` comes first."""

    RULES: ClassVar[tuple[str, ...]] = ("configPatches",)

    workload_selector: Maybe[WorkloadSelector] = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Meta(max_length=16)] = UNWRITTEN
    config_patches: tuple[EnvoyConfigObjectPatch, ...] = ()
    priority: Maybe[Int32] = None

    def __post_init__(self) -> None:
        if self.workload_selector is not None and self.target_refs is not UNWRITTEN:
            raise RuleError("only one of targetRefs or workloadSelector can be set", field="workloadSelector")
