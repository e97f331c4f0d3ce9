"""The support matrix as rules: path, status, note. The longest rule that covers a field decides.

Everything that reads the matrix reads it from here: warnings at load, strict mode,
``Mesh.report()``, ``meshlib fields`` and the documentation. A change of what meshlib
does is a change of one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

__all__ = ["RULES", "VOID", "Rule", "StatusName"]

StatusName: TypeAlias = Literal["honoured", "approximated", "refused"]
Rule: TypeAlias = tuple[str, StatusName, str]

VOID: Final = "of no effect, as in Istio 1.31"
"""How the note of a field begins that Istio takes and passes over: it is honoured by doing nothing."""

_INTRODUCED: Final = "by mesh.open_connection and mesh.create_connection; HTTP clients do not send it (MESH068)"
_SOURCE: Final = "at a gateway the client's address, else INSTANCE_IP, POD_IP or Workload(address=…)"
_NETWORKS: Final = "called directly, as in Istio where no gateway leads to the network"
_CURVES: Final = "the first that OpenSSL knows, where the servers of a port agree; else all of OpenSSL's are spoken"
_PLANNED: Final = "not implemented yet"
_CONNECTIONS: Final = "for mesh.open_connection and mesh.create_connection; other sockets are not seen"
_DIALLED: Final = "compared with the address of the service; without one no subnet fits"
_EXTENSION: Final = "meshlib's own: Istio rejects the field; use VirtualService"
_ZONES: Final = "regions are failover tiers; zones inside a region are not told apart: who the peers are is not known"
_OWN_CONNECTIONS: Final = "in clients without a connector or transport of their own, which decides by itself"
_SECRETS: Final = "Secrets and ConfigMaps of the configuration; without workloadSelector a sidecar would send plaintext"
_NO_HTTP2: Final = "client libraries speak HTTP/1.1 to the endpoints"
_ONE_STREAM: Final = "a connection speaks HTTP/1.1 and carries one request at a time, which no limit forbids"
_NOT_CLOSED: Final = "a client without mutual TLS gets a 403 where Istio closes the connection"
_LOG_PATH: Final = "lines go through logging; the path decides where nobody has configured it"
_ATTRIBUTES: Final = "CEL without macros, over the attributes that a process knows"
_SPANS: Final = "switches tracing on; spans go where the process's OpenTelemetry SDK sends them"
_RESOURCE: Final = "the resource of the spans is the SDK's (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES)"
_NO_LIGHTSTEP: Final = "the control plane of Istio 1.31 fails over this tracer"
_TRACERS: Final = ("zipkin", "lightstep", "datadog", "stackdriver", "opencensus", "skywalking", "opentelemetry")
_HEDGED: Final = "plain functions are called once: a thread that runs one cannot be cancelled"
_NO_HOP: Final = "without effect: the application is called directly, there is no connection in between"
_PROXY_ONLY: Final = "configures Envoy itself; there is no proxy here"

_VIRTUAL_SERVICE: Final[tuple[Rule, ...]] = (
    ("spec", "honoured", ""),
    ("spec.http[].match[].statPrefix", "refused", "names Envoy statistics, which do not exist here"),
    ("spec.http[].fault.abort.http2Error", "honoured", "refused by Istio's admission webhook, and here"),
    ("spec.http[].fault.delay.exponentialDelay", "honoured", "refused by Istio's admission webhook, and here"),
    ("spec.tcp", "honoured", _CONNECTIONS),
    ("spec.tcp[].match[].destinationSubnets", "approximated", _DIALLED),
    ("spec.tcp[].match[].sourceSubnet", "approximated", "not looked at, as in Istio: the client is this process"),
    ("spec.tls", "honoured", _CONNECTIONS),
    ("spec.tls[].match[].destinationSubnets", "approximated", _DIALLED),
)


def _traffic_policy(prefix: str) -> tuple[Rule, ...]:
    """Rules of one trafficPolicy and of its port levels."""
    ports = f"{prefix}.portLevelSettings[]"
    return (
        *_port_policy(prefix),
        *_port_policy(ports),
        (
            f"{prefix}.tunnel",
            "honoured",
            "for mesh.open_connection and mesh.create_connection, as in Istio not for HTTP",
        ),
        (f"{prefix}.tunnel.protocol", "approximated", "CONNECT; connections through a POST are refused"),
        (f"{prefix}.proxyProtocol", "approximated", _INTRODUCED),
        (f"{prefix}.timeout", "honoured", f"{_EXTENSION} http.timeout"),
        (f"{prefix}.retryPolicy", "honoured", f"{_EXTENSION} http.retries"),
    )


def _port_policy(prefix: str) -> tuple[Rule, ...]:
    """Rules of what can be set for a host, a subset or a port."""
    balancer = f"{prefix}.loadBalancer"
    return (
        (balancer, "refused", _PLANNED),
        (f"{balancer}.simple", "honoured", ""),
        (f"{balancer}.consistentHash", "honoured", ""),
        (f"{balancer}.localityLbSetting", "honoured", ""),
        (f"{balancer}.warmup", "honoured", "for ROUND_ROBIN and LEAST_REQUEST"),
        (f"{balancer}.warmupDurationSecs", "honoured", "for ROUND_ROBIN and LEAST_REQUEST"),
        (f"{balancer}.backendUtilization", "honoured", f"{VOID}: it balances by LEAST_REQUEST"),
        (f"{balancer}.zoneAwareLbSetting", "approximated", _ZONES),
        (f"{balancer}.zoneAwareLbSetting.minClusterSize", "refused", _ZONES),
        (f"{balancer}.consistentHash.useSourceIp", "approximated", _SOURCE),
        *_connection_pool(f"{prefix}.connectionPool"),
        *_outlier_detection(f"{prefix}.outlierDetection"),
        (f"{prefix}.tls", "honoured", ""),
        (f"{prefix}.tls.credentialName", "approximated", _SECRETS),
    )


def _connection_pool(pool: str) -> tuple[Rule, ...]:
    """Rules of the limits of a host."""
    http, tcp = f"{pool}.http", f"{pool}.tcp"
    return (
        (pool, "refused", _PLANNED),
        (f"{http}.http2MaxRequests", "honoured", ""),
        (f"{http}.maxRetries", "honoured", ""),
        (f"{http}.http1MaxPendingRequests", "approximated", f"requests that still connect count {_OWN_CONNECTIONS}"),
        (f"{http}.maxRequestsPerConnection", "approximated", _OWN_CONNECTIONS),
        (f"{http}.idleTimeout", "approximated", f"{_OWN_CONNECTIONS}; it may end an idle connection earlier"),
        (f"{http}.useClientProtocol", "honoured", "every call keeps the protocol of its client library"),
        (f"{http}.h2UpgradePolicy", "refused", _NO_HTTP2),
        (f"{http}.maxConcurrentStreams", "approximated", _ONE_STREAM),
        (f"{http}.http2KeepAlive", "refused", _NO_HTTP2),
        (f"{tcp}.maxConnections", "approximated", "counts the connections in use, not the idle ones"),
        (f"{tcp}.connectTimeout", "approximated", _OWN_CONNECTIONS),
        (f"{tcp}.idleTimeout", "approximated", f"{_OWN_CONNECTIONS}; it may end an idle connection earlier"),
        (f"{tcp}.maxConnectionDuration", "approximated", _OWN_CONNECTIONS),
        (f"{tcp}.tcpKeepalive", "approximated", _OWN_CONNECTIONS),
    )


def _outlier_detection(outlier: str) -> tuple[Rule, ...]:
    """Rules of ejection."""
    return (
        (outlier, "honoured", ""),
        (f"{outlier}.consecutiveErrors", "honoured", f"{VOID}; use consecutive5xxErrors"),
    )


_DESTINATION_RULE: Final[tuple[Rule, ...]] = (
    ("spec", "honoured", ""),
    *_traffic_policy("spec.trafficPolicy"),
    *_traffic_policy("spec.subsets[].trafficPolicy"),
)

_SERVICE_ENTRY: Final[tuple[Rule, ...]] = (
    ("spec", "honoured", ""),
    (
        "spec.resolution",
        "approximated",
        "without the extra dns, names are looked up every 30 s: the system does not tell their times to live",
    ),
    ("spec.endpoints[].network", "approximated", _NETWORKS),
)


def _inbound_pool(pool: str) -> tuple[Rule, ...]:
    """Rules of the limits of inbound requests."""
    return (
        (pool, "approximated", _NO_HOP),
        (f"{pool}.http.http2MaxRequests", "honoured", ""),
        (f"{pool}.http.http1MaxPendingRequests", "honoured", "requests above maxConnections wait"),
        (f"{pool}.http.useClientProtocol", "honoured", "the application sees the protocol of its client"),
        (f"{pool}.tcp.maxConnections", "approximated", "counts requests that are served at once"),
    )


_SIDECAR: Final[tuple[Rule, ...]] = (
    ("spec", "honoured", ""),
    ("spec.ingress", "honoured", "`meshlib serve` listens there; policies know a server by the port of its listener"),
    ("spec.ingress[].port.protocol", "approximated", "HTTP is served, whatever is written"),
    ("spec.ingress[].port.targetPort", "honoured", VOID),
    ("spec.ingress[].bind", "approximated", "by `meshlib serve`"),
    ("spec.ingress[].captureMode", "refused", "nothing is captured: the server listens by itself"),
    (
        "spec.ingress[].defaultEndpoint",
        "approximated",
        "its port tells which listener a server stands behind; the application is this process",
    ),
    ("spec.ingress[].tls", "honoured", "by `meshlib serve`, where PeerAuthentication says DISABLE, as in Istio"),
    ("spec.ingress[].tls.httpsRedirect", "refused", "for gateways"),
    ("spec.ingress[].tls.ecdhCurves", "approximated", _CURVES),
    ("spec.ingress[].tls.insecureSkipVerify", "refused", "client certificates are always verified"),
    *_inbound_pool("spec.ingress[].connectionPool"),
    *_inbound_pool("spec.inboundConnectionPool"),
    ("spec.egress[].bind", "refused", "there is no listener to bind"),
    ("spec.egress[].captureMode", "refused", "nothing is captured: calls are made through meshlib"),
)

_GATEWAY: Final[tuple[Rule, ...]] = (
    ("spec", "honoured", "for explain and for VirtualServices bound to the gateway"),
    (
        "spec.servers[].tls",
        "honoured",
        "by `meshlib gateway` and gateway_context(); another server ends TLS its own way",
    ),
    ("spec.servers[].tls.mode", "approximated", "PASSTHROUGH and AUTO_PASSTHROUGH are not served"),
    ("spec.servers[].tls.ecdhCurves", "approximated", _CURVES),
    ("spec.servers[].tls.insecureSkipVerify", "refused", "client certificates are always verified"),
    ("spec.servers[].tls.httpsRedirect", "honoured", ""),
    ("spec.servers[].bind", "approximated", "by `meshlib gateway` without --host"),
    ("spec.servers[].defaultEndpoint", "honoured", VOID),
    ("spec.servers[].port.targetPort", "honoured", "refused by Istio's admission webhook, and here"),
)

_MESH_CONFIG: Final[tuple[Rule, ...]] = (
    ("", "refused", _PROXY_ONLY),
    ("outboundTrafficPolicy.mode", "honoured", ""),
    ("defaultHttpRetryPolicy", "honoured", ""),
    ("defaultServiceExportTo", "honoured", ""),
    ("defaultVirtualServiceExportTo", "honoured", ""),
    ("defaultDestinationRuleExportTo", "honoured", ""),
    ("rootNamespace", "honoured", ""),
    ("trustDomain", "honoured", ""),
    ("trustDomainAliases", "honoured", ""),
    ("connectTimeout", "approximated", _OWN_CONNECTIONS),
    ("localityLbSetting", "honoured", ""),
    ("zoneAwareLbSetting", "approximated", _ZONES),
    ("zoneAwareLbSetting.minClusterSize", "refused", _ZONES),
    ("pathNormalization", "honoured", ""),
    ("extensionProviders", "refused", _PLANNED),
    ("extensionProviders[].name", "honoured", ""),
    ("extensionProviders[].envoyExtAuthzHttp", "honoured", ""),
    ("extensionProviders[].envoyExtAuthzHttp.clearRouteCache", "refused", "routes are chosen by the application"),
    ("extensionProviders[].envoyExtAuthzHttp.includeRequestBodyInCheck.packAsBytes", "refused", "for gRPC only"),
    ("extensionProviders[].prometheus", "honoured", ""),
    *((f"extensionProviders[].{name}", "approximated", _SPANS) for name in _TRACERS),
    *((f"extensionProviders[].{name}.maxTagLength", "honoured", "") for name in ("zipkin", "datadog", "opentelemetry")),
    ("extensionProviders[].skywalking.maxTagLength", "honoured", VOID),
    ("extensionProviders[].lightstep.maxTagLength", "refused", _NO_LIGHTSTEP),
    ("extensionProviders[].zipkin.enable64bitTraceId", "refused", "ids are those of the SDK's id generator"),
    ("extensionProviders[].zipkin.traceContextOption", "refused", "OpenTelemetry's global propagator decides"),
    ("extensionProviders[].opentelemetry.resourceDetectors", "refused", _RESOURCE),
    ("extensionProviders[].opentelemetry.serviceAttributeEnrichment", "refused", _RESOURCE),
    ("extensionProviders[].opentelemetry.dynatraceSampler", "refused", "the SDK's sampler decides"),
    ("extensionProviders[].envoyFileAccessLog", "honoured", ""),
    ("extensionProviders[].envoyFileAccessLog.path", "approximated", _LOG_PATH),
    ("defaultProviders", "honoured", ""),
    ("defaultProviders.metrics", "honoured", "without one: prometheus, as Istio's profiles set it"),
    ("defaultTrafficPolicy", "refused", _PLANNED),
    *_connection_pool("defaultTrafficPolicy.connectionPool"),
    *_outlier_detection("defaultTrafficPolicy.outlierDetection"),
    ("enableAutoMtls", "approximated", "where this workload has certificates; without, it calls in plaintext"),
    ("enableTracing", "honoured", "spans are made once an OpenTelemetry SDK is set up"),
    ("accessLogFile", "approximated", _LOG_PATH),
    ("accessLogFormat", "honoured", ""),
    ("accessLogEncoding", "honoured", ""),
    ("caCertificates", "refused", _PLANNED),
    ("meshMTLS", "refused", _PLANNED),
    ("tlsDefaults", "refused", _PLANNED),
    ("h2UpgradePolicy", "refused", _NO_HTTP2),
    ("tcpKeepalive", "approximated", _OWN_CONNECTIONS),
    ("serviceSettings", "refused", "endpoints of several clusters are not told apart"),
    ("serviceEntryVisibility", "refused", "exportTo decides: the labels of namespaces are not read"),
    ("discoverySelectors", "refused", "all of the configuration is read: the labels of namespaces are not known"),
    ("defaultInboundHttpRetryPolicy", "refused", "a request that has come in is served once"),
    ("dnsRefreshRate", "approximated", "after a look-up that fails; else names are asked again when their time is up"),
    ("defaultConfig.proxyHeaders", "refused", _PLANNED),
    (
        "defaultConfig.proxyHeaders.metadataExchangeHeaders",
        "approximated",
        "always IN_MESH: hosts outside the mesh are never told who calls",
    ),
    ("defaultConfig.gatewayTopology", "refused", _PLANNED),
    ("defaultConfig.gatewayTopology.numTrustedProxies", "honoured", "at a gateway"),
    ("defaultConfig.gatewayTopology.forwardClientCertDetails", "honoured", "at a gateway"),
    ("defaultConfig.tracing", "approximated", _SPANS),
    ("defaultConfig.tracing.tlsSettings", "refused", "of the connection to the collector, which is the SDK's"),
    ("defaultConfig.tracing.sampling", "honoured", ""),
    ("defaultConfig.tracing.customTags", "honoured", ""),
    ("defaultConfig.tracing.maxPathTagLength", "honoured", ""),
    ("defaultConfig.tracing.enableIstioTags", "honoured", ""),
    ("defaultConfig.meshId", "approximated", "a tag of spans"),
)

_TELEMETRY: Final[tuple[Rule, ...]] = (
    ("spec", "honoured", ""),
    ("spec.tracing[].providers", "approximated", _SPANS),
    ("spec.tracing[].useRequestIdForTraceSampling", "refused", "the decision is drawn, not read from x-request-id"),
    ("spec.metrics[].reportingInterval", "refused", "bytes of a connection are counted when it is closed"),
    ("spec.metrics[].overrides[].tagOverrides.*.value", "approximated", _ATTRIBUTES),
    ("spec.accessLogging[].filter.expression", "approximated", _ATTRIBUTES),
)

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "VirtualService": _VIRTUAL_SERVICE,
    "DestinationRule": _DESTINATION_RULE,
    "ServiceEntry": _SERVICE_ENTRY,
    "WorkloadEntry": (
        ("spec", "honoured", ""),
        ("spec.network", "approximated", _NETWORKS),
    ),
    "WorkloadGroup": (
        ("spec", "approximated", "a template, of which no endpoint comes, as in Istio; instances do not register here"),
        ("spec.probe", "refused", "instances are probed by the agent beside them"),
    ),
    "Gateway": _GATEWAY,
    "Sidecar": _SIDECAR,
    "PeerAuthentication": (
        ("spec", "honoured", ""),
        ("spec.mtls.mode", "approximated", _NOT_CLOSED),
        ("spec.portLevelMtls", "approximated", _NOT_CLOSED),
    ),
    "RequestAuthentication": (
        ("spec", "honoured", ""),
        ("spec.jwtRules[].presence", "honoured", f"{VOID}; require a token by AuthorizationPolicy"),
    ),
    "AuthorizationPolicy": (("spec", "honoured", ""),),
    "Telemetry": _TELEMETRY,
    "ProxyConfig": (("spec", "refused", _PROXY_ONLY),),
    "EnvoyFilter": (("spec", "refused", "patches of Envoy's configuration have no meaning without Envoy"),),
    "WasmPlugin": (("spec", "refused", "there is no proxy that could run the plugin"),),
    "TrafficExtension": (("spec", "refused", "there is no proxy that could run the extension"),),
    "ClientPolicy": (
        ("spec", "honoured", ""),
        ("spec.hedging", "honoured", _HEDGED),
        ("spec.deadline", "honoured", "starts with Mesh.deadline(), or with the header of a request that is served"),
    ),
    "ServerPolicy": (("spec", "refused", _PLANNED),),
    "MeshConfig": _MESH_CONFIG,
}
"""The rules of each kind; the first one covers all of it."""
