"""``/certs``: the certificates of the workload and of a gateway's servers, as Envoy shows them; never a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from meshlib._explain.explanation import Json
from meshlib.admin.member import Member
from meshlib.errors import SourceError
from meshlib.security.files import find_certificates

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["certificates_view", "has_certificates"]


def has_certificates(member: Member) -> bool:
    """Whether the workload has certificates of its own to show to peers."""
    try:
        find_certificates(member.runtime.certificates)
    except SourceError:
        return False
    return True


def certificates_view(members: Iterable[Member], now: float) -> dict[str, Json]:
    """Envoy's ``/certs``: ``certificates``, each with ``ca_cert`` and ``cert_chain``; ``member`` is ours."""
    return {"certificates": [entry for member in members for entry in _entries(member, now)]}


def _entries(member: Member, now: float) -> Iterator[Json]:
    try:
        files = find_certificates(member.runtime.certificates)
    except SourceError:
        pass
    else:
        roots, chain = _file(files.root, now), _file(files.chain, now)
        yield {"member": member.name, "ca_cert": [*roots], "cert_chain": [*chain]}
    for port, servers in member.runtime.published.snapshot.listeners.tls.items():
        for server in servers:
            roots = [] if server.roots is None else _material(server.roots, now)
            for pair in server.pairs:
                yield {
                    "member": member.name,
                    "listener": port,
                    "hosts": [*server.hosts],
                    "ca_cert": [*roots],
                    "cert_chain": [*_material(pair.chain, now)],
                }


def _material(source: bytes | str, now: float) -> list[dict[str, Json]]:
    return _parsed(source, "<inline>", now) if isinstance(source, bytes) else _file(Path(source), now)


def _file(path: Path, now: float) -> list[dict[str, Json]]:
    try:
        return _parsed(path.read_bytes(), str(path), now)
    except OSError as error:
        return [{"path": str(path), "error": error.strerror or "cannot be read"}]


def _parsed(pem: bytes, path: str, now: float) -> list[dict[str, Json]]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        certificates = load_pem_x509_certificates(pem)
    except ValueError:
        return [{"path": path, "error": "holds no certificate"}]
    return [_certificate(one, path, now) for one in certificates]


def _certificate(certificate: Certificate, path: str, now: float) -> dict[str, Json]:
    end = certificate.not_valid_after_utc
    left = end - datetime.fromtimestamp(now, UTC)
    return {
        "path": path,
        "serial_number": f"{certificate.serial_number:x}",
        "subject_alt_names": [*_names(certificate)],
        "days_until_expiration": str(max(left.days, 0)),
        "valid_from": _instant(certificate.not_valid_before_utc),
        "expiration_time": _instant(end),
    }


def _names(certificate: Certificate) -> Iterator[Json]:
    from cryptography.x509 import (
        DNSName,
        ExtensionNotFound,
        IPAddress,
        SubjectAlternativeName,
        UniformResourceIdentifier,
    )

    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, ValueError):
        return
    for name in names:
        if isinstance(name, UniformResourceIdentifier):
            yield {"uri": name.value}
        elif isinstance(name, DNSName):
            yield {"dns": name.value}
        elif isinstance(name, IPAddress):
            yield {"ip_address": str(name.value)}


def _instant(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
