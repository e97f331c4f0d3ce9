"""Which hosts there are: those of ServiceEntries and Services, with the namespaces that see them.

Rules (util/service_lookup.go, util/hosts.go of Istio 1.31):

1. A host without dot is short for ``host.namespace.svc.cluster.local`` of its resource.
2. A ServiceEntry is seen where ``exportTo`` says, a Service where its annotation says; all
   namespaces otherwise.
3. A host is looked up among the hosts that everybody sees, then among those of its own
   namespace (or of the ``exportTo`` of who asks), then among wildcards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meshlib._analyze.view import Item, Name, View

__all__ = ["Host", "Hosts", "full_host", "host_name", "matches", "scopes"]

_FQDN: Final = re.compile(r"(.+)\.(.+)\.svc\.cluster\.local\Z")
_EXPORT: Final = "networking.istio.io/exportTo"


@dataclass(frozen=True, slots=True)
class Host:
    """What stands behind a host: its port numbers, and the labels of its workloads as far as a ServiceEntry says."""

    ports: tuple[int, ...]
    workloads: Mapping[str, str]


def full_host(host: str, namespace: str) -> str:
    """A short host written out."""
    return host if host.startswith("*") or "." in host else f"{host}.{namespace}.svc.cluster.local"


def host_name(host: str, namespace: str) -> Name:
    """Namespace and name of the service that a host stands for; a foreign host is a name of the namespace."""
    found = _FQDN.match(host)
    return (found[2], found[1]) if found else (namespace, host)


def matches(one: str, other: str) -> bool:
    """Whether two hosts, each maybe with a wildcard in front, overlap."""
    if not one.startswith("*"):
        return one == other if not other.startswith("*") else one.endswith(other[1:])
    if not other.startswith("*"):
        return other.endswith(one[1:])
    short, long = sorted((one[1:], other[1:]), key=len)
    return long.endswith(short)


def scopes(export_to: Iterable[str], namespace: str) -> list[str]:
    """The namespaces that an ``exportTo`` names, without repetition; ``*`` alone stands for all."""
    names = list(export_to)
    if not names or "*" in names:
        return ["*"]
    return list(dict.fromkeys(namespace if name == "." else name for name in names))


class Hosts:
    """All hosts by the namespace that sees them."""

    def __init__(self, view: View) -> None:
        self._known: dict[tuple[str, str], Host] = {}
        self._wildcards: dict[str, dict[str, Host]] = {}
        for item in view.all("ServiceEntry"):
            self._add_entry(item)
        for item in view.all("Service"):
            self._add_service(item)

    def find(self, host: str, namespace: str, export_to: Sequence[str] = ()) -> Host | None:
        """What ``host`` stands for when a resource of ``namespace`` names it."""
        name = full_host(host, namespace)
        for scope in ("*", *(namespace if one == "." else one for one in export_to or (".",))):
            found = self._known.get((scope, name))
            if found is not None:
                return found
        return self._find_wildcard(host, namespace)

    def _find_wildcard(self, host: str, namespace: str) -> Host | None:
        rest = host.removeprefix("*")
        for start in range(len(rest) + 1):
            by_scope = self._wildcards.get(rest[start:], {})
            found = by_scope.get("*") or by_scope.get(namespace)
            if found is not None:
                return found
        return None

    def _add_entry(self, item: Item) -> None:
        spec = item.spec
        ports = tuple(port.number("number") for port in spec.items("ports"))
        entry = Host(ports, spec.node("workloadSelector").labels("labels"))
        for host in spec.texts("hosts"):
            for scope in _entry_scopes(spec.texts("exportTo"), item.namespace):
                self._add(scope, full_host(host, item.namespace), entry)

    def _add_service(self, item: Item) -> None:
        service = Host(tuple(port.number("port") for port in item.spec.items("ports")), {})
        annotation = item.annotations.get(_EXPORT, "")
        names = [name.strip() for name in annotation.split(",")] if annotation else ["*"]
        for name in names:
            self._add(item.namespace if name == "." else name, full_host(item.name, item.namespace), service)

    def _add(self, scope: str, host: str, entry: Host) -> None:
        self._known[scope, host] = entry
        if host.startswith("*"):
            self._wildcards.setdefault(host.removeprefix("*"), {})[scope] = entry


def _entry_scopes(export_to: Sequence[str], namespace: str) -> Iterator[str]:
    """Up to the first ``*``: what stands before it counts too."""
    if not export_to:
        yield "*"
    for name in export_to:
        yield namespace if name == "." else name
        if name == "*":
            return
