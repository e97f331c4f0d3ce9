"""ServiceEntry and WorkloadEntry: what Istio's webhook refuses (validation.go)."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.names import (
    domain_problem,
    fqdn_problem,
    is_address,
    partial_wildcard_problem,
    subnet_problem,
)
from meshlib._config.rules.ports import HTTP, TCP, TLS, port_name_problem, protocol_problem
from meshlib._config.rules.report import Report
from meshlib._config.rules.visibility import check_export_to, takes_no_labels
from meshlib.model.resource import Metadata
from meshlib.model.service_entry import ServiceEntrySpec
from meshlib.model.workload_entry import WorkloadEntrySpec

__all__ = ["check_service_entry", "check_workload_entry"]

_ALLOCATION: Final = "networking.istio.io/enable-autoallocate-ip"
_WAYPOINT: Final = "istio.io/use-waypoint"
_DYNAMIC: Final = ("http", "tls", "grpc", "http2")


def check_service_entry(spec: ServiceEntrySpec, metadata: Metadata, report: Report) -> None:
    """All rules of a ServiceEntry that its schema does not have."""
    resolution = spec.resolution or "NONE"
    takes_no_labels(spec.workload_selector, "service entry", report)
    _check_hosts(spec, report)
    for index, address in enumerate(spec.addresses):
        report.check("MESH081", ("spec", "addresses", index), subnet_problem(address))
    _check_ports(spec, metadata, report)
    _check_resolution(resolution, spec, metadata, report)
    if resolution != "NONE" and len(spec.hosts) > 1 and any(not _has_names(port.protocol) for port in spec.ports):
        message = "multiple hosts provided with non-HTTP, non-TLS ports"
        report.add("MESH071", ("spec", "hosts"), message, "split the ServiceEntry, one host each")
    check_export_to(spec.export_to, metadata.namespace, report, is_service=True)


def _check_hosts(spec: ServiceEntrySpec, report: Report) -> None:
    for index, host in enumerate(spec.hosts):
        place: Path = ("spec", "hosts", index)
        report.check("MESH070", place, domain_problem(host))
        partial = partial_wildcard_problem(host)
        if partial and spec.resolution != "DYNAMIC_DNS":
            report.warn(place, partial)


def _check_resolution(resolution: str, spec: ServiceEntrySpec, metadata: Metadata, report: Report) -> None:
    if resolution == "NONE" and spec.workload_selector is not None:
        message = "workloadSelector should not be set when resolution mode is NONE"
        report.warn(("spec", "workloadSelector"), message)
    elif resolution == "STATIC":
        names = {port.name for port in spec.ports}
        for index, endpoint in enumerate(spec.endpoints):
            _check_workload(endpoint, ("spec", "endpoints", index), report, names=names, takes_names=False)
    elif resolution in ("DNS", "DNS_ROUND_ROBIN"):
        _check_dns(spec, report)
    elif resolution == "DYNAMIC_DNS":
        for problem in _dynamic_problems(spec, metadata):
            report.add("MESH081", ("spec", "resolution"), problem)


def _check_ports(spec: ServiceEntrySpec, metadata: Metadata, report: Report) -> None:
    has_address = bool(spec.addresses) or _allocates(spec, metadata)
    for index, port in enumerate(spec.ports):
        path: Path = ("spec", "ports", index)
        if not has_address and port.protocol in (None, "", "TCP"):
            message = (
                "addresses are required for ports serving TCP (or unset) protocol when IP Autoallocation is not enabled"
            )
            report.warn(path, message)
        report.check("MESH071", (*path, "name"), port_name_problem(port.name))
        report.check("MESH071", (*path, "protocol"), protocol_problem(port.protocol))


def _allocates(spec: ServiceEntrySpec, metadata: Metadata) -> bool:
    """Whether Istio gives the service an address of its own."""
    return spec.resolution not in (None, "NONE") and metadata.labels.get(_ALLOCATION, "").lower() != "false"


def _check_dns(spec: ServiceEntrySpec, report: Report) -> None:
    names = {port.name for port in spec.ports}
    if not spec.endpoints:
        for index, host in enumerate(spec.hosts):
            problem = fqdn_problem(host)
            if problem:
                message = (
                    "hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution "
                    f"mode {spec.resolution}, {problem}"
                )
                report.add("MESH070", ("spec", "hosts", index), message)
                break
    for index, endpoint in enumerate(spec.endpoints):
        path: Path = ("spec", "endpoints", index)
        address = endpoint.address or ""
        if not is_address(address) and fqdn_problem(address):
            message = f'endpoint address "{address}" is not a valid FQDN or an IP address'
            report.add("MESH081", (*path, "address"), message)
        _check_endpoint_ports(endpoint, path, report, names)
    is_opaque = any((port.protocol or "").lower() in TCP for port in spec.ports)
    if spec.addresses and is_opaque and len(spec.hosts) > 1:
        message = "service entry can not have more than one host specified simultaneously with address and tcp port"
        report.warn(("spec", "hosts"), message)


def _dynamic_problems(spec: ServiceEntrySpec, metadata: Metadata) -> Iterator[str]:
    if any(not host.startswith("*") for host in spec.hosts):
        yield "host must be wildcarded for resolution mode DYNAMIC_DNS"
    if spec.addresses:
        yield (
            "addresses cannot be set for resolution type DYNAMIC_DNS. "
            "HTTP route domains will only be generated from the hosts field values"
        )
    if spec.endpoints:
        yield (
            "endpoints cannot be set for resolution type DYNAMIC_DNS. "
            "Destination IP address determined from hosts field values"
        )
    if any((port.protocol or "").lower() not in _DYNAMIC for port in spec.ports):
        yield "only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type DYNAMIC_DNS"
    waypoint = metadata.labels.get(_WAYPOINT, "")
    if spec.location == "MESH_INTERNAL" and waypoint.lower() not in ("", "none"):
        yield "location MESH_INTERNAL with resolution type DYNAMIC_DNS is not supported when using waypoints"


def _has_names(protocol: str | None) -> bool:
    """Whether traffic of the protocol tells the host that it is for."""
    return (protocol or "").lower() in HTTP | TLS


# -- workloads ---------------------------------------------------------------------------------------------


def check_workload_entry(spec: WorkloadEntrySpec, metadata: Metadata, report: Report) -> None:
    """All rules of a WorkloadEntry."""
    del metadata
    _check_workload(spec, ("spec",), report, names=None, takes_names=True)


def _check_workload(
    spec: WorkloadEntrySpec, path: Path, report: Report, *, names: Set[str] | None, takes_names: bool
) -> None:
    address = spec.address or ""
    if not address:
        if not spec.network:
            report.add("MESH081", (*path, "address"), "address is required")
            return
        report.warn(path, f'address is unset with network "{spec.network}"')
    is_unix = address.startswith("unix://")
    if address and not is_unix and not is_address(address):
        kinds = "a valid FQDN or an IP address" if takes_names else "a valid IP address"
        if not takes_names or fqdn_problem(address):
            report.add("MESH081", (*path, "address"), f'endpoint address "{address}" is not {kinds}')
    _check_endpoint_ports(spec, path, report, names)
    if is_unix and names is not None and len(names) != 1:
        report.add("MESH081", (*path, "address"), "exactly 1 service port required for unix endpoints")


def _check_endpoint_ports(spec: WorkloadEntrySpec, path: Path, report: Report, names: Set[str] | None) -> None:
    for name, port in spec.ports.items():
        if names is not None and name not in names:
            message = f"endpoint port {port} is not defined by the service entry"
            report.add("MESH071", (*path, "ports", name), message, f"add a port named {name}, or remove this one")
