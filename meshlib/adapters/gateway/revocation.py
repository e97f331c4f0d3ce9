"""Client certificates that were revoked (``caCrl``, and the list beside the authority in a Secret).

OpenSSL looks at lists where the first context of a listener says so, which is before
anybody knows what server, and so what list, a client means. So it is looked here, by the
same rules, as Envoy does for the whole chain: each certificate that was verified must
have a list of its authority, signed by that and not out of date, which does not name it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["Lists", "read_lists", "revocation"]

Lists: TypeAlias = "tuple[x509.CertificateRevocationList, ...]"

_PEM: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def read_lists(source: bytes | str) -> Lists | None:
    """The lists in a file, or in PEM as bytes; None where none is wanted. Raises OSError or ValueError without any."""
    if not source:
        return None
    from cryptography import x509

    text = source if isinstance(source, bytes) else Path(source).read_bytes()
    found = tuple(map(x509.load_pem_x509_crl, _PEM.findall(text)))
    if not found:
        raise ValueError("there is no list of revoked certificates in what caCrl names")
    return found


def revocation(connection: ssl.SSLObject, lists: Lists) -> str:
    """Why the lists keep the client of a whole handshake out; empty if they do not."""
    if connection.session_reused:
        return ""  # looked at when the session began, and none outlives another list
    chain = _verified_chain(connection)
    if not chain:
        return "its certificates cannot be looked at"
    now = datetime.now(UTC)
    for certificate, issuer in zip(chain, (*chain[1:], chain[-1]), strict=True):
        known = [one for one in lists if one.issuer == certificate.issuer and _is_good(one, issuer, now)]
        if not known:
            return "there is no list of revoked certificates of its authority that is signed and up to date"
        if any(one.get_revoked_certificate_by_serial_number(certificate.serial_number) for one in known):
            return "the client certificate is revoked"
    return ""


def _is_good(one: x509.CertificateRevocationList, issuer: x509.Certificate, now: datetime) -> bool:
    if one.last_update_utc > now or (one.next_update_utc is not None and one.next_update_utc <= now):
        return False
    key: Any = issuer.public_key()
    return one.is_signature_valid(key)


def _verified_chain(connection: Any) -> Sequence[x509.Certificate]:
    """From the client's own certificate to what is trusted. Public since Python 3.13, and there before."""
    from cryptography import x509

    if hasattr(connection, "get_verified_chain"):
        return [x509.load_der_x509_certificate(one) for one in connection.get_verified_chain()]
    look: Any = getattr(getattr(connection, "_sslobj", None), "get_verified_chain", tuple)
    return [x509.load_pem_x509_certificate(one.public_bytes().encode()) for one in look() or ()]
