"""TLS contexts for servers: the workload's certificate, its peers verified, both renewed while it runs."""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from meshlib._runtime import Runtime, runtime_of
from meshlib.security._contexts import LeadingContext
from meshlib.security._naming import naming
from meshlib.security._sessions import give_no_tickets, is_stale
from meshlib.security.files import CertificateFiles, find_certificates

__all__ = ["RenewingContext", "server_context"]

_log = logging.getLogger("meshlib.security")

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the files."""


class HasRuntime(Protocol):
    """A :class:`meshlib.Mesh`, as far as a context needs it."""

    @property
    def runtime(self) -> Runtime:
        """Where the configuration in force is."""
        ...


def server_context(
    workload: HasRuntime | str | os.PathLike[str] | None = None,
    *,
    port: int = 0,
    is_peer_required: bool | None = None,
    now: Callable[[], float] = time.monotonic,
) -> ssl.SSLContext:
    """A context for a server of this workload, for uvicorn, aiohttp.web, gunicorn and whatever takes one.

    ``workload`` is a :class:`meshlib.Mesh`, with the certificates that it was loaded
    with, or their directory in the layout of Istio's mounts; None looks where Istio puts
    them. Clients must show a certificate of the same root, or at least may show one if
    ``is_peer_required`` is false. None: with a mesh as PeerAuthentication says of
    ``port`` (STRICT: must), from the next handshake on when it says otherwise, else true.
    On open connections the middleware enforces the mode. TLS 1.2 and later, as in Istio.

    A renewed set of files is used for the next handshake, without a restart; open
    connections stay. Protocols, ciphers and further roots that are set on the context
    hold for all of them. A set that is half written is not used: the one before stays.
    No TLS session outlives other roots, so nobody comes in again who is trusted no more.

    Raises :class:`meshlib.errors.SourceError` without files, :class:`ssl.SSLError`, which
    names them, if they are not PEM, do not fit each other, or the key has a password.
    """
    if workload is None or isinstance(workload, str | os.PathLike):
        files = find_certificates(workload)
        return RenewingContext(files, is_peer_required=lambda: is_peer_required is not False, now=now).context
    runtime = runtime_of(workload, "server_context")
    files = find_certificates(runtime.certificates)
    if is_peer_required is not None:
        return RenewingContext(files, is_peer_required=lambda: is_peer_required, now=now).context
    return RenewingContext(files, is_peer_required=partial(_is_strict, runtime, port), now=now).context


def _is_strict(runtime: Runtime, port: int) -> bool:
    snapshot = runtime.published.snapshot
    # Behind an ingress listener the server has the listener's modes, as its requests have.
    known = port if snapshot.inbound is None else snapshot.inbound.port(port)
    return snapshot.security.mode_of(known) == "STRICT"


class RenewingContext:
    """``context`` hands each handshake to the newest certificates.

    OpenSSL asks back when a ClientHello has come in. There a connection can be given
    another context, and with it another certificate and other trusted roots.
    """

    def __init__(
        self, files: CertificateFiles, *, is_peer_required: Callable[[], bool], now: Callable[[], float]
    ) -> None:
        self._files = files
        self._is_peer_required = is_peer_required
        self._mode = ssl.CERT_REQUIRED if is_peer_required() else ssl.CERT_OPTIONAL
        self._now = now
        self._lock = threading.Lock()
        self._stamp = files.stamp()
        self._looked = now()
        self._roots, self._renewed = files.root.read_bytes(), 0.0
        self.context = LeadingContext(ssl.PROTOCOL_TLS_SERVER)
        self._fill(self.context)
        self._newest: ssl.SSLContext = self.context
        self.context.sni_callback = self._on_hello
        self.context.is_leading, self.context.before_each = True, self._ask_peer

    def _ask_peer(self) -> None:
        """Before a connection begins: OpenSSL copies then whether its client must show a certificate."""
        mode = ssl.CERT_REQUIRED if self._is_peer_required() else ssl.CERT_OPTIONAL
        if mode is not self._mode:
            self._mode = self.context.verify_mode = mode
            if mode is ssl.CERT_REQUIRED:
                self._renewed = time.time()  # sessions from before may stand for no certificate at all

    def _fill(self, context: ssl.SSLContext) -> None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # as Envoy: whatever is trusted ends a chain
        with naming(self._files.chain, self._files.key):
            context.load_cert_chain(self._files.chain, self._files.key, password="")  # None would ask on the terminal
        with naming(self._files.root):
            context.load_verify_locations(self._files.root)
        context.verify_mode = self._mode
        give_no_tickets(context)

    def _on_hello(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        connection.server_name = name or ""  # type: ignore[union-attr]  # for policies on connection.sni
        self._renew()
        if self._newest is not self.context:
            connection.context = self._newest
        return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE if is_stale(connection, self._renewed) else None

    def _renew(self) -> None:
        with self._lock:
            if self._now() - self._looked < _LOOK_EVERY:
                return
            self._looked = self._now()
            try:
                stamp = self._files.stamp()
                if stamp == self._stamp:
                    return
                context, roots = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._files.root.read_bytes()
                self._fill(context)
                self.context.succeed(context)
                self._newest = context
                if roots != self._roots:
                    self._roots, self._renewed = roots, time.time()
            except (OSError, ssl.SSLError) as error:
                # The writer is not finished: the next look tries again.
                _log.warning("the renewed certificates are not usable: %s", error)
                return
            self._stamp = stamp
