"""The kinds that are read: which group and versions they are served in, and which struct holds their spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Final, Literal, TypeAlias

from msgspec.json import Decoder

from meshlib.model.base import Spec

__all__ = ["KINDS", "Kind", "Treatment", "kind_named", "spec_class"]

_PREPARING: Final = Lock()

Treatment: TypeAlias = Literal["applied", "modelled", "discovery", "mesh"]
"""``applied`` kinds govern requests; ``modelled`` ones are only checked; ``discovery`` ones tell of services."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. ``spec`` is ``module:Class`` below this package: a model is imported when the first object needs it."""

    name: str
    group: str
    versions: tuple[str, ...]
    spec: str
    treatment: Treatment = "applied"
    namespaced: bool = True


_NETWORKING: Final = ("v1", "v1beta1", "v1alpha3")


def _istio(name: str, area: str, versions: tuple[str, ...], module: str, treatment: Treatment = "applied") -> Kind:
    spec = f"{module}:{name}Spec"
    return Kind(name=name, group=f"{area}.istio.io", versions=versions, spec=spec, treatment=treatment)


def _core(name: str, spec: str, group: str = "", version: str = "v1", *, namespaced: bool = True) -> Kind:
    return Kind(
        name=name,
        group=group,
        versions=(version,),
        spec=f"kubernetes:{spec}",
        treatment="discovery",
        namespaced=namespaced,
    )


_ALL: Final = (
    _istio("VirtualService", "networking", _NETWORKING, "virtual_service"),
    _istio("DestinationRule", "networking", _NETWORKING, "destination_rule"),
    _istio("ServiceEntry", "networking", _NETWORKING, "service_entry"),
    _istio("WorkloadEntry", "networking", _NETWORKING, "workload_entry"),
    _istio("WorkloadGroup", "networking", _NETWORKING, "workload_group"),
    _istio("Gateway", "networking", _NETWORKING, "gateway"),
    _istio("Sidecar", "networking", _NETWORKING, "sidecar"),
    _istio("ProxyConfig", "networking", ("v1beta1",), "proxy_config"),
    _istio("EnvoyFilter", "networking", ("v1alpha3",), "envoy_filter", "modelled"),
    _istio("PeerAuthentication", "security", ("v1", "v1beta1"), "peer_authentication"),
    _istio("RequestAuthentication", "security", ("v1", "v1beta1"), "request_authentication"),
    _istio("AuthorizationPolicy", "security", ("v1", "v1beta1"), "authorization_policy"),
    _istio("Telemetry", "telemetry", ("v1", "v1alpha1"), "telemetry"),
    _istio("WasmPlugin", "extensions", ("v1alpha1",), "wasm_plugin", "modelled"),
    _istio("TrafficExtension", "extensions", ("v1alpha1",), "traffic_extension", "modelled"),
    Kind(name="ClientPolicy", group="meshlib.dev", versions=("v1alpha1",), spec="client_policy:ClientPolicySpec"),
    Kind(name="ServerPolicy", group="meshlib.dev", versions=("v1alpha1",), spec="server_policy:ServerPolicySpec"),
    Kind(name="MeshConfig", group="", versions=(), spec="mesh_config:MeshConfig", treatment="mesh"),
    _core("Service", "ServiceSpec"),
    _core("Endpoints", "EndpointsSpec"),
    _core("Pod", "PodSpec"),
    _core("Secret", "SecretSpec"),
    _core("ConfigMap", "ConfigMapSpec"),
    _core("Namespace", "NamespaceSpec", namespaced=False),
    _core("Node", "NodeSpec", namespaced=False),
    _core("EndpointSlice", "EndpointSliceSpec", "discovery.k8s.io"),
    *(_core(name, "WorkloadSpec", "apps") for name in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")),
    *(_core(name, "WorkloadSpec", "batch") for name in ("Job", "CronJob")),
)

KINDS: Final[Mapping[tuple[str, str], Kind]] = {(kind.group, kind.name): kind for kind in _ALL}
"""All kinds by API group and name."""


def kind_named(name: str) -> Kind | None:
    """The kind of that name; names are unique among the groups we read."""
    return next((kind for kind in _ALL if kind.name == name), None)


@cache
def spec_class(kind: Kind) -> type[Spec]:
    """The struct of the kind's spec, ready to be used by any thread."""
    module, _, name = kind.spec.partition(":")
    found: type[Spec] = getattr(import_module(f"meshlib.model.{module}"), name)
    with _PREPARING:
        # msgspec collects the types of a struct at its first use, and two threads that do so at once crash it.
        Decoder(found)
    return found
