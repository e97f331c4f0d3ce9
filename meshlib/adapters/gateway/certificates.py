"""Client certificates at a gateway: whether they are let in, and what the next hop is told of them."""

from __future__ import annotations

import base64
import hashlib
import ssl
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from meshlib._snapshot.listeners import TlsServer

__all__ = ["forwarded_certificate", "objection"]

_SAFE: Final = ":/?#[]@!$&'()*+~%"
_SPOKEN: Final = {"TLSv1": "TLSV1_0", "TLSv1.1": "TLSV1_1", "TLSv1.2": "TLSV1_2", "TLSv1.3": "TLSV1_3"}


def objection(connection: ssl.SSLObject, server: TlsServer) -> str:
    """Why a finished handshake is not enough for the server; empty if it is."""
    spoken = _SPOKEN.get(connection.version() or "", "")
    if not server.oldest <= spoken <= server.newest:
        return f"the server speaks {server.oldest} to {server.newest}"
    certificate = connection.getpeercert(binary_form=True) if server.asks_clients else None
    if not certificate:
        return "a client certificate is needed" if server.needs_clients else ""
    if server.names and not set(server.names).intersection(_names(certificate)):
        return "no name of the client certificate is let in"
    if server.hashes or server.spki:
        is_known = hashlib.sha256(certificate).hexdigest() in server.hashes or _spki(certificate) in server.spki
        return "" if is_known else "the client certificate is not one of those let in"
    return ""


def _spki(certificate: bytes) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.b64encode(digest).decode()


def _names(certificate: bytes) -> tuple[str, ...]:
    return (*_alternative_names(certificate)[0], *_alternative_names(certificate)[1])


def _written(subject: str) -> str:
    """A subject as OpenSSL writes it (RFC 2253): what is not printable ASCII byte by byte, quotes escaped already."""
    return "".join(
        character if " " <= character <= "~" else "".join(f"\\{byte:02X}" for byte in character.encode())
        for character in subject
    )


@lru_cache(maxsize=256)
def _alternative_names(certificate: bytes) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The URIs and DNS names of a certificate, and its subject as X-Forwarded-Client-Cert has it."""
    from cryptography import x509

    parsed = x509.load_der_x509_certificate(certificate)
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), (), parsed.subject.rfc4514_string()
    return (
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        tuple(names.get_values_for_type(x509.DNSName)),
        parsed.subject.rfc4514_string(),
    )


def forwarded_certificate(tls: Any) -> str:
    """The element of X-Forwarded-Client-Cert for the client of a connection; empty without a certificate."""
    certificate = None if tls is None else tls.getpeercert(binary_form=True)
    if not certificate:
        return ""
    uris, names, subject = _alternative_names(certificate)
    pem = quote(ssl.DER_cert_to_PEM_cert(certificate), safe="")
    return ";".join(
        (
            f"Hash={hashlib.sha256(certificate).hexdigest()}",
            f'Cert="{pem}"',
            f'Subject="{_written(subject)}"',
            *(f"URI={quote(uri, safe=_SAFE)}" for uri in uris or ("",)),
            *(f"DNS={quote(name, safe=_SAFE)}" for name in names),
        )
    )
