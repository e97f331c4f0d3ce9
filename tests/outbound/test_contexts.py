"""TLS contexts of clients: which names match, what is sealed, and files that are renewed under them."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from meshlib._outbound.contexts import ContextStore, Credentials, make_context, names_match
from meshlib.security import CertificateFiles, DevelopmentCA

SPIFFE = "spiffe://cluster.local/ns/default/sa/reviews"

NAMES = [
    ((("URI", SPIFFE),), (SPIFFE,), True),
    ((("URI", SPIFFE),), ("spiffe://cluster.local/ns/default/sa/review",), False),
    ((("URI", SPIFFE),), (SPIFFE.upper(),), False),
    ((("URI", SPIFFE + "2"),), (SPIFFE,), False),
    ((("DNS", "a.example.com"),), ("a.example.com",), True),
    ((("DNS", "A.example.com"),), ("a.EXAMPLE.com",), True),
    ((("DNS", "*.example.com"),), ("a.example.com",), True),
    ((("DNS", "*.example.com"),), ("a.b.example.com",), False),
    ((("DNS", "*.example.com"),), ("example.com",), False),
    ((("DNS", "a.example.com"),), ("*.example.com",), False),
    ((("DNS", SPIFFE),), ("other",), False),
    ((("IP Address", "10.0.0.1"),), ("10.0.0.1",), True),
    ((("IP Address", "10.0.0.1"),), ("10.0.0.2",), False),
    ((("IP Address", "0:0:0:0:0:0:0:1"),), ("::1",), True),
    ((("email", "a@example.com"),), ("a@example.com",), True),
    ((("email", "a@example.com"), ("URI", SPIFFE)), (SPIFFE,), True),
    ((), (SPIFFE,), False),
]


@pytest.mark.parametrize(("presented", "accepted", "expected"), NAMES)
def test_names(presented: tuple[tuple[str, str], ...], accepted: tuple[str, ...], expected: bool) -> None:
    """Exact, but for a wildcard that the certificate itself has as its first label."""
    assert names_match(presented, accepted) is expected


def test_a_context_is_sealed(tmp_path: Path) -> None:
    """Client libraries set protocols of their own on every context they get: the mesh's stay."""
    files = DevelopmentCA.create(tmp_path).issue(tmp_path / "own")
    context = make_context(Credentials(roots=str(files.root), protocols=("istio",)))
    context.set_alpn_protocols(["http/1.1"])
    assert context.is_sealed
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def credentials(files: CertificateFiles) -> Credentials:
    return Credentials(roots=str(files.root), chain=str(files.chain), key=str(files.key))


def test_one_context_for_equal_credentials(tmp_path: Path) -> None:
    """Connections can be shared then."""
    files = DevelopmentCA.create(tmp_path).issue(tmp_path / "own")
    store = ContextStore()
    assert store.get(credentials(files)) is store.get(credentials(files))


def test_files_are_looked_at_once_a_second(tmp_path: Path) -> None:
    """Not for each connection."""
    now = Hand()
    ca = DevelopmentCA.create(tmp_path)
    files = ca.issue(tmp_path / "own")
    store = ContextStore(now)
    first = store.get(credentials(files))
    ca.issue(tmp_path / "own")
    assert store.get(credentials(files)) is first
    now.seconds = 1.0
    assert store.get(credentials(files)) is not first


def test_a_half_written_set_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The context before stays, a warning says why; the next look tries again."""
    now = Hand()
    ca = DevelopmentCA.create(tmp_path)
    files = ca.issue(tmp_path / "own")
    store = ContextStore(now)
    first = store.get(credentials(files))
    other = ca.issue(tmp_path / "other")
    key = files.key.read_bytes()
    files.key.write_bytes(other.key.read_bytes())
    now.seconds = 1.0
    with caplog.at_level(logging.WARNING, "meshlib.security"):
        assert store.get(credentials(files)) is first
    assert "those before stay in use" in caplog.text
    files.key.write_bytes(key)
    os.utime(files.key, (1, 1))
    now.seconds = 2.0
    assert store.get(credentials(files)) is not first


def test_files_that_were_never_usable_are_an_error(tmp_path: Path) -> None:
    """Nothing to fall back on."""
    with pytest.raises(FileNotFoundError):
        ContextStore().get(Credentials(roots=str(tmp_path / "none.pem")))


def test_nobody_is_asked_for_the_password_of_a_key(tmp_path: Path) -> None:
    """OpenSSL would ask on the terminal, and the call would wait for the answer."""
    files = DevelopmentCA.create(tmp_path).issue(tmp_path / "own")
    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"open")
    )
    file = tmp_path / "locked.pem"
    file.write_bytes(locked)
    for chain, parts in ((str(files.chain), str(file)), (Path(files.chain).read_bytes(), locked)):
        with pytest.raises(ssl.SSLError):
            make_context(Credentials(roots=str(files.root), chain=chain, key=parts))


def test_comments_of_an_authority_may_be_in_any_language(tmp_path: Path) -> None:
    """As in the bundles that other tools write; what is between the lines of the certificate counts."""
    roots = Path(DevelopmentCA.create(tmp_path).issue(tmp_path / "own").root).read_bytes()
    context = make_context(Credentials(roots="# Société\n".encode() + roots))
    assert len(context.get_ca_certs()) == 1
