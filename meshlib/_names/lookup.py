"""One look-up of a name: its addresses, and how long they are good for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = ["Answer", "Lookup", "best_lookup", "system_lookup"]

V4_FIRST: Final = (socket.AF_INET, socket.AF_INET6)


class Answer(NamedTuple):
    """The addresses of a name, in order: none if there is no such name. ``ttl`` in seconds, None if it is not known."""

    addresses: tuple[str, ...]
    ttl: float | None = None


Lookup: TypeAlias = Callable[[str], Answer | None]
"""Finds the addresses of a name; OSError if that fails, None where nobody was asked."""


def system_lookup(name: str) -> Answer:
    """As the system resolves names (hosts file, search domains …), which does not tell for how long.

    IPv4 addresses where there are any, else IPv6: as a sidecar in an IPv4 cluster does.
    """
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{name} is no name of DNS: {error}") from error
    for family in V4_FIRST:
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found if entry[0] == family))
        if addresses:
            return Answer(addresses)
    raise OSError(f"{name} has no address")


def best_lookup() -> Callable[[str], Answer]:
    """The system's look-up, with times to live where dnspython is installed (extra ``dns``)."""
    try:
        resolver = import_module("dns.resolver")
        failures = (import_module("dns.exception").DNSException, OSError)
    except ImportError:
        return system_lookup

    def look_up(name: str) -> Answer:
        found = _with_ttl(resolver, failures, name)
        if found is not None and found.addresses:
            return found
        try:
            return system_lookup(name)  # it may be in the hosts file
        except OSError:
            if found is None:
                raise
            return found

    return look_up


def _with_ttl(resolver: Any, failures: tuple[type[Exception], ...], name: str) -> Answer | None:
    """What the name servers say; None if they cannot be asked.

    That there is no such name only they can say: the system's resolver may say so of a network that is down.
    """
    for kind in ("A", "AAAA"):
        try:
            found = resolver.resolve(name, kind, search=True)
        except (resolver.NoAnswer, resolver.NXDOMAIN):
            continue
        except failures:
            return None
        return Answer(tuple(record.address for record in found), float(found.rrset.ttl))
    return Answer(())
