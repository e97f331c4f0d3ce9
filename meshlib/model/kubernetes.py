"""Kubernetes objects that the mesh discovers services, workloads and secrets from.

Only what is used here; every other field is ignored, because these objects are not
ours to judge. Absence is as the API server reads it: missing and null are the same.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec

from meshlib.model.base import EMPTY, Spec

__all__ = [
    "ConfigMapSpec",
    "ContainerPort",
    "Endpoint",
    "EndpointAddress",
    "EndpointConditions",
    "EndpointPort",
    "EndpointSliceSpec",
    "EndpointSubset",
    "EndpointsSpec",
    "NamespaceSpec",
    "NodeSpec",
    "PodSpec",
    "SecretSpec",
    "ServicePort",
    "ServiceSpec",
    "WorkloadSpec",
]


class Lenient(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Base of the parts of Kubernetes objects: unknown fields are ignored."""


class LenientSpec(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Base of Kubernetes objects. Most have their fields beside ``metadata``, not under ``spec``."""

    FROM_BODY: ClassVar[bool] = True


class ServicePort(Lenient, frozen=True, kw_only=True):
    """A port of a Service. ``target_port`` absent: ``port``; a text names a container port."""

    port: int
    name: str | None = None
    protocol: str | None = None
    app_protocol: str | None = None
    target_port: int | str | None = None
    node_port: int | None = None


class ServiceSpec(LenientSpec, frozen=True, kw_only=True):
    """Service: a name for the pods with all labels of ``selector``; ``cluster_ip`` None makes it headless."""

    FROM_BODY: ClassVar[bool] = False
    RULES: ClassVar[tuple[str, ...]] = ("ports",)

    ports: tuple[ServicePort, ...] | None = None
    selector: Mapping[str, str] | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    type: str | None = None
    external_name: str | None = None
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    publish_not_ready_addresses: bool | None = None
    traffic_distribution: str | None = None


class ObjectReference(Lenient, frozen=True, kw_only=True):
    """The pod behind an address."""

    kind: str | None = None
    name: str | None = None
    namespace: str | None = None


class EndpointAddress(Lenient, frozen=True, kw_only=True):
    """An address of an Endpoints subset."""

    ip: str
    hostname: str | None = None
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(Lenient, frozen=True, kw_only=True):
    """A port of endpoints; the name is that of the service port."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class EndpointSubset(Lenient, frozen=True, kw_only=True):
    """Addresses that share ports."""

    addresses: tuple[EndpointAddress, ...] | None = None
    not_ready_addresses: tuple[EndpointAddress, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class EndpointsSpec(LenientSpec, frozen=True, kw_only=True):
    """Endpoints: the addresses of the Service of the same name."""

    subsets: tuple[EndpointSubset, ...] | None = None


class EndpointConditions(Lenient, frozen=True, kw_only=True):
    """``ready`` None counts as ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(Lenient, frozen=True, kw_only=True):
    """Addresses of one endpoint; all are equivalent, the first is used."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: ObjectReference | None = None


class EndpointSliceSpec(LenientSpec, frozen=True, kw_only=True):
    """EndpointSlice: some endpoints of the Service that its label ``kubernetes.io/service-name`` names."""

    address_type: Literal["IPv4", "IPv6", "FQDN"] | None = None
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class ContainerPort(Lenient, frozen=True, kw_only=True):
    """A port of a container; Services refer to its name."""

    container_port: int | None = None
    name: str | None = None
    protocol: str | None = None


class Container(Lenient, frozen=True, kw_only=True):
    """The ports of a container."""

    name: str | None = None
    ports: tuple[ContainerPort, ...] | None = None


class PodTemplateSpec(Lenient, frozen=True, kw_only=True):
    """What of a pod's own ``spec`` is used."""

    service_account_name: str | None = None
    node_name: str | None = None
    host_network: bool | None = None
    hostname: str | None = None
    subdomain: str | None = None
    containers: tuple[Container, ...] | None = None


class PodCondition(Lenient, frozen=True, kw_only=True):
    """A condition of a pod; ``Ready`` is the one that matters."""

    type: str | None = None
    status: str | None = None


class PodIP(Lenient, frozen=True, kw_only=True):
    """One of the addresses of a pod."""

    ip: str | None = None


class PodStatus(Lenient, frozen=True, kw_only=True):
    """Where the pod is reached and whether it is ready."""

    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(default=None, name="podIPs")
    phase: str | None = None
    conditions: tuple[PodCondition, ...] | None = None


class PodSpec(LenientSpec, frozen=True, kw_only=True):
    """Pod: labels (in the metadata of the resource), service account, ports, address."""

    spec: PodTemplateSpec | None = None
    status: PodStatus | None = None


class TemplateMetadata(Lenient, frozen=True, kw_only=True):
    """Labels and annotations of the pods that are made."""

    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None


class PodTemplate(Lenient, frozen=True, kw_only=True):
    """The pods that a workload makes."""

    metadata: TemplateMetadata | None = None
    spec: PodTemplateSpec | None = None


class JobTemplateSpec(Lenient, frozen=True, kw_only=True):
    """The Job of a CronJob."""

    template: PodTemplate | None = None


class JobTemplate(Lenient, frozen=True, kw_only=True):
    """The Job of a CronJob."""

    spec: JobTemplateSpec | None = None


class WorkloadSpec(LenientSpec, frozen=True, kw_only=True):
    """Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob: what their pods look like."""

    FROM_BODY: ClassVar[bool] = False

    replicas: int | None = None
    template: PodTemplate | None = None
    job_template: JobTemplate | None = None

    @property
    def pods(self) -> PodTemplate | None:
        """The pod template, also of a CronJob's Job."""
        if self.template is None and self.job_template is not None and self.job_template.spec is not None:
            return self.job_template.spec.template
        return self.template


class SecretSpec(LenientSpec, frozen=True, kw_only=True):
    """Secret: certificates and keys, in base64 as written. Its repr never shows a value."""

    type: str | None = None
    data: Mapping[str, str | None] | None = None
    string_data: Mapping[str, str | None] | None = None

    def value(self, key: str) -> bytes | None:
        """The bytes under ``key``; None if there are none, or if they are not base64.

        ``stringData`` wins over ``data``, as in the API server.
        """
        plain = (self.string_data or EMPTY).get(key)
        if plain is not None:
            return plain.encode()
        encoded = (self.data or EMPTY).get(key)
        try:
            return None if encoded is None else base64.b64decode("".join(encoded.split()), validate=True)
        except ValueError:
            return None

    def __repr__(self) -> str:
        keys = sorted({*(self.data or EMPTY), *(self.string_data or EMPTY)})
        return f"<SecretSpec {self.type or 'Opaque'} keys={','.join(keys)}>"


class ConfigMapSpec(LenientSpec, frozen=True, kw_only=True):
    """ConfigMap: texts by key."""

    data: Mapping[str, str | None] | None = None


class NamespaceSpec(LenientSpec, frozen=True, kw_only=True):
    """Namespace: only its labels are used (``istio.io/…``, discovery selectors)."""


class NodeSpec(LenientSpec, frozen=True, kw_only=True):
    """Node: only its labels are used (``topology.kubernetes.io/region`` and ``zone``)."""
