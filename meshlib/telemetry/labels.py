"""The labels of Istio's metrics, from what a request met (semantics 7.2)."""

from __future__ import annotations

from typing import TypeAlias

from meshlib._snapshot.clusters import Cluster, Endpoint
from meshlib.telemetry.peers import UNKNOWN, UNKNOWN_PEER, Peer, peer_of_labels

__all__ = ["caller", "endpoint_peer", "is_mutual", "service", "standard_labels"]

Sides: TypeAlias = tuple[Peer, Peer]


def service(cluster: Cluster | None, host: str, route: str) -> tuple[str, str, str]:
    """Host, name and namespace of the service of a destination (semantics 7.2)."""
    if cluster is None:
        return host, "BlackHoleCluster" if route == "block_all" else UNKNOWN, UNKNOWN
    if not cluster.host:
        return host or UNKNOWN, cluster.name if cluster.name == "PassthroughCluster" else UNKNOWN, UNKNOWN
    return cluster.host, cluster.service or cluster.host, cluster.namespace or UNKNOWN


def endpoint_peer(endpoint: Endpoint | None, namespace: str, here: str) -> Peer:
    """What the configuration says of an endpoint, if it says what runs there.

    ``namespace`` is that of its service, ``here`` the name of this cluster: the configuration is of no other.
    """
    if endpoint is None:
        return UNKNOWN_PEER
    if not endpoint.workload:
        return UNKNOWN_PEER._replace(cluster=here)
    known = "" if namespace == UNKNOWN else namespace
    return peer_of_labels(
        endpoint.labels, workload=endpoint.workload, namespace=known, principal=endpoint.identity, cluster=here
    )


def is_mutual(cluster: Cluster, endpoint: Endpoint | None) -> bool:
    """Whether this process shows its mesh certificate to the endpoint."""
    return cluster.policy.tls.mode == "ISTIO_MUTUAL" and endpoint is not None


def caller(source: Peer | None, principal: str) -> Peer:
    """The peer that sent a request: what it says of itself, and what its certificate proves."""
    peer = source or UNKNOWN_PEER
    if not principal:
        return peer
    parts = principal.split("/")
    if peer.namespace == UNKNOWN and "ns" in parts[:-1]:
        peer = peer._replace(namespace=parts[parts.index("ns") + 1])
    return peer._replace(principal=principal)


def standard_labels(
    reporter: str,
    sides: Sides,
    *,
    service: tuple[str, str, str],
    protocol: str,
    code: str,
    grpc: str,
    flags: str,
    policy: str,
) -> dict[str, str]:
    """Istio's labels with their values; an empty one is as good as absent in Prometheus."""
    source, destination = sides
    return {
        "reporter": reporter,
        "source_workload": source.workload,
        "source_canonical_service": source.canonical_service,
        "source_canonical_revision": source.canonical_revision,
        "source_workload_namespace": source.namespace,
        "source_principal": source.principal,
        "source_app": source.app,
        "source_version": source.version,
        "source_cluster": source.cluster,
        "destination_workload": destination.workload,
        "destination_workload_namespace": destination.namespace,
        "destination_principal": destination.principal,
        "destination_app": destination.app,
        "destination_version": destination.version,
        "destination_service": service[0],
        "destination_canonical_service": destination.canonical_service,
        "destination_canonical_revision": destination.canonical_revision,
        "destination_service_name": service[1],
        "destination_service_namespace": service[2],
        "destination_cluster": destination.cluster,
        "request_protocol": protocol,
        "response_code": code,
        "grpc_response_status": grpc,
        "response_flags": flags,
        "connection_security_policy": policy,
    }
