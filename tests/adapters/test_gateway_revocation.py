"""Which client certificates gateways take: of what is trusted, and not revoked; as Envoy answers."""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshlib import Mesh
from meshlib.adapters.gateway import gateway_context
from meshlib.errors import MeshError
from meshlib.security import CertificateFiles, DevelopmentCA
from meshlib.testing import VirtualClock
from tests.adapters.gateway_servers import INGRESS
from tests.handshakes import Visit, client_context
from tests.revoked import revoked

TLS_1_3 = ssl.TLSVersion.TLSv1_3
SERVER = """
  - port: {{number: 443, name: {name}, protocol: HTTPS}}
    hosts: [{host}]
    tls: {tls}"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:"""


@dataclass(frozen=True)
class Place:
    """An authority with certificates of a server and two clients."""

    ca: DevelopmentCA
    server: CertificateFiles
    bad: CertificateFiles
    good: CertificateFiles
    path: Path

    def tls(self, mode: str = "MUTUAL", revoked: Path | None = None) -> str:
        """The TLS of a server, out of files."""
        files = {"mode": mode}
        if mode != "ISTIO_MUTUAL":
            files |= {"serverCertificate": str(self.server.chain), "privateKey": str(self.server.key)}
        files |= {"caCertificates": str(self.server.root)} if mode == "MUTUAL" else {}
        return json.dumps(files | ({"caCrl": str(revoked)} if revoked is not None else {}))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    ca = DevelopmentCA.create(tmp_path / "ca")
    return Place(ca, ca.issue(tmp_path / "server"), ca.issue(tmp_path / "bad"), ca.issue(tmp_path / "good"), tmp_path)


def gateway(
    *servers: str, more: str = "", clock: VirtualClock | None = None, own: Path | None = None
) -> ssl.SSLContext:
    """The listener of servers for one.test, two.test …"""
    hosts = ("one.test", "two.test")
    text = GATEWAY + "".join(
        SERVER.format(name=f"https-{host[:3]}", host=host, tls=tls) for host, tls in zip(hosts, servers, strict=False)
    )
    return gateway_context(Mesh.load(f"{text}\n{more}", workload=INGRESS, clock=clock).runtime, 443, certificates=own)


def is_let_in(server: ssl.SSLContext, own: CertificateFiles, name: str = "one.test") -> bool:
    try:
        Visit(server, client_context(own.chain.parent, TLS_1_3), name=name)
    except ssl.SSLError:
        return False
    return True


@pytest.mark.parametrize("is_in_secret", [False, True])
def test_a_revoked_certificate_is_refused(place: Place, is_in_secret: bool) -> None:
    """The list is in a file, or in the Secret beside the authority; it was looked at in neither."""
    listed = revoked(place.ca, place.path / "list.pem", place.bad.chain)
    tls, more = place.tls(revoked=listed), ""
    if is_in_secret:
        files = {
            "tls.crt": place.server.chain,
            "tls.key": place.server.key,
            "ca.crt": place.server.root,
            "ca.crl": listed,
        }
        data = {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one", "namespace": "shop"}, "data": data}
        tls, more = "{mode: MUTUAL, credentialName: one}", f"---\n{json.dumps(secret)}\n"
    server = gateway(tls, more=more)
    assert not is_let_in(server, place.bad)
    assert is_let_in(server, place.good)


def test_a_list_that_says_nothing_of_a_client_keeps_it_out(place: Place) -> None:
    """One out of date, one of another authority, and one that another key has signed."""
    other = DevelopmentCA.create(place.path / "other", trust_domain="elsewhere.org")
    forged = DevelopmentCA.create(place.path / "forged")
    for ca, days in ((place.ca, -1.0), (other, 1.0), (forged, 1.0)):
        assert not is_let_in(gateway(place.tls(revoked=revoked(ca, place.path / "list.pem", days=days))), place.good)


def scope(**changes: Any) -> x509.IssuingDistributionPoint:
    """What a list is about; nothing changed: all certificates of its authority."""
    kinds = ("only_contains_ca_certs", "only_contains_user_certs", "only_contains_attribute_certs", "indirect_crl")
    written: dict[str, Any] = {"full_name": None, "relative_name": None, "only_some_reasons": None}
    return x509.IssuingDistributionPoint(**{**written, **dict.fromkeys(kinds, False), **changes})


ELSEWHERE = [x509.UniformResourceIdentifier("http://lists.test/1")]
SOME = frozenset([x509.ReasonFlags.key_compromise])


@pytest.mark.parametrize(
    "says",
    [
        scope(only_contains_ca_certs=True),
        scope(only_contains_attribute_certs=True),
        scope(only_some_reasons=SOME),
        scope(indirect_crl=True),
        scope(full_name=ELSEWHERE),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
    ],
)
def test_a_list_about_others_keeps_everybody_out(place: Place, says: x509.ExtensionType) -> None:
    """One of other certificates of the same authority, or of what nobody understands, let in who was revoked."""
    server = gateway(place.tls(revoked=revoked(place.ca, place.path / "list.pem", says=says)))
    assert not is_let_in(server, place.good)


def test_lists_of_authorities_and_of_their_clients_do_together(place: Place) -> None:
    """Some authorities have one of each."""
    of_cas = revoked(place.ca, place.path / "cas.pem", says=scope(only_contains_ca_certs=True))
    of_users = revoked(place.ca, place.path / "users.pem", place.bad.chain, says=scope(only_contains_user_certs=True))
    both = place.path / "both.pem"
    both.write_bytes(of_cas.read_bytes() + of_users.read_bytes())
    assert is_let_in(gateway(place.tls(revoked=both)), place.good)
    assert not is_let_in(gateway(place.tls(revoked=both)), place.bad)
    assert not is_let_in(gateway(place.tls(revoked=of_users)), place.good)


def test_each_server_has_its_own_list(place: Place) -> None:
    """Who is revoked at one may come in at another, with a list of its own or without."""
    listed = revoked(place.ca, place.path / "list.pem", place.bad.chain)
    empty = revoked(place.ca, place.path / "empty.pem")
    for second in (place.tls(), place.tls(revoked=empty)):
        server = gateway(place.tls(revoked=listed), second)
        assert [is_let_in(server, place.bad, name) for name in ("one.test", "two.test")] == [False, True]


@pytest.mark.parametrize("mode", ["MUTUAL", "ISTIO_MUTUAL"])
def test_a_new_list_counts_and_an_unusable_one_does_not(place: Place, mode: str) -> None:
    """From the next handshake but one second on; garbage leaves the list before in its place."""
    clock, listed = VirtualClock(), revoked(place.ca, place.path / "list.pem")
    server = gateway(place.tls(mode, revoked=listed), clock=clock, own=place.server.chain.parent)
    assert is_let_in(server, place.bad)
    revoked(place.ca, listed, place.bad.chain)
    clock.advance(1.0)
    assert not is_let_in(server, place.bad)
    listed.write_text("garbage")
    clock.advance(1.0)
    assert not is_let_in(server, place.bad)
    assert is_let_in(server, place.good)


def test_a_server_without_a_usable_list_does_not_open(place: Place) -> None:
    """It would let in whoever is revoked."""
    listed = place.path / "list.pem"
    listed.write_text("garbage")
    with pytest.raises(MeshError, match="there is no list of revoked certificates in what caCrl names"):
        gateway(place.tls(revoked=listed))


def test_whatever_is_trusted_ends_a_chain(place: Place) -> None:
    """The very certificate of a client may stand in caCertificates, as in Envoy; nobody else comes in by it."""
    tls = {**json.loads(place.tls()), "caCertificates": str(place.good.chain)}
    server = gateway(json.dumps(tls))
    assert (is_let_in(server, place.good), is_let_in(server, place.bad)) == (True, False)
