"""WorkloadEntry: one workload outside Kubernetes, such as a virtual machine.

https://istio.io/latest/docs/reference/config/networking/workload-entry/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from msgspec import Meta

from meshlib.model.base import EMPTY, Maybe, RuleError, Spec
from meshlib.model.scalars import Port, UInt32
from meshlib.model.selectors import Labels

__all__ = ["EndpointPorts", "WorkloadEntrySpec", "WorkloadTemplate"]

PortName: TypeAlias = Annotated[
    str,
    Meta(
        max_length=62,
        pattern=r"^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?\Z",
        description="a port name: letters, digits and dashes, shorter than 63 characters",
    ),
]
EndpointPorts: TypeAlias = Annotated[Mapping[PortName, Port], Meta(max_length=128)]
"""Port numbers of an endpoint by the port names of the service."""


class WorkloadTemplate(Spec, frozen=True, kw_only=True):
    """A workload as a WorkloadGroup describes it: ``address`` comes with each instance.

    ``address`` is an IP address, a name, or ``unix:///path``; ``ports`` maps the port
    names of the service to other numbers (absent: the same numbers). ``locality`` is
    ``region/zone/subzone``; ``weight`` its share among the endpoints (absent: 1).
    """

    address: Maybe[Annotated[str, Meta(max_length=256)]] = None
    ports: EndpointPorts = EMPTY
    labels: Annotated[Mapping[str, str], Meta(max_length=256)] = EMPTY
    network: Maybe[Annotated[str, Meta(max_length=2048)]] = None
    locality: Maybe[Annotated[str, Meta(max_length=2048)]] = None
    weight: Maybe[UInt32] = None
    service_account: Maybe[Annotated[str, Meta(max_length=253)]] = None

    def __post_init__(self) -> None:
        if self.address is not None and self.address.startswith("unix://"):
            check_unix_address(self.address, has_ports=self.ports is not EMPTY)


class WorkloadEntrySpec(WorkloadTemplate, frozen=True, kw_only=True):
    """A workload: ``address`` or at least ``network`` is required."""

    labels: Annotated[Labels, Meta(max_length=256)] = EMPTY

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.address is None and self.network is None:
            raise RuleError("Address is required", field="address", hint="add the IP address or name of the workload")


def check_unix_address(address: str, *, has_ports: bool) -> None:
    """A Unix socket is absolute or abstract (``@``), no folder, and has no ports."""
    if address[7:8] not in ("/", "@"):
        raise RuleError("UDS must be an absolute path or abstract socket", field="address", hint="write unix:///path")
    if address.endswith("/"):
        raise RuleError("UDS may not be a dir", field="address", hint="name the socket file")
    if has_ports:
        raise RuleError("UDS may not include ports", field="ports", hint="remove ports")
