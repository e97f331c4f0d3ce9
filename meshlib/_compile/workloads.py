"""Pods and WorkloadEntries: what they are called, what they carry, where they run (semantics 1.10, 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshlib._compile.index import Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.services import ServicePort
from meshlib._snapshot.clusters import Endpoint, Locality
from meshlib.model import kubernetes
from meshlib.model.resource import Metadata
from meshlib.model.workload_entry import WorkloadEntrySpec, WorkloadTemplate

__all__ = ["Instance", "Workloads"]

TLS_LABEL: Final = "security.istio.io/tlsMode"
LOCALITY_LABEL: Final = "istio-locality"
REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"
SUBZONE: Final = "topology.istio.io/subzone"
NETWORK: Final = "topology.istio.io/network"
WORKLOAD_LABEL: Final = "service.istio.io/workload-name"
HOSTNAME: Final = "kubernetes.io/hostname"
HEALTH_CHECK: Final = "proxy.istio.io/health-checks-enabled"

NOWHERE: Final = Locality()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A pod or a workload entry. ``ports`` maps names to port numbers; ``workload`` is the name that metrics have."""

    address: str
    labels: Mapping[str, str]
    ports: Mapping[str, int] = field(default_factory=dict)
    weight: int = 1
    locality: Locality = NOWHERE
    network: str = ""
    identity: str = ""
    mesh_tls: bool = False
    healthy: bool = True
    workload: str = ""

    def target(self, port: ServicePort) -> int | None:
        """The port of a pod that a service port leads to; None if the pod has no port of that name."""
        if isinstance(port.target, str):
            return self.ports.get(port.target)
        return port.target or port.number


class LabelIndex:
    """Instances by namespace and label, so that a selector need not look at all of them."""

    def __init__(self) -> None:
        self._all: dict[str, list[Instance]] = {}
        self._labelled: dict[tuple[str, str, str], list[Instance]] = {}

    def add(self, namespace: str, instance: Instance) -> None:
        """Keep an instance."""
        self._all.setdefault(namespace, []).append(instance)
        for key, value in instance.labels.items():
            self._labelled.setdefault((namespace, key, value), []).append(instance)

    def select(self, namespace: str, selector: Mapping[str, str]) -> list[Instance]:
        """The instances of a namespace that carry all labels; all of them for an empty selector."""
        if not selector:
            return list(self._all.get(namespace, ()))
        lists = [self._labelled.get((namespace, key, value), []) for key, value in selector.items()]
        shortest = min(lists, key=len)
        return [instance for instance in shortest if selector.items() <= instance.labels.items()]


class Workloads:
    """The pods and workload entries of a configuration."""

    def __init__(self, index: Index, mesh: MeshSettings) -> None:
        self._trust_domain = mesh.trust_domain
        self._nodes: dict[str, Locality] = {}
        self._pods = LabelIndex()
        self._named: dict[tuple[str, str], Instance] = {}
        self._by_address: dict[str, Instance] = {}
        self._entries = LabelIndex()
        for node in index.of("Node", kubernetes.NodeSpec):
            self._nodes[node.meta.name] = node_locality(node.meta.labels)
        for pod in index.of("Pod", kubernetes.PodSpec):
            self._add_pod(pod.meta, pod.spec)
        for entry in index.of("WorkloadEntry", WorkloadEntrySpec):
            made = self._entry(entry.spec, entry.meta, entry.spec.labels, entry.meta.labels)
            self._entries.add(entry.meta.namespace, made)

    def _add_pod(self, meta: Metadata, spec: kubernetes.PodSpec) -> None:
        status = spec.status or kubernetes.PodStatus()
        if not status.pod_ip or status.phase in ("Succeeded", "Failed"):
            return
        template = spec.spec or kubernetes.PodTemplateSpec()
        pod = Instance(
            address=status.pod_ip,
            labels=meta.labels,
            ports={
                port.name: port.container_port
                for container in template.containers or ()
                for port in container.ports or ()
                if port.name and port.container_port
            },
            locality=labelled_locality(meta.labels) or self._nodes.get(template.node_name or "", NOWHERE),
            network=meta.labels.get(NETWORK, ""),
            identity=self._identity(meta.namespace, template.service_account_name or "default"),
            mesh_tls=meta.labels.get(TLS_LABEL) == "istio",
            healthy=all(item.status == "True" for item in status.conditions or () if item.type == "Ready"),
            workload=pod_workload(meta),
        )
        self._pods.add(meta.namespace, pod)
        self._named[meta.namespace, meta.name] = pod
        if not template.host_network:
            self._by_address[pod.address] = pod

    def _entry(
        self, spec: WorkloadTemplate, meta: Metadata, own: Mapping[str, str], above: Mapping[str, str]
    ) -> Instance:
        """A workload entry; the labels of its metadata win over those of its spec."""
        labels = {**own, **above} if above else own
        account = spec.service_account or ""
        return Instance(
            address=spec.address or "",
            labels=labels,
            ports=spec.ports,
            weight=spec.weight or 1,
            locality=parse_locality(spec.locality or "") or labelled_locality(labels) or NOWHERE,
            network=spec.network or "",
            identity=self._identity(meta.namespace, account) if account else "",
            mesh_tls=(labels[TLS_LABEL] == "istio") if TLS_LABEL in labels else bool(account),
            healthy=meta.annotations.get(HEALTH_CHECK, "").lower() not in ("1", "t", "true"),
            workload=labels.get(WORKLOAD_LABEL) or meta.name,
        )

    def _identity(self, namespace: str, account: str) -> str:
        return f"spiffe://{self._trust_domain}/ns/{namespace}/sa/{account}"

    # -- what services ask -------------------------------------------------------------------------

    def pods(self, namespace: str, selector: Mapping[str, str]) -> list[Instance]:
        """The pods of a namespace that carry all labels."""
        return self._pods.select(namespace, selector)

    def entries(self, namespace: str, selector: Mapping[str, str]) -> list[Instance]:
        """The workload entries of a namespace that carry all labels."""
        return self._entries.select(namespace, selector)

    def selected(self, namespace: str, selector: Mapping[str, str]) -> list[Instance]:
        """Pods and workload entries together, as a ServiceEntry selects them."""
        return self.pods(namespace, selector) + self.entries(namespace, selector)

    def inline(self, spec: WorkloadTemplate, namespace: str, name: str) -> Instance:
        """An endpoint written in a ServiceEntry; Istio names it after that, and numbers it."""
        return self._entry(spec, Metadata(name=name, namespace=namespace), spec.labels, {})

    def pod(self, namespace: str, name: str, address: str) -> Instance | None:
        """The pod behind an address, by name or by the address itself."""
        return self._named.get((namespace, name)) or self._by_address.get(address)

    def endpoint(
        self,
        address: str,
        port: int,
        instance: Instance | None,
        *,
        healthy: bool,
        node: str | None = None,
        zone: str | None = None,
    ) -> Endpoint:
        """An endpoint with the labels, locality and identity of what runs behind it."""
        if instance is None:
            instance = Instance(address=address, labels={})
        locality = instance.locality
        if locality is NOWHERE:
            locality = self._nodes.get(node or "", NOWHERE)
        if locality is NOWHERE and zone:
            locality = Locality("", zone, "")
        return Endpoint(
            address=address,
            port=port,
            weight=instance.weight,
            labels=topology_labels(instance.labels, locality, instance.network, node),
            locality=locality,
            healthy=healthy,
            network=instance.network,
            identity=instance.identity,
            mesh_tls=instance.mesh_tls,
            workload=instance.workload,
        )


def pod_workload(meta: Metadata) -> str:
    """What a pod belongs to, by the labels that Kubernetes' controllers give it and its name."""
    labels, name = meta.labels, meta.name
    if template := labels.get("pod-template-hash"):  # of a Deployment: its name, the hash, five letters
        owner, found, _ = name.rpartition(f"-{template}-")
        name = owner if found else name
    elif "controller-revision-hash" in labels or "statefulset.kubernetes.io/pod-name" in labels:
        name = name.rpartition("-")[0] or name
    return labels.get(WORKLOAD_LABEL) or labels.get("batch.kubernetes.io/job-name") or name


def topology_labels(labels: Mapping[str, str], locality: Locality, network: str, node: str | None) -> Mapping[str, str]:
    """The labels with those that Istio derives from where the endpoint runs."""
    derived = {
        key: value
        for key, value in (
            (REGION, locality.region),
            (ZONE, locality.zone),
            (SUBZONE, locality.subzone),
            (NETWORK, network),
            (HOSTNAME, node),
        )
        if value
    }
    return {**labels, **derived} if derived else labels


def node_locality(labels: Mapping[str, str]) -> Locality:
    """The locality of a node."""
    region = labels.get(REGION) or labels.get("failure-domain.beta.kubernetes.io/region", "")
    zone = labels.get(ZONE) or labels.get("failure-domain.beta.kubernetes.io/zone", "")
    found = Locality(region, zone, labels.get(SUBZONE, ""))
    return NOWHERE if found == NOWHERE else found


def labelled_locality(labels: Mapping[str, str]) -> Locality | None:
    """The locality written in a label, where dots may stand for slashes."""
    text = labels.get(LOCALITY_LABEL, "")
    return parse_locality(text if "/" in text else text.replace(".", "/"))


def parse_locality(text: str) -> Locality | None:
    """``region/zone/subzone``; None for an empty text."""
    if not text:
        return None
    region, _, rest = text.partition("/")
    zone, _, subzone = rest.partition("/")
    return Locality(region, zone, subzone)
