"""What ``credentialName`` of a DestinationRule stands for: Secrets and ConfigMaps of the workload's namespace.

Istio looks there too (pilot/pkg/credentials); the authority is in ``<name>-cacert`` if
there is such a Secret, else in the same one. ``configmap://namespace/name`` holds an
authority alone, which is no secret: it may be of another namespace, a Secret may not.
"""

from __future__ import annotations

from typing import Final

from meshlib._compile.findings import Findings
from meshlib._compile.index import Index
from meshlib._compile.secrets import ROOTS, Place, Secrets
from meshlib._snapshot.clusters import Credential, UpstreamTls
from meshlib._snapshot.routes import Origin
from meshlib.model.kubernetes import ConfigMapSpec

__all__ = ["ClientCredentials"]

_SCHEMES: Final = ("kubernetes://", "configmap://")


class ClientCredentials:
    """The Secrets and ConfigMaps of a configuration, as far as clients in ``namespace`` may use them."""

    def __init__(self, index: Index, namespace: str, findings: Findings) -> None:
        self._namespace = namespace
        self._findings = findings
        self._secrets = Secrets(index)
        self._maps = {
            (entry.meta.namespace, entry.meta.name): entry.spec for entry in index.of("ConfigMap", ConfigMapSpec)
        }

    def find(self, tls: UpstreamTls, origin: Origin) -> Credential | None:
        """What ``tls.credential_name`` stands for; None, with a finding, if a part that the mode needs is not there."""
        scheme = next((scheme for scheme in _SCHEMES if tls.credential_name.startswith(scheme)), "")
        namespace, slash, name = tls.credential_name.removeprefix(scheme).rpartition("/")
        is_map = scheme == "configmap://"
        place = (namespace if slash else self._namespace, name)
        if not is_map and place[0] != self._namespace:
            self._lacks(origin, f"Secret {'/'.join(place)} is not of this workload's namespace {self._namespace}")
            return None
        roots, revoked = (self._map_roots(place) if is_map else self._roots(place)) or (b"", b"")
        chain, key = (self._secrets.pair(place) if tls.mode == "MUTUAL" else None) or (b"", b"")
        lacks = [] if roots or tls.skip_verify else ["ca.crt"]
        if tls.mode == "MUTUAL" and not chain:
            lacks.append("tls.crt with tls.key")
        if not lacks:
            return Credential(roots=roots, chain=chain, key=key, revoked=revoked)
        kind = "ConfigMap" if is_map else "Secret"
        self._lacks(origin, f"{kind} {'/'.join(place)} is not in the configuration with {' and '.join(lacks)}")
        return None

    def _lacks(self, origin: Origin, message: str) -> None:
        self._findings.add("MESH120", origin, message, field="spec.trafficPolicy.tls.credentialName")

    def _roots(self, place: Place) -> tuple[bytes, bytes] | None:
        apart = place[0], f"{place[1]}-cacert"
        return self._secrets.roots(apart if apart in self._secrets else place)

    def _map_roots(self, place: Place) -> tuple[bytes, bytes] | None:
        found = self._maps.get(place)
        texts = (found.data if found is not None else None) or {}
        named = ((texts.get(name), texts.get(listed)) for name, listed in ROOTS)
        return next(((roots.encode(), (revoked or "").encode()) for roots, revoked in named if roots), None)
