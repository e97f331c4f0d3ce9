"""TLS towards endpoints: what a DestinationRule says about it, as one handshake (semantics 4.13).

* ``DISABLE`` is plaintext, ``SIMPLE`` verifies the server, ``MUTUAL`` also shows a
  certificate, ``ISTIO_MUTUAL`` shows that of the workload and offers Istio's protocols.
* Without a block, endpoints with a sidecar get mesh mutual TLS if this workload has
  certificates; without certificates they are called in plaintext, as every workload
  outside the mesh does.
* Names that the server may have: those written; else the service accounts of the
  destination (Istio 1.31: ``match_subject_alt_names`` of its clusters). SIMPLE and MUTUAL
  go by the accounts of a ServiceEntry only: those of a Service are for mesh TLS. If
  neither names nor ``sni`` are written, SIMPLE and MUTUAL also check the host.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple, Protocol

from meshlib._outbound.contexts import ContextStore, Credentials, MeshContext, PeerNameError
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import Cluster, Discovery, Endpoint, UpstreamTls
from meshlib.errors import MeshError, SourceError
from meshlib.security.files import CertificateFiles, find_certificates

__all__ = ["CredentialError", "Handshake", "HasRuntime", "Originator", "handshake_reason", "originator"]

_ISTIO_PROTOCOLS: Final = ("istio-http/1.1", "istio", "http/1.1")
"""What Istio's sidecars offer for HTTP/1.1: a PERMISSIVE sidecar tells mesh TLS from the application's by it."""
_ISTIO_TCP: Final = ("istio",)

_LOOK_EVERY: Final = 1.0


class HasRuntime(Protocol):
    """A :class:`meshlib.Mesh`, as far as a client needs it."""

    @property
    def runtime(self) -> Runtime:
        """Where the configuration in force is."""
        ...


class CredentialError(MeshError):
    """TLS is asked for, but its certificates are not there or not usable. The request is not sent in plaintext."""


class Handshake(NamedTuple):
    """How the connection of an attempt is secured; equal ones may share connections.

    ``server_name`` is the SNI; None sends none. ``context`` checks the peer by itself.
    """

    context: MeshContext
    server_name: str | None


class Originator:
    """Finds the handshake for an endpoint. One for each mesh, shared by its clients."""

    def __init__(self, certificates: str | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._place = certificates
        self._now = now
        self._store = ContextStore(now)
        self._files: CertificateFiles | None = None
        self._looked: float | None = None
        self._lock = threading.Lock()

    def handshake(
        self, cluster: Cluster, endpoint: Endpoint | None, host: str, *, is_http: bool = True
    ) -> Handshake | None:
        """The handshake with an endpoint (None: the address that was dialled); None for plaintext.

        ``host`` is the Host header that is sent; what is no HTTP does not offer it. Raises
        :class:`CredentialError` where TLS must be used and cannot be: plaintext in its place would be a silent hole.
        """
        tls = cluster.policy.tls
        mode = tls.mode
        if mode == "DISABLE":
            return None
        if mode == "AUTO":
            if endpoint is None or not endpoint.mesh_tls or self._own(cluster, required=False) is None:
                return None
            mode = "ISTIO_MUTUAL"
        if mode == "ISTIO_MUTUAL":
            files = self._own(cluster, required=True)
            assert files is not None
            return self._workload(cluster, tls, files, _without_port(host), is_http=is_http)
        return self._written(cluster, tls, _without_port(host), is_http=is_http)

    def _workload(
        self, cluster: Cluster, tls: UpstreamTls, files: CertificateFiles, host: str, *, is_http: bool
    ) -> Handshake:
        """Mesh mutual TLS: our certificate, the roots of the mesh, the identities of the destination."""
        server_name = tls.sni or cluster.default_sni
        checks_host, named = False, ""
        if cluster.discovery is Discovery.DYNAMIC:
            server_name = tls.sni or ("" if _is_address(host) else host)
            checks_host, named = _must_name(host, tls)
        credentials = Credentials(
            checks_host=checks_host,
            host=named,
            roots=str(files.root),
            chain=str(files.chain),
            key=str(files.key),
            names=_names(cluster, tls),
            protocols=_ISTIO_PROTOCOLS if is_http else _ISTIO_TCP,
        )
        return Handshake(self._context(cluster, credentials), server_name or None)

    def _written(self, cluster: Cluster, tls: UpstreamTls, host: str, *, is_http: bool) -> Handshake:
        """SIMPLE and MUTUAL, with files; the server name is that of the Host header unless one is written."""
        roots: str | bytes = tls.ca_certificates if tls.ca_certificates != "system" else ""
        chain: str | bytes = tls.client_certificate
        key: str | bytes = tls.private_key
        revoked: str | bytes = tls.ca_crl
        if tls.credential_name:
            if tls.credential is None:
                raise CredentialError(
                    f"{cluster.origin or cluster.name}: tls.credentialName {tls.credential_name!r} is not in the "
                    "configuration; add the Secret, or name files"
                )
            roots, chain, key = tls.credential.roots, tls.credential.chain, tls.credential.key
            revoked = tls.credential.revoked or revoked
        names = () if cluster.service and not tls.names_are_written else _names(cluster, tls)
        is_free = not tls.sni and not tls.names_are_written
        server_name = tls.sni or (host if not _is_address(host) or is_free else "")
        checks_host, named = is_free and not tls.skip_verify, ""
        if cluster.discovery is Discovery.DYNAMIC:
            checks_host, named = _must_name(host, tls)
        credentials = Credentials(
            roots=roots,
            chain=chain,
            key=key,
            revoked=revoked,
            names=() if tls.skip_verify else names,
            checks_host=checks_host,
            host=named,
            verifies=not tls.skip_verify,
            protocols=("http/1.1",) if is_http else (),
        )
        return Handshake(self._context(cluster, credentials), server_name or None)

    def _context(self, cluster: Cluster, credentials: Credentials) -> MeshContext:
        try:
            return self._store.get(credentials)
        except (OSError, ssl.SSLError) as error:
            where = cluster.origin or cluster.name
            raise CredentialError(f"{where}: the certificates for TLS are not usable: {error}") from error

    def _own(self, cluster: Cluster, *, required: bool) -> CertificateFiles | None:
        """The files of this workload, looked for anew each second until they are there."""
        if self._files is None:
            with self._lock:
                self._look()
        if self._files is None and required:
            raise CredentialError(
                f"{cluster.origin or cluster.name} asks for ISTIO_MUTUAL, and this workload has no certificates; "
                "name their directory with Mesh.load(certificates=…), or make some with `meshlib ca issue`"
            )
        return self._files

    def _look(self) -> None:
        if self._files is None and (self._looked is None or self._now() - self._looked >= _LOOK_EVERY):
            try:
                self._files = find_certificates(self._place)
            except SourceError:
                self._looked = self._now()


def _must_name(host: str, tls: UpstreamTls) -> tuple[bool, str]:
    """What a certificate must name where the host decides where to: always that host, beside what is written.

    Whether by the server name of the handshake, which is the host unless another is written; else the name itself.
    """
    if tls.skip_verify:
        return False, ""
    return (False, host) if tls.sni or _is_address(host) else (True, "")


def _names(cluster: Cluster, tls: UpstreamTls) -> tuple[str, ...]:
    return tls.subject_alt_names if tls.names_are_written else cluster.accounts


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def originator(runtime: Runtime) -> Originator:
    """The one of a mesh."""
    found = runtime.originator
    if not isinstance(found, Originator):
        found = runtime.originator = Originator(runtime.certificates)
    return found


def handshake_reason(error: BaseException) -> str:
    """What went wrong in a handshake, for the body of the reply: ``TLS_error: CERTIFICATE_VERIFY_FAILED``.

    Empty if no TLS error is behind ``error``.
    """
    seen: BaseException | None = error
    for _ in range(8):
        if isinstance(seen, PeerNameError):
            return "TLS_error: SAN matcher"
        reason = getattr(seen, "reason", None)
        if isinstance(seen, ssl.SSLError) and isinstance(reason, str):
            return f"TLS_error: {reason}"
        if seen is None:
            break
        seen = seen.__cause__ or seen.__context__ or _inner(seen)
    return ""


def _inner(error: BaseException) -> BaseException | None:
    return next((part for part in error.args if isinstance(part, BaseException)), None)
