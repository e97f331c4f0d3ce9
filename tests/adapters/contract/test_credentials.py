"""The contract of clients: TLS with certificates out of Secrets (credentialName)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshlib import Mesh
from meshlib.security import CertificateFiles
from tests.adapters.contract.conftest import URL, Kit
from tests.adapters.contract.servers import tls_for

CREDENTIAL = "partner"


def secret(files: CertificateFiles, root: Path | None = None, **changes: str) -> dict[str, Any]:
    parts = {"tls.crt": files.chain, "tls.key": files.key, "ca.crt": root or files.root}
    values = {name: path.read_text() for name, path in parts.items()} | changes
    metadata = {"name": CREDENTIAL, "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "stringData": values,
    }


def issue(kit: Kit, account: str) -> CertificateFiles:
    return kit.authority.ca.issue(kit.authority.place / account, service_account=account)


def load(kit: Kit, *more: dict[str, Any], mode: str = "MUTUAL", **tls: Any) -> Mesh:
    """Without certificates of the workload's own, and without a workloadSelector: MESH066 says that TLS is used."""
    policy = {"tls": {"mode": mode, "credentialName": CREDENTIAL, **tls}}
    kit.loaded = Mesh.load([*kit.resources(policy=policy), *more])
    assert any(f.code == "MESH066" and "here TLS is used" in f.message for f in kit.loaded.findings)
    return kit.loaded


def test_the_certificate_of_a_secret_is_shown(plain_kit: Kit) -> None:
    """A real handshake in both directions, with names checked."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named))
    load(kit, secret(issue(kit, "batch")))
    reply = kit.client().get(URL)
    assert reply.status == 200
    assert server.seen[0].identity == "spiffe://cluster.local/ns/default/sa/batch"


def test_the_roots_of_a_secret_are_all_that_is_trusted(plain_kit: Kit, tmp_path: Path) -> None:
    """A server of another authority sees nothing of the request."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named, asks_for_client=False))
    other = type(kit.authority.ca).create(tmp_path / "ca").issue(tmp_path / "files")
    load(kit, secret(issue(kit, "batch"), root=other.root), mode="SIMPLE")
    reply = kit.client().get(URL)
    assert (reply.status, reply.flags) == (503, ("UF",))
    assert "CERTIFICATE_VERIFY_FAILED" in reply.text
    assert server.seen == []


def test_an_exchanged_secret_holds_from_the_reload_on(plain_kit: Kit) -> None:
    """New connections show the new certificate; none is dropped, and no request fails."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named))
    mesh = load(kit, secret(issue(kit, "before")))
    policy = {"tls": {"mode": "MUTUAL", "credentialName": CREDENTIAL}}
    client = kit.client(mesh)
    statuses = [client.get(URL).status for _ in range(2)]
    mesh.publish([*kit.resources(policy=policy), secret(issue(kit, "after"))])
    statuses += [client.get(URL).status for _ in range(2)]
    assert statuses == [200] * 4
    accounts = [(seen.identity or "").rpartition("/")[2] for seen in server.seen]
    assert accounts == ["before", "before", "after", "after"]


@pytest.mark.parametrize(
    "changes", [{"tls.crt": "no certificate"}, {"tls.key": "no key"}, {"ca.crt": "no root"}, {"ca.crt": "-----BEGIN"}]
)
def test_a_broken_secret_is_never_plaintext(plain_kit: Kit, changes: dict[str, str]) -> None:
    """503, and nothing of it in the answer."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named))
    load(kit, secret(issue(kit, "batch"), **changes))
    reply = kit.client().get(URL)
    assert reply.status == 503
    assert "the certificates for TLS are not usable" in reply.text
    assert next(iter(changes.values())) not in reply.text
    assert server.connections == 0


def test_a_missing_secret_is_never_plaintext(plain_kit: Kit) -> None:
    """503, which names it."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named))
    load(kit)
    reply = kit.client().get(URL)
    assert reply.status == 503
    assert "tls.credentialName 'partner' is not in the configuration" in reply.text
    assert server.connections == 0
