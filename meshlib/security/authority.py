"""A certificate authority for laptops and tests: what Istio's Citadel does in a cluster.

It issues SPIFFE certificates like those of Istio's agent: ECDSA P-256, one critical URI
name, good for client and server, short-lived. Not for production: the key of the root
lies in a file.
https://istio.io/latest/docs/concepts/security/#pki
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from meshlib.errors import MeshError, SourceError
from meshlib.security.files import CertificateFiles, write_private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["CertificateFiles", "DevelopmentCA", "Issued", "describe"]

ROOT_LIFETIME: Final = timedelta(days=365)
LEAF_LIFETIME: Final = timedelta(hours=24)  # Istio's default, SECRET_TTL
_EARLY: Final = timedelta(minutes=2)  # for clocks that differ, as Istio's CA does
_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}\Z")
_SEGMENT: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._-]{1,253}\Z")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One certificate as people want to see it. ``names`` are its URI, DNS and address names."""

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime
    is_authority: bool


class DevelopmentCA:
    """A root certificate and its key in a directory. Make one with :meth:`create`, or :meth:`open` it.

    The directory holds ``root-cert.pem`` and ``root-key.pem`` (0600).
    """

    def __init__(
        self, directory: Path, root: x509.Certificate, key: EllipticCurvePrivateKey, trust_domain: str
    ) -> None:
        self.directory = directory
        self.trust_domain = trust_domain
        self._root = root
        self._key = key

    @classmethod
    def create(
        cls,
        directory: str | os.PathLike[str],
        *,
        trust_domain: str = "cluster.local",
        lifetime: timedelta = ROOT_LIFETIME,
    ) -> Self:
        """A new root. Raises :class:`meshlib.errors.MeshError` if the directory already has one."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        place = Path(directory)
        if _DOMAIN.match(trust_domain) is None:
            raise MeshError(f"{trust_domain!r} is not a trust domain: lower-case letters, digits, '.', '-' and '_'")
        if (place / "root-key.pem").exists():
            raise MeshError(f"{place} already holds an authority; use it, or remove root-key.pem to begin anew")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain)])
        root = (
            _builder(name, name, key, lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(place, {"root-key.pem": _key_pem(key), "root-cert.pem": _pem(root)})
        return cls(place, root, key, trust_domain)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Self:
        """The authority in a directory. Raises :class:`meshlib.errors.SourceError` if there is none."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509.oid import NameOID

        place = Path(directory)
        try:
            root = x509.load_pem_x509_certificate((place / "root-cert.pem").read_bytes())
            key = load_pem_private_key((place / "root-key.pem").read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            reason = f"holds no usable authority ({error})"
            raise SourceError(str(place), reason, "make one with `meshlib ca init`") from error
        names = root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not names or key.public_key() != root.public_key():
            raise SourceError(
                str(place), "holds a root that was not made by meshlib", "make one with `meshlib ca init`"
            )
        return cls(place, root, key, str(names[0].value))

    def spiffe_id(self, namespace: str, service_account: str) -> str:
        """``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``."""
        for part in (namespace, service_account):
            if _SEGMENT.match(part) is None:
                raise MeshError(f"{part!r} cannot stand in a SPIFFE id: letters, digits, '.', '-' and '_' can")
        return f"spiffe://{self.trust_domain}/ns/{namespace}/sa/{service_account}"

    def issue(
        self,
        directory: str | os.PathLike[str],
        *,
        namespace: str = "default",
        service_account: str = "default",
        names: str | Sequence[str] = (),
        lifetime: timedelta = LEAF_LIFETIME,
    ) -> CertificateFiles:
        """Write a fresh key and certificate of a workload to ``directory``, in the layout of Istio's mounts.

        ``names`` are further DNS names or addresses, for clients that check those (a
        browser, curl); a text is one of them. It is not good for longer than the root is.
        Servers made by :func:`meshlib.security.server_context` take a renewed certificate
        into use without a restart.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        identity = x509.UniformResourceIdentifier(self.spiffe_id(namespace, service_account))
        others = [_name(name) for name in ((names,) if isinstance(names, str) else names)]
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            _builder(x509.Name([]), self._root.subject, key, min(lifetime, self._left()))
            .add_extension(x509.SubjectAlternativeName([identity, *others]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._root.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        place = Path(directory)
        files = {"root-cert.pem": _pem(self._root), "cert-chain.pem": _pem(leaf), "key.pem": _key_pem(key)}
        write_private(place, files)
        return CertificateFiles(chain=place / "cert-chain.pem", key=place / "key.pem", root=place / "root-cert.pem")

    def _left(self) -> timedelta:
        return self._root.not_valid_after_utc - datetime.now(UTC)

    def __repr__(self) -> str:
        return f"<DevelopmentCA {self.trust_domain} in {self.directory}>"


def describe(path: str | os.PathLike[str]) -> list[Issued]:
    """The certificates in a PEM file. Raises :class:`meshlib.errors.SourceError` if there are none."""
    from cryptography import x509

    try:
        certificates = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(str(path), f"holds no certificate ({error})", "name a PEM file with certificates") from error
    return [_describe(certificate) for certificate in certificates]


def _describe(certificate: x509.Certificate) -> Issued:
    from cryptography import x509

    names: tuple[str, ...] = ()
    is_authority = False
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = tuple(str(name.value) for name in extension.value)
        elif isinstance(extension.value, x509.BasicConstraints):
            is_authority = extension.value.ca
    return Issued(
        names=names,
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_authority=is_authority,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    from cryptography import x509

    if lifetime <= timedelta(0):
        remedy = "give it a longer life, or make a new root: remove root-key.pem, then `meshlib ca init`"
        raise MeshError(f"the certificate would be expired already; {remedy}")
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + lifetime)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        if _HOST.match(text) is None:
            message = f"{text!r} is neither a DNS name (web.shop, *.shop, xn--…) nor an address (10.0.0.1, ::1)"
            raise MeshError(message) from None
        return x509.DNSName(text)


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
