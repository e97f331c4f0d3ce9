"""Fields and kinds that Istio once had, and what took their place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

__all__ = ["old_field", "old_kind"]

_POLICY: Final = "of the Policy of old versions"
_MIXER: Final = "of versions with Mixer: remove it"

# By kind and name; after a dot a field that stands beside it, where the name means something else elsewhere.
_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "VirtualService": {
        "appendHeaders": "of an old version: write headers.request.add",
        "appendRequestHeaders": "of an old version: write headers.request.add",
        "appendResponseHeaders": "of an old version: write headers.response.add",
        "removeRequestHeaders": "of an old version: write headers.request.remove",
        "removeResponseHeaders": "of an old version: write headers.response.remove",
        "websocketUpgrade": "of an old version: remove it, WebSockets pass without it",
        "percent.httpStatus": "of an old version: write percentage: {value: …}",
        "name.subset": "of an old version: write host",
        "httpReqTimeout": "of RouteRule: write timeout",
        "httpReqRetries": "of RouteRule: write retries",
        "httpFault": "of RouteRule: write fault",
        "precedence": "of RouteRule: the order of the rules decides",
    },
    "DestinationRule": {
        "name.subsets": "of an old version: write host",
        "http.baseEjectionTime": "of an old version: its fields stand in outlierDetection itself",
        "circuitBreaker": "of DestinationPolicy: write trafficPolicy.connectionPool and outlierDetection",
        "loadBalancing": "of DestinationPolicy: write trafficPolicy.loadBalancer",
    },
    "RequestAuthentication": {
        "origins": f"{_POLICY}: write jwtRules",
        "jwtHeaders": f"{_POLICY}: write fromHeaders",
        "jwtParams": f"{_POLICY}: write fromParams",
        "triggerRules": f"{_POLICY}: let an AuthorizationPolicy say which paths need a token",
        "principalBinding": f"{_POLICY}: let an AuthorizationPolicy ask for requestPrincipals",
        "targets": f"{_POLICY}: write selector",
    },
    "PeerAuthentication": {
        "peers": f"{_POLICY}: write mtls",
        "peerIsOptional": f"{_POLICY}: write mtls: {{mode: PERMISSIVE}}",
        "targets": f"{_POLICY}: write selector",
    },
    "AuthorizationPolicy": {
        "subjects": "of ServiceRoleBinding: write rules[].from[].source",
        "roleRef": "of ServiceRoleBinding: the rules stand in the AuthorizationPolicy itself",
        "services": "of ServiceRole: write selector",
        "constraints": "of ServiceRole: write when",
        "properties": "of ServiceRoleBinding: write when",
        "workloadSelector": "of an old version: write selector",
    },
    "Gateway": {"sdsTokenPath": "of an old version: remove it"},
    "MeshConfig": {
        "mixerCheckServer": _MIXER,
        "mixerReportServer": _MIXER,
        "disablePolicyChecks": _MIXER,
        "policyCheckFailOpen": _MIXER,
        "enableClientSidePolicyCheck": _MIXER,
        "sidecarToTelemetrySessionAffinity": _MIXER,
        "authPolicy": "of an old version: write a PeerAuthentication in the root namespace",
        "sdsUdsPath": "of an old version: remove it",
        "enableSdsTokenMount": "of an old version: remove it",
        "rdsRefreshDelay": "of an old version: remove it",
    },
}
_KINDS: Final[Mapping[str, Mapping[str, str]]] = {
    "rbac.istio.io": dict.fromkeys(
        ("ServiceRole", "ServiceRoleBinding", "RbacConfig", "ClusterRbacConfig"),
        "AuthorizationPolicy of security.istio.io/v1",
    ),
    "authentication.istio.io": dict.fromkeys(
        ("Policy", "MeshPolicy"), "PeerAuthentication and RequestAuthentication of security.istio.io/v1"
    ),
    "config.istio.io": {
        "RouteRule": "VirtualService of networking.istio.io/v1",
        "DestinationPolicy": "DestinationRule of networking.istio.io/v1",
        "EgressRule": "ServiceEntry of networking.istio.io/v1",
        "": "Telemetry, EnvoyFilter or an external authorizer, according to what it did",
    },
}


def old_field(kind: str, name: str, beside: Collection[str]) -> str | None:
    """What took the place of a field, if Istio once had it there; ``beside`` are the fields that are known there."""
    for written, hint in _FIELDS.get(kind, {}).items():
        old, _, neighbour = written.partition(".")
        if old == name and (not neighbour or neighbour in beside):
            return hint
    return None


def old_kind(group: str, name: str) -> str | None:
    """What took the place of a kind, if Istio once had it."""
    kinds = _KINDS.get(group, {})
    return kinds.get(name) or kinds.get("")
