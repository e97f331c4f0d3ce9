"""ServiceEntry: services that the platform's registry does not know.

https://istio.io/latest/docs/reference/config/networking/service-entry/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from meshlib.model.base import UNWRITTEN, Maybe, Model, RuleError, Spec
from meshlib.model.scalars import Port
from meshlib.model.selectors import WorkloadSelector
from meshlib.model.workload_entry import WorkloadEntrySpec

__all__ = ["ServiceEntrySpec", "ServicePort", "WorkloadEntrySpec"]


class ServicePort(Model, frozen=True, kw_only=True):
    """A port of the service. ``protocol`` absent: TCP; ``target_port`` absent: ``number``."""

    number: Port
    protocol: Maybe[Annotated[str, Meta(max_length=256)]] = None
    name: Annotated[str, Meta(max_length=256)]
    target_port: Maybe[Port] = None


class ServiceEntrySpec(Spec, frozen=True, kw_only=True):
    """A service by ``hosts``.

    ``location`` absent: MESH_EXTERNAL. ``resolution`` absent: NONE (the caller's address is
    used); STATIC uses ``endpoints`` (or workloads by ``workload_selector``); DNS resolves
    their addresses, or the hosts. ``subject_alt_names`` are the identities accepted.
    """

    RULES: ClassVar[tuple[str, ...]] = ("endpoints", "ports")

    hosts: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=256)] = ()
    ports: Annotated[tuple[ServicePort, ...], Meta(max_length=256)] = ()
    location: Maybe[Literal["MESH_EXTERNAL", "MESH_INTERNAL"]] = None
    resolution: Maybe[Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]] = None
    endpoints: Annotated[tuple[WorkloadEntrySpec, ...], Meta(max_length=4096)] = UNWRITTEN
    workload_selector: Maybe[WorkloadSelector] = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        RuleError.raise_all(self._broken_rules())

    def _broken_rules(self) -> Iterator[RuleError]:
        resolution = self.resolution or "NONE"
        if "*" in self.hosts:
            yield RuleError("hostname cannot be wildcard", field="hosts", hint="name the hosts, or use *.suffix")
        if self.workload_selector is not None and self.endpoints is not UNWRITTEN:
            yield RuleError("only one of WorkloadSelector or Endpoints can be set", field="workloadSelector")
        if resolution == "NONE" and self.endpoints is not UNWRITTEN:
            yield RuleError("NONE mode cannot set endpoints", field="endpoints", hint="set resolution: STATIC or DNS")
        if resolution not in ("NONE", "STATIC") and any("/" in address for address in self.addresses):
            yield RuleError("CIDR addresses are allowed only for NONE/STATIC resolution types", field="addresses")
        if resolution == "DNS_ROUND_ROBIN" and len(self.endpoints) > 1:
            yield RuleError("DNS_ROUND_ROBIN mode cannot have multiple endpoints", field="endpoints")
        if len({port.number for port in self.ports}) < len(self.ports):
            yield RuleError("port number cannot be duplicated", field="ports", hint="remove the repeated port")
        if len({port.name for port in self.ports}) < len(self.ports):
            yield RuleError("port names must be unique", field="ports", hint="rename one of the ports")
