"""Which names a server may have, as Istio generates the TLS of its clusters."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import yaml

from meshlib import Mesh
from meshlib._outbound.contexts import Credentials, PeerNameError, make_context
from meshlib._outbound.tls import originator
from meshlib.security import DevelopmentCA, server_context
from tests.handshakes import Visit
from tests.revoked import revoked

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {clusterIP: 10.1.0.1, selector: {app: one}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one, labels: {app: one}}
spec: {address: 10.0.0.1, labels: {app: one}, serviceAccount: one}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one}
spec:
  hosts: [one.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, serviceAccount: one}]
"""
RULE = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one}
spec: {host: one.default.svc.cluster.local, trafficPolicy: {tls: %s}}
"""


@pytest.mark.parametrize(
    ("resources", "mode", "is_taken"),
    [
        (SERVICE, "SIMPLE", True),
        (SERVICE, "MUTUAL", True),
        (SERVICE, "ISTIO_MUTUAL", False),
        (ENTRY, "SIMPLE", False),
        (ENTRY, "MUTUAL", False),
        (ENTRY, "ISTIO_MUTUAL", False),
    ],
)
def test_accounts_of_a_service_bind_mesh_tls_alone(tmp_path: Path, resources: str, mode: str, is_taken: bool) -> None:
    """SIMPLE and MUTUAL want the accounts that a ServiceEntry tells; a Service may have an ordinary certificate."""
    files = DevelopmentCA.create(tmp_path / "ca").issue(tmp_path, service_account="other", names=("one.test",))
    tls = f"{{mode: {mode}}}"
    if mode != "ISTIO_MUTUAL":
        tls = f"{{mode: {mode}, caCertificates: {files.root}"
        tls += f", clientCertificate: {files.chain}, privateKey: {files.key}}}" if mode == "MUTUAL" else "}"
    mesh = Mesh.load(resources + RULE % tls, certificates=tmp_path)
    cluster = next(one for one in mesh.snapshot.clusters.values() if one.host.startswith("one."))
    handshake = originator(mesh.runtime).handshake(cluster, cluster.endpoints[0], "one.test")
    assert handshake is not None
    server = server_context(tmp_path, is_peer_required=False)
    if is_taken:
        assert isinstance(Visit(server, handshake.context).client, ssl.SSLObject)
    else:
        with pytest.raises(PeerNameError, match=r"accepted are spiffe://cluster\.local/ns/default/sa/one"):
            Visit(server, handshake.context)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        (f"outbound_.80_.{'v' * 63}_.one.test", f"outbound_.80_.{'v' * 63}_.one.test"),
        ("a..one.test", "a..one.test"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("xn--ü.test", None),
        (f"{'a' * 300}.test", None),
        (".one.test", None),
        ("one\0.test", None),
    ],
)
def test_server_names_are_sent_as_they_stand(tmp_path: Path, name: str, sent: str | None) -> None:
    """The standard library knew no label of 64 characters: a subset with the longest name could not be called."""
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path)
    seen: list[str | None] = []
    server = server_context(tmp_path, is_peer_required=False)
    server.sni_callback = lambda _, name, __: seen.append(name)
    context = make_context(Credentials(verifies=False))
    if sent is None:
        with pytest.raises(ssl.SSLError):
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
    else:
        Visit(server, context, name=name)
        assert seen == [sent]


@pytest.mark.parametrize("names", [("cacert", "crl"), ("ca.crt", "ca.crl")])
@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_list_beside_the_authority_counts(tmp_path: Path, kind: str, names: tuple[str, str]) -> None:
    """A server whose certificate was revoked is refused, as by a sidecar."""
    ca = DevelopmentCA.create(tmp_path / "ca")
    files = ca.issue(tmp_path / "server", names=("one.test",))
    listed = revoked(ca, tmp_path / "list.pem", files.chain)
    texts = dict(zip(names, (files.root.read_text(), listed.read_text()), strict=True))
    resource = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "partner", "namespace": "default"}}
    name = "partner" if kind == "Secret" else "configmap://default/partner"
    entry = ENTRY.replace(", serviceAccount: one", "")
    rule = RULE % f"{{mode: SIMPLE, sni: one.test, credentialName: {name}}}"
    for lists in (names, names[:1]):
        held = {key: text for key, text in texts.items() if key in lists}
        parts = yaml.safe_dump({**resource, "stringData" if kind == "Secret" else "data": held})
        mesh = Mesh.load(f"{entry}{rule}---\n{parts}")
        cluster = next(one for one in mesh.snapshot.clusters.values() if one.host.startswith("one."))
        handshake = originator(mesh.runtime).handshake(cluster, cluster.endpoints[0], "one.test")
        assert handshake is not None
        server = server_context(tmp_path / "server", is_peer_required=False)
        if lists == names:
            with pytest.raises(ssl.SSLError, match="certificate revoked"):
                Visit(server, handshake.context)
        else:
            Visit(server, handshake.context)


def test_whatever_is_trusted_ends_a_chain(tmp_path: Path) -> None:
    """An authority in the middle, or the very certificate of the other side, as Envoy has it; both ways."""
    ca = DevelopmentCA.create(tmp_path / "ca")
    files, own = ca.issue(tmp_path / "server"), ca.issue(tmp_path / "own")
    credentials = Credentials(roots=str(files.chain), chain=str(own.chain), key=str(own.key))
    files.root.write_bytes(own.chain.read_bytes())
    visit = Visit(server_context(tmp_path / "server"), make_context(credentials))
    assert visit.server.getpeercert()
    credentials = Credentials(roots=str(own.chain), chain=str(own.chain), key=str(own.key))
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        Visit(server_context(tmp_path / "server"), make_context(credentials))


DYNAMIC = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: any}
spec:
  hosts: ["*.example.com"]
  resolution: DYNAMIC_DNS
  subjectAltNames: [declared.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: any}
spec: {host: "*.example.com", trafficPolicy: {tls: {mode: %s, %s}}}
"""
HOST = "a.example.com"


@pytest.mark.parametrize(
    ("mode", "written", "names", "server_name", "is_taken"),
    [
        ("SIMPLE", "", [HOST], HOST, True),
        ("SIMPLE", "", ["*.example.com"], HOST, True),
        ("SIMPLE", "", ["declared.test"], HOST, False),
        ("SIMPLE", "sni: x.test", [HOST], "x.test", True),
        ("SIMPLE", "sni: x.test", ["x.test"], "x.test", False),
        ("SIMPLE", "subjectAltNames: [b.test]", ["b.test"], HOST, False),
        ("SIMPLE", "subjectAltNames: [b.test]", ["b.test", HOST], HOST, True),
        ("SIMPLE", "subjectAltNames: [b.test]", [HOST], HOST, False),
        ("ISTIO_MUTUAL", "", [HOST], HOST, True),
        ("ISTIO_MUTUAL", "", [], HOST, False),
        ("ISTIO_MUTUAL", "sni: x.test", ["x.test"], "x.test", False),
        ("ISTIO_MUTUAL", "insecureSkipVerify: true", [], HOST, True),
    ],
)
def test_where_the_host_decides_it_must_be_named(
    tmp_path: Path, mode: str, written: str, names: list[str], server_name: str, is_taken: bool
) -> None:
    """DYNAMIC_DNS: whatever is written beside. Else any server of a trusted root would do for any host."""
    files = DevelopmentCA.create(tmp_path / "ca").issue(tmp_path, names=names)
    more = written if mode == "ISTIO_MUTUAL" else ", ".join(filter(None, (f"caCertificates: {files.root}", written)))
    mesh = Mesh.load(DYNAMIC % (mode, more), certificates=tmp_path)
    cluster = mesh.snapshot.clusters["outbound|80||*.example.com"]
    handshake = originator(mesh.runtime).handshake(cluster, None, f"{HOST}:80")
    assert handshake is not None
    assert handshake.server_name == server_name
    server = server_context(tmp_path, is_peer_required=False)
    if is_taken:
        Visit(server, handshake.context, name=server_name)
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            Visit(server, handshake.context, name=server_name)
