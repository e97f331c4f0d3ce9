"""The TLS that a gateway ends: certificates by server name, client certificates as the Gateway asks for them.

OpenSSL asks back when a ClientHello has come in; there each connection gets the context
of the server whose host the client named. What OpenSSL took from the first context by
then (versions, whether a client must have a certificate) is checked after the handshake,
before a byte of the request is read. A new configuration counts from the next handshake.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from meshlib._outbound.contexts import load_pair
from meshlib._snapshot.listeners import KeyPair, TlsServer
from meshlib.adapters.gateway.certificates import objection
from meshlib.errors import MeshError, SourceError
from meshlib.events import ConfigPublished
from meshlib.security.files import find_certificates

if TYPE_CHECKING:
    from meshlib._runtime import Runtime

__all__ = ["gateway_context"]

_log = logging.getLogger("meshlib.gateway")

_VERSIONS: Final = {
    "TLSV1_0": ssl.TLSVersion.TLSv1,
    "TLSV1_1": ssl.TLSVersion.TLSv1_1,
    "TLSV1_2": ssl.TLSVersion.TLSv1_2,
    "TLSV1_3": ssl.TLSVersion.TLSv1_3,
}
_CURVES: Final = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
"""Names of curves in Envoy's words, as OpenSSL has them."""
_ALPN: Final = ["http/1.1"]


def gateway_context(
    runtime: Runtime, port: int, *, certificates: str | os.PathLike[str] | None = None
) -> ssl.SSLContext:
    """A context for the listener of a Gateway's TLS ``port``, for uvicorn and whatever takes one.

    ``certificates`` is the directory with the workload's own certificates, for servers
    with ISTIO_MUTUAL (None: where Istio puts them). Raises
    :class:`meshlib.errors.MeshError` if no server of the port has a certificate that can
    be used; if some have none, handshakes for their hosts fail.
    """
    return _Listener(runtime, port, certificates).context


class _Connection(ssl.SSLObject):
    """One TLS connection; the handshake is over once the server's own conditions hold."""

    server: TlsServer | None = None
    server_name = ""

    def do_handshake(self) -> None:
        """Shake hands. Raises :class:`ssl.SSLError` where the server of the named host lets nobody in like this."""
        super().do_handshake()
        problem = "no server has this name" if self.server is None else objection(self, self.server)
        if problem:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, f"refused after the handshake: {problem}")


class _Listener:
    """The contexts of one port, renewed by each publish."""

    def __init__(self, runtime: Runtime, port: int, certificates: str | os.PathLike[str] | None) -> None:
        self._runtime = runtime
        self._port = port
        self._certificates = certificates
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.options |= ssl.OP_NO_TICKET  # a session of one host must not stand for a certificate at another
        self.context.num_tickets = 0
        self.context.set_alpn_protocols(_ALPN)
        self.context.sslobject_class = _Connection
        self.context.sni_callback = self._on_hello
        self._servers = self._load(strict=True)
        self._open()
        runtime.observe(self._renew, ConfigPublished)

    def _open(self) -> None:
        """What OpenSSL decides before it asks back: as much as one of the servers takes."""
        servers = [server for server, _ in self._servers]
        if servers:
            self.context.minimum_version = _VERSIONS[min(server.oldest for server in servers)]
            self.context.maximum_version = _VERSIONS[max(server.newest for server in servers)]
        curves = {server.curves for server in servers}
        if len(curves) == 1:  # of servers that differ, all are spoken
            _choose_curve(self.context, curves.pop())
        asks = any(server.asks_clients for server in servers)
        self.context.verify_mode = ssl.CERT_OPTIONAL if asks else ssl.CERT_NONE

    def _load(self, *, strict: bool = False) -> list[tuple[TlsServer, ssl.SSLContext]]:
        """The servers of the port that can be used. Raises MeshError if ``strict`` and there is none."""
        loaded, problems = [], []
        for server in self._runtime.published.snapshot.listeners.tls.get(self._port, ()):
            try:
                loaded.append((server, _server_context(server, self._certificates)))
            except (OSError, ValueError, SourceError) as error:  # an SSLError is an OSError
                problems.append(f"{server.origin.resource} ({', '.join(server.hosts)}): {error}")
                _log.warning("TLS on port %d is not served for %s", self._port, problems[-1])
        if strict and not loaded:
            reason = "; ".join(problems) or "no Gateway or Sidecar of this workload has a server there that ends TLS"
            raise MeshError(f"port {self._port} cannot speak TLS: {reason}; add the Secret or the files it names")
        return loaded

    def _renew(self, _: object) -> None:
        self._servers = self._load()
        self._open()

    def _on_hello(self, connection: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        host = (name or "").lower().removesuffix(".")
        found = _find(self._servers, host)
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.server, connection.context = found
        connection.server_name = host
        return None


def _find(servers: Iterable[tuple[TlsServer, ssl.SSLContext]], host: str) -> tuple[TlsServer, ssl.SSLContext] | None:
    """The server of a host: named itself, by the longest suffix, or by ``*``."""
    best, length = None, -1
    for entry in servers:
        for pattern in entry[0].hosts:
            if pattern == host:
                return entry
            if pattern.startswith("*") and len(pattern) > length and host.endswith(pattern[1:]):
                best, length = entry, len(pattern)
    return best


def _server_context(server: TlsServer, certificates: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """A context with the server's certificates. Raises OSError, ValueError or SourceError if they cannot be used."""
    pairs: Sequence[KeyPair] = server.pairs
    roots = server.roots
    if server.mode == "ISTIO_MUTUAL":
        files = find_certificates(certificates)
        pairs, roots = (KeyPair(str(files.chain), str(files.key)),), str(files.root)
    if not pairs:
        raise ValueError("there is no certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[server.oldest]
    context.maximum_version = _VERSIONS[server.newest]
    context.set_alpn_protocols(_ALPN)
    if server.ciphers:
        context.set_ciphers(":".join(server.ciphers))
    _choose_curve(context, server.curves)
    for pair in pairs:
        load_pair(context, pair.chain, pair.key)
    if server.asks_clients:
        if roots is None:
            raise ValueError("there is no certificate authority to verify clients with")
        if isinstance(roots, bytes):
            context.load_verify_locations(cadata=roots.decode("ascii", "ignore"))
        else:
            context.load_verify_locations(roots)
        context.verify_mode = ssl.CERT_OPTIONAL
        if server.revoked:
            context.load_verify_locations(server.revoked)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _choose_curve(context: ssl.SSLContext, curves: Sequence[str]) -> None:
    """The first of the curves that OpenSSL knows: the standard library sets one, not a list."""
    for curve in curves:
        with suppress(ValueError):
            context.set_ecdh_curve(_CURVES.get(curve, curve))
            return
    if curves:
        raise ValueError(f"none of the curves {', '.join(curves)} is known")
