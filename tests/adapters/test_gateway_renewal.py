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
    """The certificate that a client sees in a handshake; no socket is needed for it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.load_cert_chain(own / "cert-chain.pem", own / "key.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="one.test"),
        context.wrap_bio(to_server, to_client, server_side=True),
    ]
    left = list(ends)
    for _ in range(10):
        for end in tuple(left):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            left.remove(end)
    assert not left
    certificate = ends[0].getpeercert(binary_form=True)
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
