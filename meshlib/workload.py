"""Who the process is in the mesh: what rules with selectors, localities and namespaces look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The identity of this process.

    ``namespace`` resolves short host names and selects rules; ``labels`` are what
    selectors and ``sourceLabels`` match; ``service_account`` and ``trust_domain``
    make the SPIFFE id; ``locality`` is ``region/zone/subzone`` (missing parts
    empty); ``gateway`` is true when the process plays an ingress, so that Gateway
    servers are applied instead of the mesh's sidecar rules; ``address`` is the IP address
    that others see (what ``useSourceIp`` hashes), empty if it does not matter.
    """

    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = "default"
    name: str = ""
    cluster: str = "Kubernetes"
    network: str = ""
    locality: str = ""
    trust_domain: str = "cluster.local"
    gateway: bool = False
    address: str = ""

    @property
    def spiffe_id(self) -> str:
        """``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``."""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"
