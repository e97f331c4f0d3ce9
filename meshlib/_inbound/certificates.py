"""The SPIFFE identity in a verified client certificate.

Only the place where a certificate comes from says that it is verified: a TLS object of
this process, or a proxy that is trusted. Nothing is verified here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, TypeAlias
from urllib.parse import unquote

__all__ = ["Certificate", "TlsObject", "identity_of", "identity_of_tls", "server_name_of_tls"]

Certificate: TypeAlias = bytes | str
"""DER as bytes, or PEM as text."""


class TlsObject(Protocol):
    """What :class:`ssl.SSLObject` and :class:`ssl.SSLSocket` have in common."""

    def getpeercert(self, binary_form: bool = ..., /) -> object:  # noqa: FBT001 - the signature of the standard library
        """The certificate of the other side; with True in DER."""


@lru_cache(maxsize=1024)
def identity_of(certificate: Certificate) -> str | None:
    """``spiffe://…`` of a certificate; None if it has no such name or cannot be read.

    A certificate with several URI names is no SPIFFE certificate (SPIFFE X.509-SVID,
    section 2), so it identifies nobody.
    """
    from cryptography import x509

    try:
        if isinstance(certificate, str):
            parsed = x509.load_pem_x509_certificate(unquote(certificate).encode())
        else:
            parsed = x509.load_der_x509_certificate(certificate)
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        identifiers = names.get_values_for_type(x509.UniformResourceIdentifier)
    except Exception:  # noqa: BLE001 - whatever a broken certificate makes the library raise, it names nobody
        return None
    if len(identifiers) != 1 or not identifiers[0].lower().startswith("spiffe://"):
        return None
    return identifiers[0]


def identity_of_tls(tls: TlsObject | None) -> str | None:
    """The identity of the peer of a TLS connection; None without TLS or without a client certificate."""
    if tls is None:
        return None
    certificate = tls.getpeercert(True)  # noqa: FBT003 - the signature of the standard library
    return identity_of(certificate) if isinstance(certificate, bytes) and certificate else None


def server_name_of_tls(tls: object) -> str | None:
    """What the client named in its handshake, where the context of the server notes it; None: nobody can tell.

    Contexts of :func:`meshlib.security.server_context` and of gateways do; the standard
    library tells it during the handshake only.
    """
    found = getattr(tls, "server_name", None)
    return found if isinstance(found, str) else None
