"""Certificates of a gateway that are replaced on disk while it runs."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.adapters.gateway import gateway_context
from meshlib.security import DevelopmentCA
from meshlib.testing import VirtualClock
from tests.adapters.gateway_servers import INGRESS
from tests.handshakes import Visit, client_context

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [one.test]
    tls: %s
"""
FILES = "{mode: SIMPLE, serverCertificate: %s/cert-chain.pem, privateKey: %s/key.pem}"


def shown(context: ssl.SSLContext, own: Path) -> bytes:
    """The certificate that a client sees in a handshake."""
    certificate = Visit(context, client_context(own, ssl.TLSVersion.TLSv1_3)).client.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


@pytest.mark.parametrize("mode", ["files", "workload"])
def test_a_renewed_certificate_is_shown_and_a_half_written_one_is_not(mode: str, tmp_path: Path) -> None:
    """The next handshake but one second later takes it; a key that does not fit, or no file, leaves the one before."""
    ca, own, clock = DevelopmentCA.create(tmp_path / "ca"), tmp_path / "own", VirtualClock()
    ca.issue(own)
    tls = FILES % (own, own) if mode == "files" else "{mode: ISTIO_MUTUAL}"
    mesh = Mesh.load(GATEWAY % tls, workload=INGRESS, clock=clock)
    context = gateway_context(mesh.runtime, 443, certificates=own)
    ca.issue(tmp_path / "client")
    first = shown(context, tmp_path / "client")
    ca.issue(own)
    second = ssl.PEM_cert_to_DER_cert(
        (own / "cert-chain.pem").read_text().partition("-----END")[0] + "-----END CERTIFICATE-----"
    )
    assert first != second
    clock.advance(1.0)
    assert shown(context, tmp_path / "client") == second
    ca.issue(tmp_path / "third")
    for name, content in (
        ("key.pem", b""),
        ("key.pem", (tmp_path / "third" / "key.pem").read_bytes()),
        ("key.pem", None),
    ):
        (own / name).unlink() if content is None else (own / name).write_bytes(content)
        clock.advance(1.0)
        assert shown(context, tmp_path / "client") == second
    (own / "key.pem").write_bytes((tmp_path / "third" / "key.pem").read_bytes())
    (own / "cert-chain.pem").write_bytes((tmp_path / "third" / "cert-chain.pem").read_bytes())
    clock.advance(1.0)
    assert shown(context, tmp_path / "client") not in (first, second)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_of_a_root_that_is_gone_lets_nobody_in(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """As at any other server of the mesh."""
    own, clock = tmp_path / "own", VirtualClock()
    DevelopmentCA.create(tmp_path / "ca").issue(own)
    DevelopmentCA.open(tmp_path / "ca").issue(tmp_path / "client")
    mesh = Mesh.load(GATEWAY % "{mode: ISTIO_MUTUAL}", workload=INGRESS, clock=clock)
    server = gateway_context(mesh.runtime, 443, certificates=own)
    client = client_context(tmp_path / "client", version)
    visit = Visit(server, client)
    DevelopmentCA.create(tmp_path / "new").issue(own)
    clock.advance(1.0)
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match=r"callback failed|unable to get local issuer"):
            Visit(server, client, visit)
