"""TLS of a gateway's server or a sidecar's ingress listener (validateTLSOptions)."""

from __future__ import annotations

from collections import Counter
from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.report import Report
from meshlib.model.server_tls import ServerTLSSettings

__all__ = ["check_server_tls"]

_CIPHERS: Final = frozenset(
    "ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384 "
    "ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-ECDSA-AES128-SHA "
    "ECDHE-RSA-AES128-SHA ECDHE-ECDSA-AES256-SHA ECDHE-RSA-AES256-SHA AES128-GCM-SHA256 AES256-GCM-SHA384 AES128-SHA "
    "AES256-SHA DES-CBC3-SHA ALL".split()
)
_OLD: Final = ("TLSV1_0", "TLSV1_1")
_BY_CERTIFICATE: Final = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")


def check_server_tls(tls: ServerTLSSettings, path: Path, report: Report) -> None:
    """Certificates as the mode needs them, from one source; ciphers that exist."""
    _check_ciphers(tls, path, report)
    if tls.mode == "ISTIO_MUTUAL":
        _check_istio_mutual(tls, path, report)
        return
    if tls.mode in (None, "PASSTHROUGH", "AUTO_PASSTHROUGH") and _certificates(tls):
        mode = tls.mode or "PASSTHROUGH"
        report.warn(path, f"{mode} mode does not use certificates, they will be ignored", "remove the certificates")
    files = bool(tls.server_certificate and tls.private_key)
    if sum(map(bool, (files, tls.credential_name, tls.credential_names, tls.tls_certificates))) > 1:
        sources = "credential_name, credential_names, server_certificate/private_key, tls_certificates"
        report.add("MESH072", path, f"only one of {sources} should be specified", "keep one source of certificates")
    if tls.mode in _BY_CERTIFICATE:
        if tls.credential_name or tls.credential_names:
            return  # fetched by the proxy
        _check_certificates(tls, "SIMPLE TLS" if tls.mode == "SIMPLE" else "MUTUAL TLS", path, report)
    if tls.ca_crl:
        place = (*path, "caCrl")
        if tls.credential_name:
            message = "CRL is not supported with credentialName. CRL has to be specified in the credential"
            report.add("MESH072", place, message)
        if tls.mode == "SIMPLE":
            report.add("MESH072", place, "CRL is not supported with SIMPLE TLS")


def _certificates(tls: ServerTLSSettings) -> bool:
    files = (tls.ca_crl, tls.server_certificate, tls.private_key, tls.ca_certificates)
    return any(files) or bool(tls.tls_certificates or tls.credential_name or tls.credential_names)


def _check_certificates(tls: ServerTLSSettings, mode: str, path: Path, report: Report) -> None:
    if mode == "MUTUAL TLS" and not tls.ca_certificates:
        report.add("MESH072", path, f"{mode} requires a client CA bundle", "add caCertificates or credentialName")
    if len(tls.tls_certificates) > 2:
        report.warn((*path, "tlsCertificates"), f"{mode} can support up to 2 server certificates")
    for certificate in tls.tls_certificates or (tls,):
        if not certificate.server_certificate:
            report.add("MESH072", path, f"{mode} requires a server certificate", "add the file, or credentialName")
        if not certificate.private_key:
            report.add("MESH072", path, f"{mode} requires a private key", "add the file, or credentialName")


def _check_istio_mutual(tls: ServerTLSSettings, path: Path, report: Report) -> None:
    for field, is_written, name in (
        ("serverCertificate", tls.server_certificate, "server certificate"),
        ("privateKey", tls.private_key, "private key"),
        ("caCertificates", tls.ca_certificates, "CA bundle"),
        ("tlsCertificates", tls.tls_certificates, "tlsCertificates"),
        ("credentialName", tls.credential_name, "credentialName"),
        ("credentialNames", tls.credential_names, "credentialNames"),
    ):
        if is_written:
            message = f"ISTIO_MUTUAL TLS cannot have associated {name}"
            report.add("MESH072", (*path, field), message, "the certificates are Istio's own: remove this field")


def _check_ciphers(tls: ServerTLSSettings, path: Path, report: Report) -> None:
    place = (*path, "cipherSuites")
    if tls.min_protocol_version in _OLD and not tls.cipher_suites:
        message = (
            "TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer include "
            "compatible ciphers."
        )
        report.warn((*path, "minProtocolVersion"), message)
    invalid = sorted({name for name in tls.cipher_suites if not _is_cipher(name)})
    if invalid:
        report.warn(place, f"ignoring invalid cipher suites: [{' '.join(invalid)}]")
    twice = sorted(name for name, count in Counter(tls.cipher_suites).items() if count > 1 and _is_cipher(name))
    if twice:
        report.warn(place, f"ignoring duplicate cipher suites: [{' '.join(twice)}]")


def _is_cipher(name: str) -> bool:
    # Operators such as + and - of an OpenSSL expression are not looked into.
    return not name or not name[0].isalnum() or name in _CIPHERS
