"""One look-up of a name: its addresses, and how long they are good for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = ["Answer", "Lookup", "best_lookup", "system_lookup"]

V4_FIRST: Final = (socket.AF_INET, socket.AF_INET6)


class Answer(NamedTuple):
    """The addresses of a name, in order; ``ttl`` in seconds, None if it is not known."""

    addresses: tuple[str, ...]
    ttl: float | None = None


Lookup: TypeAlias = Callable[[str], Answer]
"""Finds the addresses of a name; OSError if that fails."""


def system_lookup(name: str) -> Answer:
    """As the system resolves names (hosts file, search domains …), which does not tell for how long.

    IPv4 addresses where there are any, else IPv6: as a sidecar in an IPv4 cluster does.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    for family in V4_FIRST:
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found if entry[0] == family))
        if addresses:
            return Answer(addresses)
    raise OSError(f"{name} has no address")


def best_lookup() -> Lookup:
    """The system's look-up, with times to live where dnspython is installed (extra ``dns``)."""
    try:
        resolver = import_module("dns.resolver")
    except ImportError:
        return system_lookup
    return lambda name: _with_ttl(resolver, name) or system_lookup(name)


def _with_ttl(resolver: Any, name: str) -> Answer | None:
    """What the name servers say; None if they know nothing, as of a name in the hosts file."""
    for kind in ("A", "AAAA"):
        try:
            found = resolver.resolve(name, kind, search=True)
        except (resolver.NoAnswer, resolver.NXDOMAIN):
            continue
        except (resolver.NoNameservers, resolver.LifetimeTimeout, resolver.NoResolverConfiguration, OSError):
            return None
        return Answer(tuple(record.address for record in found), float(found.rrset.ttl))
    return None
