"""The development CA: what it issues, to whom it can be read, and what it refuses."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshlib._inbound.certificates import identity_of
from meshlib.errors import MeshError, SourceError
from meshlib.security import DevelopmentCA
from meshlib.security.authority import describe


def test_a_leaf_is_a_spiffe_certificate_of_its_workload(tmp_path: Path) -> None:
    """One URI name, critical, no subject, for client and server: as Istio's agent has it."""
    ca = DevelopmentCA.create(tmp_path / "ca", trust_domain="example.org")
    files = ca.issue(tmp_path / "leaf", namespace="shop", service_account="web")
    leaf = x509.load_pem_x509_certificate(files.chain.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org/ns/shop/sa/web"]
    assert not list(leaf.subject)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(files.root.read_bytes()))
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert key.public_key() == leaf.public_key()


def test_its_identity_is_what_a_server_reads(tmp_path: Path) -> None:
    """The reader of peer certificates understands what the CA writes, in PEM and in DER."""
    ca = DevelopmentCA.create(tmp_path / "ca")
    pem = ca.issue(tmp_path / "leaf", names=("localhost", "127.0.0.1")).chain.read_text()
    from ssl import PEM_cert_to_DER_cert

    expected = "spiffe://cluster.local/ns/default/sa/default"
    assert identity_of(pem) == identity_of(PEM_cert_to_DER_cert(pem)) == expected


def test_a_certificate_without_one_spiffe_name_identifies_nobody(tmp_path: Path) -> None:
    """A root has no such name; bytes that are no certificate have none either."""
    DevelopmentCA.create(tmp_path / "ca")
    assert identity_of((tmp_path / "ca" / "root-cert.pem").read_text()) is None
    assert identity_of(b"\x30\x03abc") is None
    assert identity_of("no certificate") is None


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    """0600 in a directory of 0700, also when a file is replaced."""
    ca = DevelopmentCA.create(tmp_path / "ca")
    files = ca.issue(tmp_path / "leaf")
    ca.issue(tmp_path / "leaf")
    for path in (files.key, files.chain, tmp_path / "ca" / "root-key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in files.key.parent.iterdir()) == ["cert-chain.pem", "key.pem", "root-cert.pem"]


def test_a_root_is_not_overwritten(tmp_path: Path) -> None:
    """A second create in the same directory is refused and leaves the first alone."""
    DevelopmentCA.create(tmp_path)
    before = (tmp_path / "root-key.pem").read_bytes()
    with pytest.raises(MeshError, match="already holds an authority"):
        DevelopmentCA.create(tmp_path)
    assert (tmp_path / "root-key.pem").read_bytes() == before


def test_an_opened_root_issues_the_same_identities(tmp_path: Path) -> None:
    """The trust domain is kept in the root itself."""
    DevelopmentCA.create(tmp_path, trust_domain="example.org")
    assert DevelopmentCA.open(tmp_path).spiffe_id("a", "b") == "spiffe://example.org/ns/a/sa/b"


def test_a_leaf_does_not_outlive_its_root(tmp_path: Path) -> None:
    """A chain that ends earlier than its leaf says would surprise everybody."""
    ca = DevelopmentCA.create(tmp_path / "ca", lifetime=timedelta(hours=1))
    ca.issue(tmp_path / "leaf", lifetime=timedelta(hours=9))
    (leaf,) = describe(tmp_path / "leaf" / "cert-chain.pem")
    (root,) = describe(tmp_path / "ca" / "root-cert.pem")
    assert leaf.not_after <= root.not_after + timedelta(seconds=1)
    assert root.is_authority
    assert not leaf.is_authority


@pytest.mark.parametrize(
    ("namespace", "service_account"),
    [("a/b", "x"), ("", "x"), ("a", "sa/../root"), ("a", "x y"), ("a", "é"), ("a\n", "x"), ("a", "..")],
)
def test_what_cannot_stand_in_a_spiffe_id_is_refused(tmp_path: Path, namespace: str, service_account: str) -> None:
    """A name with a slash would be the identity of somebody else."""
    ca = DevelopmentCA.create(tmp_path)
    with pytest.raises(MeshError, match="cannot stand in a SPIFFE id"):
        ca.issue(tmp_path / "leaf", namespace=namespace, service_account=service_account)


@pytest.mark.parametrize(
    ("names", "are_good"),
    [
        ("web.shop", True),
        (("*.shop", "xn--bcher-kva.example", "a_b", "10.0.0.1", "::1", "é".encode("idna").decode()), True),
        (("",), False),
        (("a b",), False),
        (("é.example",), False),
        (("[::1]",), False),
        (("web:8080",), False),
        (("a,DNS:b",), False),
        (("a\n",), False),
        (("10.0.0.0/8",), False),
        ((f"{'a' * 64}.shop",), False),
        ((".".join(["a" * 60] * 5),), False),
    ],
)
def test_further_names_are_dns_names_or_addresses(tmp_path: Path, names: str | tuple[str, ...], are_good: bool) -> None:
    """A client would never find what is neither; a text alone is one name."""
    ca = DevelopmentCA.create(tmp_path)
    if are_good:
        (leaf,) = describe(ca.issue(tmp_path / "leaf", names=names).chain)
        assert leaf.names[1:] == ((names,) if isinstance(names, str) else names)
    else:
        with pytest.raises(MeshError, match="is neither a DNS name"):
            ca.issue(tmp_path / "leaf", names=names)


@pytest.mark.parametrize("broken", ["root-key.pem", "root-cert.pem"])
def test_a_broken_authority_is_one_clear_error(tmp_path: Path, broken: str) -> None:
    """The error names the directory and the command that helps."""
    DevelopmentCA.create(tmp_path)
    (tmp_path / broken).write_text("no PEM")
    with pytest.raises(SourceError, match="meshlib ca init"):
        DevelopmentCA.open(tmp_path)
