"""Host names: short names, wildcards, and the names under which a service is called.

Rules (semantics 1.1–1.3): a short name belongs to the namespace of the resource that
writes it. A name that starts with ``*`` is a wildcard, and what follows is a suffix.
Istio compares names as they are written, capital letters and all; Envoy and a client's tables know them in lower case.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

__all__ = [
    "DOMAIN",
    "HostIndex",
    "covers",
    "gateway_key",
    "intersect",
    "is_address",
    "is_wildcard",
    "overlaps",
    "resolve",
    "service_domains",
    "service_host",
]

DOMAIN: Final = "cluster.local"
"""The DNS domain of the cluster, as Istio's configuration store writes it into every resource."""

SERVICE_SUFFIX: Final = f".svc.{DOMAIN}"

V = TypeVar("V")


def service_host(name: str, namespace: str) -> str:
    """The full name of a Kubernetes Service."""
    return f"{name}.{namespace}{SERVICE_SUFFIX}"


def resolve(host: str, namespace: str) -> str:
    """The full name of a host written in a resource of ``namespace``; only a bare name is extended."""
    if "." in host or not host or host == "*" or is_address(host):
        return host
    return f"{host}.{namespace}{SERVICE_SUFFIX}" if namespace else f"{host}{SERVICE_SUFFIX}"


def gateway_key(name: str, namespace: str) -> str:
    """A gateway reference as ``namespace/name``; ``mesh`` stays itself."""
    if name == "mesh":
        return name
    place, slash, rest = name.partition("/")
    if slash:
        return f"{namespace}/{rest}" if place == "." else name
    if "." not in name:
        return f"{namespace}/{name}"
    # The old form name.namespace.svc.cluster.local.
    first, _, after = name.partition(".")
    return f"{after.partition('.')[0]}/{first}"


def is_address(host: str) -> bool:
    """True for an IPv4 or IPv6 address."""
    # Names are the common case, and trying to parse one as an address costs microseconds.
    if ":" not in host and (host.count(".") != 3 or not host[-1].isdigit()):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_wildcard(host: str) -> bool:
    """True if the name starts with ``*``."""
    return host.startswith("*")


def covers(pattern: str, host: str) -> bool:
    """True if ``host``, which may be a wildcard itself, lies within ``pattern``."""
    if not pattern.startswith("*"):
        return pattern == host
    if host.startswith("*"):
        return len(host) >= len(pattern) and host.endswith(pattern[1:])
    return host.endswith(pattern[1:])


def overlaps(one: str, other: str) -> bool:
    """True if some name lies within both."""
    return covers(one, other) or covers(other, one)


def intersect(hosts: Iterable[str], others: Sequence[str]) -> list[str]:
    """The names common to both lists, each as its narrower side writes it."""
    found: dict[str, None] = {}
    for host in hosts:
        for other in others:
            if covers(other, host):
                found[host] = None
            elif covers(host, other):
                found[other] = None
    return list(found)


class HostIndex(Generic[V]):
    """Values by host pattern, of which the most specific is found: the exact name, else the longest suffix."""

    __slots__ = ("_lengths", "exact", "wildcards")

    def __init__(self) -> None:
        self.exact: dict[str, V] = {}
        self.wildcards: dict[str, V] = {}
        self._lengths: list[int] | None = None

    def get(self, pattern: str) -> V | None:
        """The value stored under exactly this pattern."""
        return (self.wildcards if is_wildcard(pattern) else self.exact).get(pattern)

    def put(self, pattern: str, value: V) -> None:
        """Store a value under a pattern."""
        if is_wildcard(pattern):
            self.wildcards[pattern] = value
            self._lengths = None
        else:
            self.exact[pattern] = value

    def find(self, host: str) -> V | None:
        """The value of the most specific pattern that covers ``host``."""
        if is_wildcard(host):
            if (found := self.wildcards.get(host)) is not None:
                return found
            host = host[1:]
        elif (found := self.exact.get(host)) is not None:
            return found
        for length in self.lengths():
            if length <= len(host) and (found := self.wildcards.get("*" + host[len(host) - length :])) is not None:
                return found
        return None

    def lengths(self) -> list[int]:
        """The lengths of the suffixes, longest first."""
        if self._lengths is None:
            self._lengths = sorted({len(pattern) - 1 for pattern in self.wildcards}, reverse=True)
        return self._lengths


def service_domains(host: str, namespace: str) -> tuple[str, tuple[str, ...]]:
    """The full name of a service, and the further names a client in ``namespace`` may call it by.

    A Kubernetes service is reached without its domain, and from its own namespace by
    its bare name too; every name may end with a dot.
    """
    further = [] if is_address(host) else [host + "."]
    if host.endswith(SERVICE_SUFFIX):
        further.extend(short_names(host, namespace))
    return host, tuple(further)


def short_names(host: str, namespace: str) -> Iterator[str]:
    """The names of a Kubernetes service without the domain of the cluster."""
    base = host[: host.index(".svc.")] if ".svc." in host[1:] else ""
    name, dot, place = base.partition(".")
    if not dot:
        return
    if place == namespace:
        yield name
    yield base + ".svc"
    yield base
