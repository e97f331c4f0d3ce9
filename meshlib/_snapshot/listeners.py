"""What a gateway listens with: the TLS of its servers, and how many proxies stand before it. Compiled and immutable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from meshlib._snapshot.routes import Origin

__all__ = ["NO_LISTENERS", "Forwards", "KeyPair", "Listeners", "TlsServer"]

Forwards: TypeAlias = Literal["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"]
Mode: TypeAlias = Literal["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL"]


class KeyPair(msgspec.Struct, frozen=True, gc=False):
    """A certificate chain and its private key: PEM (bytes), or the path of a file that holds it."""

    chain: bytes | str
    key: bytes | str

    def __repr__(self) -> str:
        return "<KeyPair>"


class TlsServer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One server of a Gateway that ends TLS. ``hosts`` are in lower case, ``*`` and ``*.suffix`` among them.

    ``roots`` verify clients (None: no client is asked), ``names`` are the subject
    alternative names one of which a client must have (empty: any), ``hashes`` and ``spki``
    the certificates and keys that are let in (hex and base64 of SHA-256; empty: any).
    """

    hosts: tuple[str, ...]
    mode: Mode
    pairs: tuple[KeyPair, ...] = ()
    roots: bytes | str | None = None
    revoked: bytes | str = ""
    names: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    spki: tuple[str, ...] = ()
    oldest: str = "TLSV1_2"
    newest: str = "TLSV1_3"
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    origin: Origin = Origin("gateway")

    @property
    def asks_clients(self) -> bool:
        """Whether clients are asked for a certificate."""
        return self.mode != "SIMPLE"

    @property
    def needs_clients(self) -> bool:
        """Whether clients must show one."""
        return self.mode in ("MUTUAL", "ISTIO_MUTUAL")

    def __repr__(self) -> str:
        return f"<TlsServer {self.mode} {','.join(self.hosts)} pairs={len(self.pairs)}>"


class Listeners(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The ports of a gateway that speak HTTP: in ``plain``text, over TLS that its servers end.
    ``binds`` has the addresses of ports that name one.

    ``trusted_hops`` are the proxies before it (numTrustedProxies), ``forwards`` what becomes of
    X-Forwarded-Client-Cert (forwardClientCertDetails).
    """

    plain: tuple[int, ...] = ()
    binds: Mapping[int, str] = msgspec.field(default_factory=dict[int, str])
    tls: Mapping[int, tuple[TlsServer, ...]] = msgspec.field(default_factory=dict[int, tuple[TlsServer, ...]])
    trusted_hops: int = 0
    forwards: Forwards = "SANITIZE_SET"


NO_LISTENERS: Final = Listeners()
