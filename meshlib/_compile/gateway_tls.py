"""TLS that servers of this process end: certificates from Secrets or files, and what clients must show (5.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from meshlib._compile.findings import Findings
from meshlib._compile.gateways import HTTP_KINDS, BoundServer
from meshlib._compile.index import Index
from meshlib._compile.secrets import Secrets
from meshlib._snapshot.listeners import Forwards, KeyPair, Listeners, Mode, TlsServer
from meshlib._snapshot.routes import Origin
from meshlib.model.mesh_config import MeshConfig
from meshlib.model.mesh_proxy import Topology
from meshlib.model.server_tls import ServerTLSSettings

__all__ = ["gateway_listeners", "ingress_tls"]

_MODES: Final[Mapping[str | None, Mode]] = {
    "SIMPLE": "SIMPLE",
    "MUTUAL": "MUTUAL",
    "OPTIONAL_MUTUAL": "OPTIONAL_MUTUAL",
    "ISTIO_MUTUAL": "ISTIO_MUTUAL",
}
_FORWARDS: Final[Mapping[str | None, Forwards]] = {
    "SANITIZE": "SANITIZE",
    "FORWARD_ONLY": "FORWARD_ONLY",
    "APPEND_FORWARD": "APPEND_FORWARD",
    "ALWAYS_FORWARD_ONLY": "ALWAYS_FORWARD_ONLY",
}


def gateway_listeners(
    ports: Mapping[int, Iterable[BoundServer]], index: Index, namespace: str, findings: Findings
) -> Listeners:
    """The listeners of a gateway workload in ``namespace``, where its Secrets are looked for.

    A server whose certificate is missing is kept without one: handshakes for its hosts
    fail, and those of others go on, as in Istio.
    """
    secrets = _Secrets(index, namespace, findings)
    plain: list[int] = []
    tls: dict[int, tuple[TlsServer, ...]] = {}
    binds: dict[int, str] = {}
    for port, servers in ports.items():
        opened = []
        for server in servers:
            if server.server.bind:
                binds.setdefault(port, server.server.bind)
            mode = _MODES.get(server.server.tls.mode) if server.server.tls is not None else None
            if server.protocol in HTTP_KINDS:
                plain.append(port)
            elif server.server.tls is not None and mode is not None and server.protocol == "HTTPS":
                hosts = tuple(host.lower() for host in server.plain_hosts())
                opened.append(_tls_server(hosts, server.origin, server.server.tls, mode, secrets))
            else:
                what = "passes TLS on unopened" if server.passes_tls else f"speaks {server.protocol}"
                findings.add("MESH191", server.origin, f"the server at port {port} {what}")
        if opened:
            tls[port] = tuple(opened)
    topology = _topology(index)
    return Listeners(
        plain=tuple(dict.fromkeys(plain)),
        binds=binds,
        tls=tls,
        trusted_hops=topology.num_trusted_proxies or 0,
        forwards=_FORWARDS.get(topology.forward_client_cert_details, "SANITIZE_SET"),
    )


def _topology(index: Index) -> Topology:
    """What MeshConfig says of the proxies before gateways; the last one counts."""
    found: Topology | None = None
    for entry in index.of("MeshConfig", MeshConfig):
        found = entry.spec.default_config.gateway_topology if entry.spec.default_config is not None else None
    return found or Topology()


def ingress_tls(
    settings: ServerTLSSettings, index: Index, namespace: str, origin: Origin, findings: Findings
) -> tuple[TlsServer, ...]:
    """The TLS of a Sidecar's ingress listener, for every name; empty where it ends none."""
    mode = _MODES.get(settings.mode)
    if mode is None:
        return ()
    return (_tls_server(("*",), origin, settings, mode, _Secrets(index, namespace, findings)),)


def _tls_server(
    hosts: tuple[str, ...], origin: Origin, settings: ServerTLSSettings, mode: Mode, secrets: _Secrets
) -> TlsServer:
    pairs: tuple[KeyPair, ...] = ()
    roots: bytes | str | None = None
    revoked: bytes | str = settings.ca_crl or ""
    if mode != "ISTIO_MUTUAL":  # the workload's own certificates do for that
        pairs = _pairs(settings, secrets, origin)
        if mode != "SIMPLE":
            roots, listed = _roots(settings, secrets, origin)
            revoked = listed or revoked
    return TlsServer(
        hosts=hosts,
        mode=mode,
        pairs=pairs,
        roots=roots,
        revoked=revoked,
        names=settings.subject_alt_names,
        hashes=tuple(text.replace(":", "").lower() for text in settings.verify_certificate_hash),
        spki=settings.verify_certificate_spki,
        oldest=_version(settings.min_protocol_version, "TLSV1_2"),
        newest=_version(settings.max_protocol_version, "TLSV1_3"),
        ciphers=settings.cipher_suites,
        curves=settings.ecdh_curves,
        origin=origin,
    )


def _version(version: str | None, default: str) -> str:
    return default if version in (None, "TLS_AUTO") else str(version)


def _pairs(settings: ServerTLSSettings, secrets: _Secrets, origin: Origin) -> tuple[KeyPair, ...]:
    names = settings.credential_names or ((settings.credential_name,) if settings.credential_name else ())
    if names:
        found = (secrets.pair(name, origin) for name in names)
        return tuple(pair for pair in found if pair is not None)
    files = settings.tls_certificates or (settings,)
    return tuple(
        KeyPair(one.server_certificate, one.private_key) for one in files if one.server_certificate and one.private_key
    )


def _roots(settings: ServerTLSSettings, secrets: _Secrets, origin: Origin) -> tuple[bytes | str | None, bytes]:
    """The certificate authority, and the list of revoked certificates beside it in a Secret."""
    if settings.ca_cert_credential_name:
        return secrets.roots((settings.ca_cert_credential_name,), origin)
    names = settings.credential_names or ((settings.credential_name,) if settings.credential_name else ())
    if names:
        return secrets.roots((*(f"{name}-cacert" for name in names), *names), origin)
    return settings.ca_certificates, b""


class _Secrets:
    """The Secrets of the gateway's namespace."""

    def __init__(self, index: Index, namespace: str, findings: Findings) -> None:
        self._namespace = namespace
        self._findings = findings
        self._secrets = Secrets(index)

    def pair(self, name: str, origin: Origin) -> KeyPair | None:
        """The certificate and key of a Secret; None, with a finding, if it has none."""
        place = self._namespace, name
        found = self._secrets.pair(place)
        if found is not None:
            return KeyPair(*found)
        lacks = "has no tls.crt with tls.key" if place in self._secrets else "is not there"
        self._findings.add(
            "MESH190", origin, f"the Secret {self._namespace}/{name} {lacks}", field="tls.credentialName"
        )
        return None

    def roots(self, names: tuple[str, ...], origin: Origin) -> tuple[bytes | None, bytes]:
        """The first certificate authority in one of the Secrets, with its list; None, with a finding, without one."""
        for name in names:
            found = self._secrets.roots((self._namespace, name))
            if found is not None:
                return found
        shown = " or ".join(f"{self._namespace}/{name}" for name in names)
        self._findings.add("MESH190", origin, f"no Secret {shown} has ca.crt to verify clients", field="tls.mode")
        return None, b""
