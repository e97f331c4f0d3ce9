"""Who stands at the two ends of a request, as Istio's metrics name them (semantics 7.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from meshlib.workload import Workload

__all__ = ["UNKNOWN", "UNKNOWN_PEER", "Peer", "canonical_revision", "canonical_service", "own_peer", "peer_of_labels"]

UNKNOWN: Final = "unknown"
"""What Istio writes for a value that is not known."""

_NAMES: Final = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISIONS: Final = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
_WORKLOAD: Final = "service.istio.io/workload-name"


class Peer(NamedTuple):
    """One end of a request. An unknown one has ``latest`` as its canonical revision, as in Istio."""

    workload: str = UNKNOWN
    namespace: str = UNKNOWN
    principal: str = UNKNOWN
    app: str = UNKNOWN
    version: str = UNKNOWN
    canonical_service: str = UNKNOWN
    canonical_revision: str = "latest"
    cluster: str = UNKNOWN


UNKNOWN_PEER: Final = Peer()


def canonical_service(labels: Mapping[str, str], workload: str = "") -> str:
    """``service.istio.io/canonical-name``, else ``app.kubernetes.io/name``, else ``app``, else the workload's name."""
    return _first(labels, _NAMES) or workload or UNKNOWN


def canonical_revision(labels: Mapping[str, str]) -> str:
    """``service.istio.io/canonical-revision``, else ``app.kubernetes.io/version``, else ``version``, else latest."""
    return _first(labels, _REVISIONS) or "latest"


def own_peer(workload: Workload, *, has_identity: bool) -> Peer:
    """This process. ``has_identity``: whether it shows its certificate."""
    return peer_of_labels(
        workload.labels,
        workload=workload.name,
        namespace=workload.namespace,
        principal=workload.spiffe_id if has_identity else "",
        cluster=workload.cluster,
    )


def peer_of_labels(
    labels: Mapping[str, str], *, workload: str = "", namespace: str = "", principal: str = "", cluster: str = ""
) -> Peer:
    """A peer of which the labels are known, and perhaps more."""
    workload = workload or labels.get(_WORKLOAD, "")
    return Peer(
        workload=workload or UNKNOWN,
        namespace=namespace or UNKNOWN,
        principal=principal or UNKNOWN,
        app=labels.get("app") or UNKNOWN,
        version=labels.get("version") or UNKNOWN,
        canonical_service=canonical_service(labels, workload),
        canonical_revision=canonical_revision(labels),
        cluster=cluster or UNKNOWN,
    )


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        value = labels.get(name)
        if value:
            return value
    return ""
