"""Client certificates that were revoked (``caCrl``, and the list beside the authority in a Secret).

OpenSSL looks at lists where the first context of a listener says so, which is before
anybody knows what server, and so what list, a client means. So it is looked here, by the
same rules, as Envoy does for the whole chain: each certificate that was verified must
have a list of its authority for certificates like it, signed by that and not out of date,
and none of these may name it.
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
    try:
        found = tuple(map(x509.load_pem_x509_crl, _PEM.findall(text)))
        for one in found:
            _ = one.extensions  # raises here, and not in a handshake
    except (x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise ValueError(f"a list of revoked certificates cannot be read: {error}") from None
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
        known = [one for one in lists if _is_of(one, certificate) and _is_good(one, issuer, now)]
        if not known:
            return "there is no list of revoked certificates of its authority that is signed and up to date"
        if any(one.get_revoked_certificate_by_serial_number(certificate.serial_number) for one in known):
            return "the client certificate is revoked"
    return ""


def _is_of(one: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether a list is about a certificate, named or not, and says nothing critical that is not known."""
    from cryptography import x509

    if one.issuer != certificate.issuer:
        return False
    for extension in one.extensions:
        match extension.value:
            case x509.IssuingDistributionPoint() as scope:
                if not _covers(scope, certificate):
                    return False
            case x509.AuthorityKeyIdentifier() | x509.DeltaCRLIndicator():
                pass
            case _:
                if extension.critical:
                    return False
    return True


def _covers(scope: x509.IssuingDistributionPoint, certificate: x509.Certificate) -> bool:
    """Whether a list that is not about all certificates of its authority is about this one (RFC 5280, 5.2.5)."""
    from cryptography import x509

    found = {one.oid: one.value for one in certificate.extensions}
    constraints, points = found.get(x509.BasicConstraints.oid), found.get(x509.CRLDistributionPoints.oid)
    is_ca = isinstance(constraints, x509.BasicConstraints) and constraints.ca
    if scope.only_contains_user_certs if is_ca else scope.only_contains_ca_certs:
        return False
    if scope.indirect_crl or scope.only_some_reasons or scope.only_contains_attribute_certs or scope.relative_name:
        return False
    if not scope.full_name:
        return True
    listed = points if isinstance(points, x509.CRLDistributionPoints) else ()
    return any(name in scope.full_name for point in listed for name in point.full_name or ())


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
