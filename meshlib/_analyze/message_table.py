"""Istio's analysis messages that a configuration alone can give rise to: the rows of the table.

Codes, levels, names and wording are Istio's (pkg/config/analysis/msg/messages.yaml of Istio 1.31).
"""

from __future__ import annotations

from typing import Final

from meshlib.diagnostics import Level

__all__ = ["ROWS"]

# fmt: off
ROWS: Final[tuple[tuple[str, Level, str, str, str], ...]] = (
    ("IST0002", "warning", "Deprecated",
     "Deprecated: %s",
     "write what replaces it"),
    ("IST0101", "error", "ReferencedResourceNotFound",
     "Referenced %s not found: %q",
     "add the object that is named, or correct the name"),
    ("IST0102", "info", "NamespaceNotInjected",
     ("The namespace is not enabled for Istio injection. Run 'kubectl label namespace %s istio-"
     "injection=enabled' to enable it, or 'kubectl label namespace %s istio-injection=disabled' to "
     "explicitly mark it as not needing injection."),
     "label the namespace, one way or the other"),
    ("IST0103", "warning", "PodMissingProxy",
     "The pod %s is missing the Istio proxy. This can often be resolved by restarting or redeploying the workload.",
     "restart the workload, so that the sidecar is injected"),
    ("IST0106", "error", "SchemaValidationError",
     "Schema validation error: %v",
     "correct the field as the message says"),
    ("IST0107", "warning", "MisplacedAnnotation",
     "Misplaced annotation: %s can only be applied to %s",
     "move the annotation to a kind that takes it"),
    ("IST0108", "warning", "UnknownAnnotation",
     "Unknown annotation: %s",
     "correct the name, or remove the annotation"),
    ("IST0109", "error", "ConflictingMeshGatewayVirtualServiceHosts",
     ("The VirtualServices %s associated with mesh gateway define the same host %s which can lead to "
     "undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single "
     "resource."),
     "merge the VirtualServices into one"),
    ("IST0110", "error", "ConflictingSidecarWorkloadSelectors",
     "The Sidecars %v in namespace %q select the same workload pod %q, which can lead to undefined behavior.",
     "let each workload be selected by one Sidecar"),
    ("IST0111", "error", "MultipleSidecarsWithoutWorkloadSelectors",
     "The Sidecars %v in namespace %q have no workload selector, which can lead to undefined behavior.",
     "keep one Sidecar without workloadSelector in the namespace"),
    ("IST0112", "error", "VirtualServiceDestinationPortSelectorRequired",
     ("This VirtualService routes to a service %q that exposes multiple ports %v. Specifying a port in "
     "the destination is required to disambiguate."),
     "name the port of the destination"),
    ("IST0116", "warning", "DeploymentAssociatedToMultipleServices",
     "This deployment %s is associated with multiple services using port %d but different protocols: %v",
     "use one protocol for the port in all Services of the workload"),
    ("IST0118", "info", "PortNameIsNotUnderNamingConvention",
     "Port name %s (port: %d, targetPort: %s) doesn't follow the naming convention of Istio port.",
     "name the port <protocol>[-<suffix>], or set appProtocol"),
    ("IST0123", "warning", "NamespaceMultipleInjectionLabels",
     ("The namespace has more than one type of injection labels %v, which may lead to undefined "
     "behavior. Make sure only one injection label exists."),
     "keep one of the labels"),
    ("IST0125", "warning", "InvalidAnnotation",
     "Invalid annotation %s: %s",
     "correct the value of the annotation"),
    ("IST0126", "error", "UnknownMeshNetworksServiceRegistry",
     "Unknown service registry %s in network %s",
     "name Kubernetes, External, or the cluster of a remote secret"),
    ("IST0127", "warning", "NoMatchingWorkloadsFound",
     "No matching workloads for this resource with the following labels: %s",
     "correct the selector, or remove the policy"),
    ("IST0128", "warning", "NoServerCertificateVerificationDestinationLevel",
     ("DestinationRule %s in namespace %s has TLS mode set to %s but no caCertificates are set to "
     "validate server identity for host: %s"),
     "set caCertificates, so that the server is verified"),
    ("IST0129", "warning", "NoServerCertificateVerificationPortLevel",
     ("DestinationRule %s in namespace %s has TLS mode set to %s but no caCertificates are set to "
     "validate server identity for host: %s at port %s"),
     "set caCertificates, so that the server is verified"),
    ("IST0130", "warning", "VirtualServiceUnreachableRule",
     "VirtualService rule %v not used (%s).",
     "remove the rule, or move it before the one that takes its requests"),
    ("IST0131", "info", "VirtualServiceIneffectiveMatch",
     "VirtualService rule %v match %v is not used (duplicate/overlapping match in rule %v).",
     "remove the match, or move its rule before the other one"),
    ("IST0132", "warning", "VirtualServiceHostNotFoundInGateway",
     "one or more host %v defined in VirtualService %s not found in Gateway %s.",
     "add the host to the Gateway, or correct the hosts of the VirtualService"),
    ("IST0133", "warning", "SchemaWarning",
     "Schema validation warning: %v",
     "correct the field as the message says"),
    ("IST0134", "warning", "ServiceEntryAddressesRequired",
     "ServiceEntry addresses are required for this protocol.",
     "set addresses, or switch automatic allocation on"),
    ("IST0135", "info", "DeprecatedAnnotation",
     "Annotation %q has been deprecated%s and may not work in future Istio versions.",
     "write what replaces it"),
    ("IST0137", "warning", "DeploymentConflictingPorts",
     "This deployment %s is associated with multiple services %v using targetPort %q but different ports: %v.",
     "give the target port the same port in all Services of the workload"),
    ("IST0138", "warning", "GatewayDuplicateCertificate",
     "Duplicate certificate in multiple gateways %v may cause 404s if clients re-use HTTP2 connections.",
     "use one Gateway, or certificates that do not overlap"),
    ("IST0139", "error", "InvalidWebhook",
     "%v",
     "correct the webhook as the message says"),
    ("IST0140", "warning", "IngressRouteRulesNotAffected",
     "Subset in virtual service %s has no effect on ingress gateway %s requests",
     "write the subset in the VirtualService of the gateway too"),
    ("IST0144", "warning", "InvalidApplicationUID",
     "User ID (UID) 1337 is reserved for the sidecar proxy.",
     "run the container as another user"),
    ("IST0145", "error", "ConflictingGateways",
     "Conflict with gateways %s (workload selector %s, port %s, hosts %v).",
     "merge the Gateways, or separate them by hosts, ports or selectors"),
    ("IST0146", "warning", "ImageAutoWithoutInjectionWarning",
     "%s %s contains `image: auto` but does not match any Istio injection webhook selectors.",
     "label the namespace or the pod for injection"),
    ("IST0147", "error", "ImageAutoWithoutInjectionError",
     "%s %s contains `image: auto` but does not match any Istio injection webhook selectors.",
     "label the namespace or the pod for injection, and create the pod anew"),
    ("IST0148", "info", "NamespaceInjectionEnabledByDefault",
     "is enabled for Istio injection, as Istio is installed with enableNamespacesByDefault as true.",
     "label the namespace, one way or the other"),
    ("IST0149", "error", "JwtClaimBasedRoutingWithoutRequestAuthN",
     ("The virtual service uses the JWT claim based routing (key: %s) but found no request "
     "authentication for the gateway (%s) pod (%s). The request authentication must first be applied "
     "for the gateway pods to validate the JWT token and make the claims available for routing."),
     "apply a RequestAuthentication to the workload of the gateway"),
    ("IST0150", "warning", "ExternalNameServiceTypeInvalidPortName",
     ("Port name for ExternalName service is invalid. Proxy may prevent tcp named ports and unmatched "
     "traffic for ports serving TCP protocol from being forwarded correctly"),
     "name the port http, http2, grpc or tls, whichever it is"),
    ("IST0151", "warning", "EnvoyFilterUsesRelativeOperation",
     ("This EnvoyFilter does not have a priority and has a relative patch operation set which can cause"
     " the EnvoyFilter not to be applied. Using the INSERT_FIRST of ADD option or setting the priority"
     " may help in ensuring the EnvoyFilter is applied correctly."),
     "set priority, or use INSERT_FIRST or ADD"),
    ("IST0152", "error", "EnvoyFilterUsesReplaceOperationIncorrectly",
     "The REPLACE operation is only valid for HTTP_FILTER and NETWORK_FILTER.",
     "use MERGE, or apply the patch to a filter"),
    ("IST0153", "error", "EnvoyFilterUsesAddOperationIncorrectly",
     "The ADD operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.",
     "use MERGE, or apply the patch to something else"),
    ("IST0154", "error", "EnvoyFilterUsesRemoveOperationIncorrectly",
     "The REMOVE operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.",
     "use MERGE, or apply the patch to something else"),
    ("IST0155", "warning", "EnvoyFilterUsesRelativeOperationWithProxyVersion",
     ("This EnvoyFilter does not have a priority and has a relative patch operation "
     "(NSTERT_BEFORE/AFTER, REPLACE, MERGE, DELETE) and proxyVersion set which can cause the "
     "EnvoyFilter not to be applied during an upgrade. Using the INSERT_FIRST or ADD option or setting"
     " the priority may help in ensuring the EnvoyFilter is applied correctly."),
     "set priority, or use INSERT_FIRST or ADD"),
    ("IST0157", "warning", "InvalidTelemetryProvider",
     "The Telemetry %v in namespace %q with empty providers will be ignored.",
     "name a provider, or set defaultProviders.accessLogging in the mesh configuration"),
    ("IST0158", "warning", "PodsIstioProxyImageMismatchInNamespace",
     ("The Istio proxy images of the pods running in the namespace do not match the image defined in "
     "the injection configuration (pod names: %v). This often happens after upgrading the Istio "
     "control-plane and can be fixed by redeploying the pods."),
     "redeploy the workloads"),
    ("IST0159", "error", "ConflictingTelemetryWorkloadSelectors",
     "The Telemetries %v in namespace %q select the same workload pod %q, which can lead to undefined behavior.",
     "let each workload be selected by one Telemetry"),
    ("IST0160", "error", "MultipleTelemetriesWithoutWorkloadSelectors",
     "The Telemetries %v in namespace %q have no workload selector, which can lead to undefined behavior.",
     "keep one Telemetry without selector in the namespace"),
    ("IST0161", "error", "InvalidGatewayCredential",
     ("The credential referenced by the Gateway %s in namespace %s is invalid, which can cause the "
     "traffic not to work as expected."),
     "put a valid certificate and its key into the Secret"),
    ("IST0162", "warning", "GatewayPortNotDefinedOnService",
     ("The gateway is listening on a target port (port %d) that is not defined in the Service "
     "associated with its workload instances (Pod selector %s). If you need to access the gateway port"
     " through the gateway Service, it will not be available."),
     "add the port to the Service, or correct the port of the Gateway"),
    ("IST0163", "warning", "InvalidExternalControlPlaneConfig",
     ("The hostname (%s) that was provided for the webhook (%s) to reach the ingress gateway on the "
     "external control plane cluster %s. Traffic may not flow properly."),
     "correct the URL of the webhook"),
    ("IST0164", "info", "ExternalControlPlaneAddressIsNotAHostname",
     ("The address (%s) that was provided for the webhook (%s) to reach the ingress gateway on the "
     "external control plane cluster is an IP address. This is not recommended for a production "
     "environment."),
     "use a host name"),
    ("IST0165", "warning", "ReferencedInternalGateway",
     "Gateway reference in VirtualService %s is to an implementation-generated internal Gateway: %s.",
     "attach the routes to the Kubernetes Gateway by HTTPRoute"),
    ("IST0166", "warning", "IneffectiveSelector",
     "Ineffective selector on Kubernetes Gateway %s. Use the TargetRef field instead.",
     "attach the policy by targetRefs"),
    ("IST0167", "warning", "IneffectivePolicy",
     "The policy has no impact: %s.",
     "remove the policy"),
    ("IST0171", "warning", "NegativeConditionStatus",
     "A condition with a negative status is present: type=%s, reason=%s, message=%s.",
     "look at the reason in the message"),
    ("IST0173", "error", "DestinationRuleSubsetNotSelectPods",
     ("The Subset %s defined in the DestinationRule does not select any pods. Which may lead to 503 UH "
     "(NoHealthyUpstream)."),
     "correct the labels of the subset, or the pods"),
    ("IST0174", "warning", "UnknownDestinationRuleHost",
     "The host %s defined in the DestinationRule does not match any services in the mesh.",
     "correct the host, or add the Service or ServiceEntry"),
    ("IST0175", "warning", "JwksUriFetchUnrestricted",
     ("BLOCKED_CIDRS_IN_JWKS_URIS is not configured but %d RequestAuthentication resource(s) exist "
     "(%s). Consider configuring it to restrict JWKS URI fetches to trusted networks."),
     "set BLOCKED_CIDRS_IN_JWKS_URIS of istiod"),
    ("IST0176", "warning", "GatewayAPICRDVersionBelowMinimum",
     ("Gateway API CRD %q is at version %q but Istio requires at least %q; resources of this kind will "
     "not be processed. Upgrade the Gateway API CRDs to satisfy the minimum version."),
     "install a newer version of the Gateway API"),
    ("IST0177", "warning", "ConflictingServiceEntryProtocol",
     "Multiple ServiceEntries (%s) define the same host %q and port %d with conflicting protocols (%s).",
     "use one protocol for the host and port"),
)
# fmt: on
"""Code, level, name, template with Go's verbs, remedy."""
