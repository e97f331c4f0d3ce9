"""Gateway: the servers of an ingress or egress proxy.

https://istio.io/latest/docs/reference/config/networking/gateway/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from meshlib.model.base import EMPTY, Maybe, Model, Spec
from meshlib.model.scalars import UInt32
from meshlib.model.server_tls import ServerTLSSettings, TLSCertificate

__all__ = ["GatewaySpec", "Port", "Server", "ServerTLSSettings", "TLSCertificate"]


class Port(Model, frozen=True, kw_only=True):
    """A port to listen on. ``protocol``: HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, MONGO, TCP or TLS.

    ``number`` is 0 where the server binds to a Unix socket, and only there.
    """

    number: UInt32
    protocol: str
    name: Annotated[str, Meta(min_length=1)]
    target_port: Maybe[UInt32] = None


class Server(Model, frozen=True, kw_only=True):
    """One port, its ``hosts`` (``namespace/name``, ``*`` allowed) and its TLS. ``bind`` is an address to listen on."""

    port: Port
    bind: Maybe[str] = None
    hosts: tuple[str, ...]
    tls: Maybe[ServerTLSSettings] = None
    default_endpoint: Maybe[str] = None
    name: Maybe[str] = None


class GatewaySpec(Spec, frozen=True, kw_only=True):
    """Servers of the proxies whose labels carry all of ``selector`` (absent: any)."""

    RULES: ClassVar[tuple[str, ...]] = ("servers",)

    servers: tuple[Server, ...] = ()
    selector: Mapping[str, str] = EMPTY
