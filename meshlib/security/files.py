"""Certificate files in the layout of Istio's mounts.

``cert-chain.pem``, ``key.pem`` and ``root-cert.pem`` in one directory, as Istio's agent
and its file mounts have them (semantics 10.7). Files are replaced whole and the key last,
so a reader who sees a new set sees all of it, or notices that key and certificate differ.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshlib.errors import SourceError
from meshlib.security._stamps import Stamp, stamp_of

__all__ = ["DIRECTORIES", "CertificateFiles", "find_certificates", "write_private"]

DIRECTORIES: Final = ("/var/run/secrets/workload-spiffe-credentials", "/etc/certs")
"""Where Istio puts the certificates of a workload."""

_NAMES: Final = (
    ("cert-chain.pem", "key.pem", "root-cert.pem"),
    ("certificates.pem", "private_key.pem", "ca_certificates.pem"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """Where the certificate chain, the key and the trusted roots of a workload lie (PEM)."""

    chain: Path
    key: Path
    root: Path

    def stamp(self) -> Stamp:
        """What changes when one of the files is replaced. Raises OSError if one is missing."""
        return stamp_of((self.chain, self.key, self.root))


def find_certificates(directory: str | os.PathLike[str] | None = None) -> CertificateFiles:
    """The certificate files of this workload.

    ``directory`` None looks where Istio puts them. Raises
    :class:`meshlib.errors.SourceError` if no directory has all three files.
    """
    places = DIRECTORIES if directory is None else (directory,)
    for place in map(Path, places):
        for chain, key, root in _NAMES:
            if all((place / name).is_file() for name in (chain, key, root)):
                return CertificateFiles(chain=place / chain, key=place / key, root=place / root)
    looked = " or ".join(map(str, places))
    raise SourceError(
        looked,
        "has no cert-chain.pem, key.pem and root-cert.pem",
        "mount the workload's certificates there, or make some with `meshlib ca issue`",
    )


def write_private(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files that only their owner can read (0600, in a directory of 0700), each replaced whole, in order."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in files.items():
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)  # mkstemp makes it 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).replace(directory / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
