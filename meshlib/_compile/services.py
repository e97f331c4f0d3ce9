"""What a service is to the compiler, wherever it was written: host, ports, how its endpoints are found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from meshlib._compile.mesh import Visibility
from meshlib._compile.order import Age
from meshlib._snapshot.clusters import Endpoint
from meshlib._snapshot.routes import Origin

__all__ = [
    "PASSTHROUGH_PORTS",
    "SNIFFED",
    "Resolution",
    "Service",
    "ServicePort",
    "is_http",
    "parse_protocol",
    "port_protocol",
]

SNIFFED: Final = "UnsupportedProtocol"
"""A port whose protocol is not declared: HTTP or TCP, as its bytes tell."""

HTTP_KINDS: Final = frozenset({"HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-Web"})

PROTOCOLS: Final = {
    name.lower(): name for name in "TCP UDP GRPC GRPC-Web HTTP HTTP_PROXY HTTP2 HTTPS TLS Mongo Redis MySQL".split()
}

# Kubernetes' own names for application protocols.
APP_PROTOCOLS: Final = {"kubernetes.io/h2c": "HTTP2", "kubernetes.io/ws": "HTTP", "kubernetes.io/wss": "HTTPS"}

PASSTHROUGH_PORTS: Final = frozenset({25, 53, 3306, 27017})
"""Ports that are TCP where nothing is declared: mail, DNS, MySQL, MongoDB."""


class Resolution(Enum):
    """How the endpoints of a service are found."""

    STATIC = "static"
    DNS = "dns"
    DNS_ROUND_ROBIN = "dns-round-robin"
    NONE = "none"
    DYNAMIC_DNS = "dynamic-dns"
    ALIAS = "alias"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """A port of a service. ``target`` is what endpoints listen on, a number or the name of a container port."""

    number: int
    name: str
    protocol: str
    target: int | str | None = None

    @property
    def is_http(self) -> bool:
        """True if HTTP routes apply to the port."""
        return self.protocol in HTTP_KINDS or self.protocol == SNIFFED


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """A service of the registry. ``endpoints`` are by the number of the service port.

    ``external`` is outside the mesh; ``accounts`` are the names its certificates may
    carry; ``alias_of`` is what an ExternalName service stands for, ``aliases`` the other
    way round. ``known`` is false if nothing in the configuration tells its endpoints.
    ``prefers`` is ``zone`` or ``node`` where its trafficDistribution keeps calls near.
    ``traits`` is what two parts of a service must have in common to be put together.
    ``leaving`` tells, by port, whether the endpoints that are going away speak mesh mTLS:
    none of them gets requests, but Istio 1.31 asks them too before it uses mTLS to
    dialled addresses. ``dialled`` are the endpoints it asks, by port, where they are not
    those that get requests.
    """

    host: str
    namespace: str
    name: str
    ports: tuple[ServicePort, ...]
    resolution: Resolution
    kubernetes: bool
    external: bool
    export_to: Visibility
    age: Age
    origin: Origin
    addresses: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    alias_of: str = ""
    aliases: tuple[str, ...] = ()
    endpoints: dict[int, tuple[Endpoint, ...]] = field(default_factory=dict)
    leaving: dict[int, list[bool]] = field(default_factory=dict)
    dialled: dict[int, tuple[Endpoint, ...]] | None = None
    known: bool = True
    prefers: str = ""
    traits: object = None

    def port(self, number: int) -> ServicePort | None:
        """The port with this number."""
        for port in self.ports:
            if port.number == number:
                return port
        return None

    def visible_to(self, namespace: str) -> bool:
        """True if a workload of the namespace may see the service."""
        return "*" in self.export_to or ("~" not in self.export_to and namespace in self.export_to)

    def __repr__(self) -> str:
        return f"<Service {self.host} ports={','.join(str(port.number) for port in self.ports)}>"


def is_http(protocol: str) -> bool:
    """True for the protocols that are HTTP by declaration."""
    return protocol in HTTP_KINDS


def parse_protocol(text: str | None) -> str:
    """A protocol's canonical name; what is not known is sniffed."""
    return PROTOCOLS.get((text or "").lower(), SNIFFED)


def port_protocol(number: int, name: str, transport: str | None, app_protocol: str | None) -> str:
    """The protocol of a Kubernetes Service port: appProtocol, else the first word of its name (semantics 0.3)."""
    if transport == "UDP":
        return "UDP"
    if app_protocol is not None:
        if app_protocol in APP_PROTOCOLS:
            return APP_PROTOCOLS[app_protocol]
        name = app_protocol
    if name[:8].lower() == "grpc-web":
        return "GRPC-Web"
    found = parse_protocol(name.partition("-")[0])
    return "TCP" if found == SNIFFED and number in PASSTHROUGH_PORTS else found
