"""Where a rule sends: host, port and subset of a destination, and what it is hashed by (semantics 1.4, 4.2)."""

from __future__ import annotations

from sys import intern
from typing import NamedTuple

from meshlib._compile.context import RouteContext
from meshlib._compile.hosts import resolve
from meshlib._snapshot.routes import HashKey
from meshlib.model.destination import Destination
from meshlib.model.load_balancer import ConsistentHashLB

__all__ = ["Target", "hash_key", "resolve_target"]


class Target(NamedTuple):
    """A destination with its port decided.

    ``named_port`` is the port it names itself, if it does; ``written_host`` its full host
    before an ExternalName service was followed: DestinationRules are sought under it.
    """

    cluster: str
    host: str
    port: int
    subset: str
    named_port: int | None
    written_host: str


def resolve_target(destination: Destination, namespace: str, context: RouteContext) -> Target:
    """The cluster of a destination. Without a port it is that of a single-port service, else the dialled one."""
    written_host = resolve(destination.host, namespace)
    host, own_port = context.locate(written_host)
    named = None
    if destination.port is not None:
        port = named = destination.port.number or 0
    else:
        port = context.port if own_port is None else own_port
    subset = intern(destination.subset) if destination.subset else ""
    key, host = context.cluster_key(host, port, subset)
    return Target(key, host, port, subset, named, written_host)


def hash_key(settings: ConsistentHashLB) -> HashKey | None:
    """What a consistent hash looks at; None if nothing is named."""
    if settings.http_header_name is not None:
        return HashKey(kind="header", name=settings.http_header_name.lower())
    cookie = settings.http_cookie
    if cookie is not None:
        return HashKey(
            kind="cookie",
            name=cookie.name,
            ttl=None if cookie.ttl is None else float(cookie.ttl),
            path=cookie.path or "",
            attributes=tuple((item.name, item.value or "") for item in cookie.attributes),
        )
    if settings.use_source_ip is not None:
        return HashKey(kind="source_ip") if settings.use_source_ip else None
    if settings.http_query_parameter_name is not None:
        return HashKey(kind="query", name=settings.http_query_parameter_name)
    return None
