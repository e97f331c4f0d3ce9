"""All analyzers, by the name that Istio gives to its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from meshlib._analyze.annotations import analyze_annotations
from meshlib._analyze.conditions import analyze_conditions
from meshlib._analyze.deployments import analyze_service_ports, analyze_users
from meshlib._analyze.deprecations import analyze_deprecations
from meshlib._analyze.destination_rules import analyze_pods, analyze_verification
from meshlib._analyze.envoy_filters import analyze_patches
from meshlib._analyze.gateway_conflicts import analyze_conflicts
from meshlib._analyze.gateway_routes import analyze_claim_routes, analyze_gateway_references
from meshlib._analyze.gateways import analyze_certificates, analyze_credentials, analyze_ports
from meshlib._analyze.injection import analyze_auto_images, analyze_images, analyze_injection
from meshlib._analyze.kubernetes_gateways import analyze_crd_versions, analyze_gateway_selectors
from meshlib._analyze.networks import analyze_networks
from meshlib._analyze.port_names import analyze_port_names
from meshlib._analyze.report import Reporter
from meshlib._analyze.security import analyze_key_fetch, analyze_policies
from meshlib._analyze.selectors import analyze_providers, analyze_sidecars, analyze_telemetries
from meshlib._analyze.service_entries import analyze_addresses, analyze_protocols
from meshlib._analyze.unreachable import analyze_unreachable
from meshlib._analyze.view import View
from meshlib._analyze.virtual_services import analyze_conflicting_hosts, analyze_destinations, analyze_subsets
from meshlib._analyze.webhooks import analyze_addresses as analyze_webhook_addresses
from meshlib._analyze.webhooks import analyze_webhooks

__all__ = ["ANALYZERS", "Analyzer"]

Analyzer: TypeAlias = Callable[[View, Reporter], None]

ANALYZERS: Final[Mapping[str, Analyzer]] = {
    "annotations.K8sAnalyzer": analyze_annotations,
    "authn.BlockedCIDRsAnalyzer": analyze_key_fetch,
    "auth.AuthorizationPoliciesAnalyzer": analyze_policies,
    "conditions.ConditionAnalyzer": analyze_conditions,
    "deployment.ApplicationUIDAnalyzer": analyze_users,
    "deployment.MultiServiceAnalyzer": analyze_service_ports,
    "deprecation.DeprecationAnalyzer": analyze_deprecations,
    "destinationrule.CaCertificateAnalyzer": analyze_verification,
    "destinationrule.PodNotSelectedAnalyzer": analyze_pods,
    "envoyfilter.EnvoyPatchAnalyzer": analyze_patches,
    "externalcontrolplane.ExternalControlPlaneAnalyzer": analyze_webhook_addresses,
    "gateway.CertificateAnalyzer": analyze_certificates,
    "gateway.ConflictingGatewayAnalyzer": analyze_conflicts,
    "gateway.IngressGatewayPortAnalyzer": analyze_ports,
    "gateway.SecretAnalyzer": analyze_credentials,
    "injection.Analyzer": analyze_injection,
    "injection.ImageAnalyzer": analyze_images,
    "injection.ImageAutoAnalyzer": analyze_auto_images,
    "k8sgateway.CRDVersionAnalyzer": analyze_crd_versions,
    "k8sgateway.SelectorAnalyzer": analyze_gateway_selectors,
    "meshnetworks.MeshNetworksAnalyzer": analyze_networks,
    "schema.ValidationAnalyzer.VirtualService": analyze_unreachable,
    "service.PortNameAnalyzer": analyze_port_names,
    "serviceentry.Analyzer": analyze_addresses,
    "serviceentry.ConflictingServiceEntryProtocolAnalyzer": analyze_protocols,
    "sidecar.SelectorAnalyzer": analyze_sidecars,
    "telemetry.ProviderAnalyzer": analyze_providers,
    "telemetry.SelectorAnalyzer": analyze_telemetries,
    "virtualservice.ConflictingMeshGatewayHostsAnalyzer": analyze_conflicting_hosts,
    "virtualservice.DestinationHostAnalyzer": analyze_destinations,
    "virtualservice.DestinationRuleAnalyzer": analyze_subsets,
    "virtualservice.GatewayAnalyzer": analyze_gateway_references,
    "virtualservice.JWTClaimRouteAnalyzer": analyze_claim_routes,
    "webhook.Analyzer": analyze_webhooks,
}
