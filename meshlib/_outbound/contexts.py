"""TLS contexts of clients: who is trusted, who we are, and which names the peer may have.

Istio's certificates carry a SPIFFE URI and no host name, so OpenSSL's own check of the
name can never pass. A context here checks the names inside the handshake: a wrong peer
is refused before a byte of the request is sent, in every client library alike.
"""

from __future__ import annotations

import logging
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, cast

from meshlib.security._naming import naming
from meshlib.security._stamps import Stamp, stamp_of

__all__ = ["NO_PASSWORD", "ContextStore", "Credentials", "PeerNameError", "load_pair", "names_match"]

_log = logging.getLogger("meshlib.security")

NO_PASSWORD: Final = ""
"""Without one OpenSSL asks on the terminal for that of an encrypted key, and waits."""
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the files of a context."""
_MOST: Final = 256
"""Contexts that are kept; the oldest goes first, as of a Secret that was exchanged long ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a context is made of.

    ``roots`` is a PEM file of trusted roots, empty for those of the system; ``chain``
    and ``key`` are the files of our own certificate, empty for none. Each may be the PEM
    itself, as bytes, which no repr shows. ``names`` are the subject alternative names of
    which the peer must have one (empty: any); ``checks_host`` whether the certificate
    must also name the server name of the handshake, ``host`` what else it must name
    (empty: nothing); ``verifies`` False accepts every certificate; ``protocols`` are
    offered by ALPN.
    """

    roots: str | bytes = field(default="", repr=False)
    chain: str | bytes = field(default="", repr=False)
    key: str | bytes = field(default="", repr=False)
    revoked: str | bytes = field(default="", repr=False)
    names: tuple[str, ...] = ()
    checks_host: bool = False
    host: str = ""
    verifies: bool = True
    protocols: tuple[str, ...] = ("http/1.1",)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the context is read from."""
        parts = (self.roots, self.chain, self.key, self.revoked)
        return tuple(part for part in parts if part and isinstance(part, str))


class PeerNameError(ssl.SSLCertVerificationError):
    """The peer's certificate is valid, but none of its names is one of those expected."""


class MeshContext(ssl.SSLContext):
    """A context that client libraries share, each of which would set protocols of its own: what the mesh set stays."""

    is_sealed = False
    is_renewed = False
    """Another one of newer files has taken its place: nothing new is connected with it."""

    def _encode_hostname(self, hostname: str | bytes | None) -> str | None:
        """The server name as it is sent: what is ASCII as it stands, as Envoy has it.

        The standard library makes IDNA of every name, and refuses labels of 64
        characters: ``outbound_.80_.<subset>_.<host>`` has such for the longest names of subsets.
        """
        if isinstance(hostname, str) and hostname.isascii():
            if hostname.startswith(".") or "\0" in hostname:  # neither is an SSLError to the standard library
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, f"{hostname!r} cannot be a server name")
            return hostname
        try:
            encoded: str | None = super()._encode_hostname(hostname)  # type: ignore[misc]
        except UnicodeError as error:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, f"{hostname!r} cannot be a server name: {error}") from error
        return encoded

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        if not self.is_sealed:
            super().set_alpn_protocols(list(alpn_protocols))


def make_context(credentials: Credentials) -> MeshContext:
    """Read the files. Raises OSError or :class:`ssl.SSLError` if one of them is not usable."""
    context = MeshContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # as Envoy: whatever is trusted ends a chain
    context.check_hostname = credentials.verifies and credentials.checks_host
    if not credentials.verifies:
        context.verify_mode = ssl.CERT_NONE
    elif isinstance(credentials.roots, bytes):
        context.load_verify_locations(cadata=credentials.roots.decode("ascii", "ignore"))  # comments may be anything
    elif credentials.roots:
        with naming(credentials.roots):
            context.load_verify_locations(credentials.roots)
    else:
        context.load_default_certs()
    if credentials.revoked:
        _load_revoked(context, credentials.revoked)
        # Envoy looks at the whole chain too: a chain with an authority that has no list is refused.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
    if credentials.chain:
        load_pair(context, credentials.chain, credentials.key)
    if credentials.protocols:
        context.set_alpn_protocols(credentials.protocols)
    if credentials.verifies:
        wanted = [names for names in (credentials.names, (credentials.host,)) if any(names)]
        if wanted:
            _check_names(context, wanted)
    context.is_sealed = True
    return context


def _load_revoked(context: ssl.SSLContext, revoked: str | bytes) -> None:
    """OpenSSL takes lists out of files only, too."""
    if isinstance(revoked, str):
        with naming(revoked):
            context.load_verify_locations(revoked)
        return
    with tempfile.TemporaryDirectory(prefix="meshlib-") as directory:
        path = Path(directory, "revoked.pem")
        path.write_bytes(revoked)
        context.load_verify_locations(path)


def load_pair(context: ssl.SSLContext, chain: str | bytes, key: str | bytes) -> None:
    """OpenSSL reads files only: what came in a Secret is one for a moment, for nobody else to read."""
    if isinstance(chain, str) and isinstance(key, str):
        with naming(chain, key):
            context.load_cert_chain(chain, key, NO_PASSWORD)
        return
    parts = (part if isinstance(part, bytes) else Path(part).read_bytes() for part in (key, chain))
    with tempfile.TemporaryDirectory(prefix="meshlib-") as directory:  # 0700
        path = Path(directory, "pair.pem")
        path.touch(mode=0o600)
        path.write_bytes(b"\n".join(parts))
        context.load_cert_chain(path, password=NO_PASSWORD)


def _check_names(context: ssl.SSLContext, wanted: list[tuple[str, ...]]) -> None:
    """Refuse peers without one name of each of ``wanted`` as the last step of the handshake."""

    def check(connection: ssl.SSLObject | ssl.SSLSocket) -> None:
        presented = cast("tuple[tuple[str, str], ...]", (connection.getpeercert() or {}).get("subjectAltName", ()))
        for names in wanted:
            if not names_match(presented, names):
                shown = ", ".join(f"{kind}:{value}" for kind, value in presented) or "no names"
                raise PeerNameError(1, f"the peer presents {shown}; accepted are {', '.join(names)}")

    class CheckedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            check(self)

    class CheckedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in ssl
            super().do_handshake(block)
            check(self)

    context.sslobject_class = CheckedObject
    context.sslsocket_class = CheckedSocket


def names_match(presented: Iterable[tuple[str, str]], accepted: tuple[str, ...]) -> bool:
    """Whether a subject alternative name (as ``getpeercert`` gives them) is one of those accepted.

    Exact; a DNS name of the certificate may have a wildcard as its first label, as in Envoy.
    """
    wanted = {_address(name) or name for name in accepted}
    hosts = {name.lower() for name in accepted}
    for kind, value in presented:
        if kind == "DNS":
            name = value.lower()
            if name in hosts:
                return True
            if name.startswith("*.") and any(host.partition(".")[2] == name[2:] for host in hosts):
                return True
        elif (_address(value) or value if kind == "IP Address" else value) in wanted:
            return True
    return False


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


class _Entry:
    """A context and what its files looked like when it was read."""

    __slots__ = ("context", "looked", "stamp")

    def __init__(self, context: MeshContext, stamp: Stamp, looked: float) -> None:
        self.context = context
        self.stamp = stamp
        self.looked = looked


class ContextStore:
    """The contexts in use, one for each set of credentials; shared by all clients of a mesh.

    Renewed files are noticed within a second and make a new context, which new
    connections use; open ones stay. A set that is half written is not used: the one
    before stays, and a warning is logged.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._entries: dict[Credentials, _Entry] = {}
        self._lock = threading.Lock()

    def get(self, credentials: Credentials) -> MeshContext:
        """The newest context. Raises OSError or :class:`ssl.SSLError` if there never was a usable one."""
        entry = self._entries.get(credentials)
        now = self._now()
        if entry is not None and (now - entry.looked < _LOOK_EVERY or not credentials.files):
            return entry.context
        with self._lock:
            return self._renew(credentials, now)

    def _renew(self, credentials: Credentials, now: float) -> MeshContext:
        entry = self._entries.get(credentials)
        try:
            stamp = stamp_of(credentials.files)
            if entry is None:
                entry = _Entry(make_context(credentials), stamp, now)
                while len(self._entries) >= _MOST:
                    del self._entries[next(iter(self._entries))]
                self._entries[credentials] = entry
            elif stamp != entry.stamp:
                before, entry.context, entry.stamp = entry.context, make_context(credentials), stamp
                before.is_renewed = True
        except (OSError, ssl.SSLError) as error:
            if entry is None:
                raise
            _log.warning("renewed certificates are not usable, those before stay in use: %s", error)
        entry.looked = now
        return entry.context

    def reset_lock(self) -> None:
        """In a forked child: whoever held the lock is not there."""
        self._lock = threading.Lock()
