"""The mTLS modes of destinations, as far as clients go by them (semantics 4.13)."""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import replace

from meshlib._compile.attachments import selects
from meshlib._compile.index import Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.order import by_age
from meshlib._compile.services import Resolution, Service
from meshlib._snapshot.clusters import Endpoint
from meshlib.model.peer_authentication import MutualTLS, PeerAuthenticationSpec

__all__ = ["PeerModes", "accounts_of"]

_ACCOUNT: Final = re.compile(r"spiffe://[^/]*(/ns/[^/]*/sa/[^/]*)\Z")


class PeerModes:
    """PeerAuthentication of whole namespaces, that of the root namespace being the mesh's, and of their workloads."""

    def __init__(self, index: Index, mesh: MeshSettings) -> None:
        self._root = mesh.root_namespace
        self._modes: dict[str, str] = {}
        selecting: dict[str, list[PeerAuthenticationSpec]] = {}
        for entry in sorted(index.of("PeerAuthentication", PeerAuthenticationSpec), key=by_age):
            spec, namespace = entry.spec, entry.meta.namespace
            if spec.selector is None or not spec.selector.match_labels:
                self._modes.setdefault(namespace, _mode(spec.mtls) or "UNSET")
            elif namespace != self._root:
                selecting.setdefault(namespace, []).append(spec)
        self._selecting = {namespace: specs for namespace, specs in selecting.items() if any(map(_disables, specs))}
        """Where a workload can be without mutual TLS although its namespace is not."""

    def mode(self, namespace: str) -> str:
        """DISABLE, PERMISSIVE or STRICT: of the namespace, else of the mesh, else PERMISSIVE."""
        for place in (namespace, self._root):
            mode = self._modes.get(place, "UNSET")
            if mode != "UNSET":
                return mode
        return "PERMISSIVE"

    def offer(self, endpoints: tuple[Endpoint, ...], namespace: str, declared: str | None) -> tuple[Endpoint, ...]:
        """The endpoints of a service, with what each is offered: what a rule has ``declared``, else what it takes."""
        if declared is not None:
            return tuple(replace(endpoint, mesh_tls=declared == "ISTIO_MUTUAL") for endpoint in endpoints)
        specs = self._selecting.get(namespace)
        if specs is None:
            return endpoints
        return tuple(
            replace(endpoint, mesh_tls=False) if endpoint.mesh_tls and _is_off(specs, endpoint) else endpoint
            for endpoint in endpoints
        )


def accounts_of(service: Service, endpoints: tuple[Endpoint, ...], aliases: tuple[str, ...]) -> tuple[str, ...]:
    """The names that certificates of a service carry: the identities behind all its endpoints, and those it declares.

    Istio 1.31: ``match_subject_alt_names`` of a subset names the accounts of the whole
    service, each in the trust domains that are aliases of the mesh's, too.
    """
    if service.resolution is Resolution.DYNAMIC_DNS:
        return ()  # the host that is called must be named instead
    names = {endpoint.identity for endpoint in endpoints if endpoint.identity}.union(service.accounts)
    if aliases:
        found = [one for name in names if (one := _ACCOUNT.match(name)) is not None]
        names.update(f"spiffe://{domain}{one[1]}" for one in found for domain in aliases)
    return tuple(sorted(names))


def _mode(level: MutualTLS | None) -> str | None:
    """The mode that is written; None if it is inherited."""
    return level.mode if level is not None and level.mode != "UNSET" else None


def _disables(spec: PeerAuthenticationSpec) -> bool:
    return "DISABLE" in {_mode(spec.mtls), *map(_mode, spec.port_level_mtls.values())}


def _is_off(specs: list[PeerAuthenticationSpec], endpoint: Endpoint) -> bool:
    """Whether the oldest policy that selects a workload has its port without mutual TLS."""
    spec = next((one for one in specs if selects(one.selector, endpoint.labels)), None)
    if spec is None:
        return False
    ports = {int(port): level for port, level in spec.port_level_mtls.items()}
    return (_mode(ports.get(endpoint.port)) or _mode(spec.mtls)) == "DISABLE"
