"""Several services for one host in one namespace have their endpoints in common.

Istio 1.31 keeps endpoints by host and namespace, whichever service they were written
for, a Kubernetes Service or a ServiceEntry, and whoever may see it. A cluster of
addresses gets those of the name of its port; one that resolves names, and the question
whether all of them speak mesh mTLS, goes by the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from meshlib._compile.hosts import is_address
from meshlib._compile.services import Resolution, Service
from meshlib._snapshot.clusters import Endpoint

__all__ = ["share_endpoints"]

NAMED: Final = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


def share_endpoints(services: Iterable[Service]) -> None:
    """Give the services for one host in one namespace each other's endpoints. The oldest come first."""
    parts: dict[tuple[str, str], list[Service]] = {}
    for service in services:
        if service.resolution is not Resolution.ALIAS:
            parts.setdefault((service.host, service.namespace), []).append(service)
    for several in parts.values():
        if len(several) > 1:
            share(several)


def share(parts: Sequence[Service]) -> None:
    """Share the endpoints of all parts of a service."""
    written = list(entry_endpoints(part for part in parts if not part.kubernetes))
    read = [
        (port.name, endpoint)
        for part in parts
        if part.kubernetes
        for port in part.ports
        for endpoint in part.endpoints.get(port.number, ())
    ]
    by_name: dict[str, tuple[Endpoint, ...]] = {}
    by_number: dict[int, tuple[Endpoint, ...]] = {}
    names: dict[int, str] = {}
    for part in parts:
        for port in part.ports:
            names.setdefault(port.number, port.name)
            mine = [endpoint for name, endpoint in read if name == port.name]
            addresses = [one for _, name, one in written if name == port.name and not is_name(one.address)]
            by_name[port.name] = (*addresses, *mine)
            # A younger part counts for its ports, unless it finds nothing for them.
            found = (*(one for number, _, one in written if number == port.number), *mine)
            by_number[port.number] = found or by_number.get(port.number, ())
    for part in parts:
        own = {**names, **{port.number: port.name for port in part.ports}}
        named = {number: by_name[name] for number, name in own.items()}
        part.endpoints = dict(by_number) if part.resolution in NAMED else named
        part.dialled = by_number
        part.leaving = {number: found for other in parts for number, found in other.leaving.items()}
        part.known = part.known or any(part.endpoints.get(port.number) for port in part.ports)


def entry_endpoints(parts: Iterable[Service]) -> Iterator[tuple[int, str, Endpoint]]:
    """Number and name of the port, and endpoint, of ServiceEntries; where only one may be, it adds none to others."""
    taken: set[int] = set()
    for part in parts:
        for port in part.ports:
            for endpoint in part.endpoints.get(port.number, ()):
                if part.resolution is not Resolution.DNS_ROUND_ROBIN or port.number not in taken:
                    taken.add(port.number)
                    yield port.number, port.name, endpoint


def is_name(address: str) -> bool:
    """True for an endpoint that has to be looked up."""
    return not address.startswith("unix://") and not is_address(address)
