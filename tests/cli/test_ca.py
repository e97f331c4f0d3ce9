"""``meshlib ca``: an authority, certificates, and what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshlib.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return int(exit_.value.code or 0)


def test_an_authority_issues_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """init, issue and show as the docs have them."""
    ca, out = str(tmp_path / "ca"), str(tmp_path / "web")
    assert run("ca", "init", "--ca", ca) == 0
    assert run("ca", "issue", out, "--ca", ca, "-n", "shop", "--service-account", "web", "--name", "localhost") == 0
    assert "spiffe://cluster.local/ns/shop/sa/web, good for 24 h" in capsys.readouterr().out
    assert run("ca", "show", out, "-o", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["names"] for row in rows] == [["spiffe://cluster.local/ns/shop/sa/web", "localhost"], []]
    assert [row["authority"] for row in rows] == [False, True]
    assert run("ca", "show", out) == 0
    assert "valid until" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["init", "--ca", "{ca}"], 1, "already holds an authority"),
        (["issue", "{new}/x", "--ca", "{new}"], 2, "meshlib ca init"),
        (["issue", "{new}/x", "--ca", "{ca}", "-n", "a/b"], 1, "cannot stand in a SPIFFE id"),
        (["show", "{empty}"], 2, "holds no certificates"),
        (["issue", "{new}/x", "--ca", "{ca}", "--name", "é.example"], 1, "'é.example' is neither a DNS name"),
        (["issue", "{new}/x", "--ca", "{ca}", "--hours", "nan"], 2, "'nan' is not a number"),
        (["init", "--ca", "{new}", "--trust-domain", "A B"], 1, "not a trust domain"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    """One line that names the remedy, and the status of the contract."""
    places = {"ca": tmp_path / "ca", "new": tmp_path / "new", "empty": tmp_path / "empty"}
    places["empty"].mkdir()
    run("ca", "init", "--ca", str(places["ca"]))
    assert run("ca", *(argument.format(**places) for argument in arguments)) == status
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_certificate_is_good_as_long_as_its_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told is what was issued, not what was asked for."""
    ca = str(tmp_path / "ca")
    run("ca", "init", "--ca", ca, "--days", "2")
    assert run("ca", "issue", str(tmp_path / "web"), "--ca", ca, "--hours", "500") == 0
    assert "good for 48 h" in capsys.readouterr().out


def test_an_expired_certificate_is_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a script can renew in time."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, past = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) - timedelta(days=2)
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(past).not_valid_after(past + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    path = tmp_path / "old.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    assert run("ca", "show", str(path)) == 1
    assert "expired" in capsys.readouterr().out
