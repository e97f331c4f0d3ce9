"""The TLS that a gateway ends: certificates by server name, client certificates as the Gateway asks for them.

OpenSSL asks back when a ClientHello has come in; there each connection gets the context
of the server whose host the client named. What OpenSSL took from the first context by
then (versions, whether a client must have a certificate) is checked after the handshake,
before a byte of the request is read. A new configuration and renewed files count from the next handshake. What
cannot be used, as a pair that is half written, leaves the certificate before in its place.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshlib._outbound.contexts import load_pair
from meshlib._snapshot.listeners import KeyPair, TlsServer
from meshlib.adapters.gateway.certificates import objection
from meshlib.adapters.gateway.revocation import Lists, read_lists, revocation
from meshlib.errors import MeshError, SourceError
from meshlib.events import ConfigPublished
from meshlib.security._sessions import give_no_tickets, is_stale
from meshlib.security._stamps import Stamp, stamp_of
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
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the files."""


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
    lists: Lists | None = None

    def do_handshake(self) -> None:
        """Shake hands. Raises :class:`ssl.SSLError` where the server of the named host lets nobody in like this."""
        super().do_handshake()
        problem = "no server has this name" if self.server is None else objection(self, self.server)
        if not problem and self.lists is not None and self.getpeercert(binary_form=True):
            problem = revocation(self, self.lists)
        if problem:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, f"refused after the handshake: {problem}")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A server's context, and its lists of revoked certificates; ``stamp`` is what its files looked like then.

    ``trusted`` is what clients are verified with, ``renewed`` since when, in seconds since
    the epoch; 0 for what the listener began with.
    """

    server: TlsServer
    context: ssl.SSLContext
    lists: Lists | None
    stamp: Stamp
    trusted: tuple[bytes, ...]
    renewed: float


class _Listener:
    """The contexts of one port, renewed by each publish and as files are replaced."""

    def __init__(self, runtime: Runtime, port: int, certificates: str | os.PathLike[str] | None) -> None:
        self._runtime = runtime
        self._port = port
        self._certificates = certificates
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        give_no_tickets(self.context)  # a session of one host must not stand for a certificate at another
        # As Envoy: an authority between ends a chain if it is trusted. Flags count on this context only.
        self.context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        self.context.set_alpn_protocols(_ALPN)
        self.context.sslobject_class = _Connection
        self.context.sni_callback = self._on_hello
        self._lock = threading.Lock()
        self._problems: set[str] = set()
        self._entries: list[_Entry] = []
        self._renew()
        if not self._entries:
            reason = "; ".join(sorted(self._problems)) or (
                "no Gateway or Sidecar of this workload has a server there that ends TLS"
            )
            raise MeshError(f"port {port} cannot speak TLS: {reason}; add the Secret or the files it names")
        runtime.observe(self._renew, ConfigPublished)

    def _open(self) -> None:
        """What OpenSSL decides before it asks back: as much as one of the servers takes."""
        servers = [entry.server for entry in self._entries]
        if servers:
            self.context.minimum_version = _VERSIONS[min(server.oldest for server in servers)]
            self.context.maximum_version = _VERSIONS[max(server.newest for server in servers)]
        curves = {server.curves for server in servers}
        if len(curves) == 1:  # of servers that differ, all are spoken
            _choose_curve(self.context, curves.pop())
        asks = any(server.asks_clients for server in servers)
        self.context.verify_mode = ssl.CERT_OPTIONAL if asks else ssl.CERT_NONE

    def _renew(self, _: object = None) -> None:
        with self._lock:
            self._looked = self._runtime.clock.monotonic()
            before = {entry.server: entry for entry in self._entries}
            loaded, problems = [], set()
            for server in self._runtime.published.snapshot.listeners.tls.get(self._port, ()):
                entry = before.get(server)
                try:
                    stamp = self._stamp(server)
                    if entry is None or entry.stamp != stamp:
                        entry = self._load(server, stamp)
                except (OSError, ValueError, SourceError) as error:  # an SSLError is an OSError
                    problems.add(f"{server.origin.resource} ({', '.join(server.hosts)}): {error}")
                if entry is not None:
                    loaded.append(entry)
            for problem in problems - self._problems:
                _log.warning("the certificate of a server of port %d cannot be used: %s", self._port, problem)
            self._entries, self._problems = loaded, problems
            self._open()

    def _load(self, server: TlsServer, stamp: Stamp) -> _Entry:
        roots = find_certificates(self._certificates).root if server.mode == "ISTIO_MUTUAL" else server.roots
        trusted = tuple(
            part if isinstance(part, bytes) else Path(part).read_bytes() for part in (roots, server.revoked) if part
        )
        known = (one.renewed for one in self._entries if one.server.hosts == server.hosts and one.trusted == trusted)
        renewed = next(known, time.time() if self._entries else 0.0)
        context, lists = _server_context(server, self._certificates), read_lists(server.revoked)
        return _Entry(server, context, lists, stamp, trusted, renewed)

    def _stamp(self, server: TlsServer) -> Stamp:
        """What changes when one of the server's files is replaced. Raises OSError or SourceError if one is missing."""
        parts: list[Any] = [part for pair in server.pairs for part in (pair.chain, pair.key)]
        if server.mode == "ISTIO_MUTUAL":
            files = find_certificates(self._certificates)
            parts = [str(files.chain), str(files.key), str(files.root)]
        parts += (server.roots, server.revoked)
        return stamp_of(part for part in parts if part and isinstance(part, str))

    def _on_hello(self, connection: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        host = (name or "").lower().removesuffix(".")
        if self._runtime.clock.monotonic() - self._looked >= _LOOK_EVERY:
            self._renew()
        found = _find(self._entries, host)
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.server, connection.context = found.server, found.context
        connection.server_name, connection.lists = host, found.lists
        return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE if is_stale(connection, found.renewed) else None


def _find(entries: Iterable[_Entry], host: str) -> _Entry | None:
    """The server of a host: named itself, by the longest suffix, or by ``*``."""
    best, length = None, -1
    for entry in entries:
        for pattern in entry.server.hosts:
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
    return context


def _choose_curve(context: ssl.SSLContext, curves: Sequence[str]) -> None:
    """The first of the curves that OpenSSL knows: the standard library sets one, not a list."""
    for curve in curves:
        with suppress(ValueError):
            context.set_ecdh_curve(_CURVES.get(curve, curve))
            return
    if curves:
        raise ValueError(f"none of the curves {', '.join(curves)} is known")
