"""What ``credentialName`` of a DestinationRule stands for: Secrets and ConfigMaps of the workload's namespace.

Istio looks there too, in this order (pilot/pkg/credentials): ``cert`` with ``key``, then
``tls.crt`` with ``tls.key``; the authority is in ``<name>-cacert`` if there is such a
Secret, else in the same one, as ``cacert`` or ``ca.crt``. ``configmap://namespace/name``
holds an authority alone, which is no secret: it may be of another namespace, a Secret may not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshlib._compile.findings import Findings
from meshlib._compile.index import Index
from meshlib._snapshot.clusters import Credential, UpstreamTls
from meshlib._snapshot.routes import Origin
from meshlib.model.kubernetes import ConfigMapSpec, SecretSpec

__all__ = ["ClientCredentials"]

_PAIRS: Final = (("cert", "key"), ("tls.crt", "tls.key"))
_ROOTS: Final = ("cacert", "ca.crt")
_SCHEMES: Final = ("kubernetes://", "configmap://")


class ClientCredentials:
    """The Secrets and ConfigMaps of a configuration, as far as clients in ``namespace`` may use them."""

    def __init__(self, index: Index, namespace: str, findings: Findings) -> None:
        self._namespace = namespace
        self._findings = findings
        self._secrets = {
            (entry.meta.namespace, entry.meta.name): entry.spec for entry in index.of("Secret", SecretSpec)
        }
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
        roots = next(self._roots(place, is_map=is_map), b"")
        chain, key = self._pair(place) if tls.mode == "MUTUAL" else (b"", b"")
        lacks = [] if roots or tls.skip_verify else ["ca.crt"]
        if tls.mode == "MUTUAL" and not chain:
            lacks.append("tls.crt with tls.key")
        if not lacks:
            return Credential(roots=roots, chain=chain, key=key)
        kind = "ConfigMap" if is_map else "Secret"
        self._lacks(origin, f"{kind} {'/'.join(place)} is not in the configuration with {' and '.join(lacks)}")
        return None

    def _lacks(self, origin: Origin, message: str) -> None:
        self._findings.add("MESH120", origin, message, field="spec.trafficPolicy.tls.credentialName")

    def _pair(self, place: tuple[str, str]) -> tuple[bytes, bytes]:
        secret = self._secrets.get(place)
        if secret is None:
            return b"", b""
        for chain_key, key_key in _PAIRS:
            chain, key = secret.value(chain_key), secret.value(key_key)
            if chain and key:
                return chain, key
        return b"", b""

    def _roots(self, place: tuple[str, str], *, is_map: bool) -> Iterator[bytes]:
        if is_map:
            found = self._maps.get(place)
            texts = (found.data if found is not None else None) or {}
            yield from (text.encode() for name in _ROOTS if (text := texts.get(name)))
            return
        namespace, name = place
        secret = self._secrets.get((namespace, f"{name}-cacert")) or self._secrets.get(place)
        if secret is not None:
            yield from (value for key in _ROOTS if (value := secret.value(key)))
