"""Lists of revoked certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from meshlib.security import DevelopmentCA


def revoked(
    ca: DevelopmentCA, place: Path, *certificates: Path, days: float = 1, says: x509.ExtensionType | None = None
) -> Path:
    """A list with these certificates, signed by the authority and good for some days from now.

    ``says`` is something critical about the list itself.
    """
    root = x509.load_pem_x509_certificate((ca.directory / "root-cert.pem").read_bytes())
    key = load_pem_private_key((ca.directory / "root-key.pem").read_bytes(), None)
    now = datetime.now(UTC)
    made = x509.CertificateRevocationListBuilder().issuer_name(root.subject)
    made = made.last_update(now - timedelta(days=9)).next_update(now + timedelta(days=days))
    for path in certificates:
        number = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
        one = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - timedelta(minutes=1))
        made = made.add_revoked_certificate(one.build())
    if says is not None:
        made = made.add_extension(says, critical=True)
    place.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]
    return place
