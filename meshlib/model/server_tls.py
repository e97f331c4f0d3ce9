"""ServerTLSSettings: TLS of a gateway's server or a sidecar's ingress listener.

https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from meshlib.model.base import Maybe, Model, RuleError
from meshlib.model.scalars import TlsVersion

__all__ = ["ServerTLSSettings", "TLSCertificate"]


class TLSCertificate(Model, frozen=True, kw_only=True):
    """Paths of a certificate, its key and the CA bundle."""

    server_certificate: Maybe[str] = None
    private_key: Maybe[str] = None
    ca_certificates: Maybe[str] = None


class ServerTLSSettings(Model, frozen=True, kw_only=True):
    """How a server terminates or passes TLS on.

    ``https_redirect`` answers plain HTTP with a 301. ``mode`` absent: PASSTHROUGH.
    Certificates come from files, from ``tls_certificates``, or from Secrets
    (``credential_name``, ``credential_names``). Protocol versions absent: 1.2 and up.
    """

    https_redirect: Maybe[bool] = None
    mode: Maybe[Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]] = (
        None
    )
    server_certificate: Maybe[str] = None
    private_key: Maybe[str] = None
    ca_certificates: Maybe[str] = None
    ca_crl: Maybe[str] = None
    credential_name: Maybe[str] = None
    credential_names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)] = ()
    ca_cert_credential_name: Maybe[str] = None
    tls_certificates: Annotated[tuple[TLSCertificate, ...], Meta(min_length=1, max_length=2)] = ()
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: Maybe[TlsVersion] = None
    max_protocol_version: Maybe[TlsVersion] = None
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    insecure_skip_verify: bool | None = None

    def __post_init__(self) -> None:
        if self.credential_names and (self.tls_certificates or self.credential_name is not None):
            other = "tlsCertificates" if self.tls_certificates else "credentialName"
            raise RuleError(f"only one of {other} or credentialNames can be set", field="credentialNames")
