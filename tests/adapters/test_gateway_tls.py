"""TLS of the gateway: real handshakes, a certificate for each host, clients asked as the Gateway says."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshlib import Mesh
from meshlib._inbound.forwarded import elements
from meshlib.adapters.gateway import MeshGateway, gateway_context
from meshlib.adapters.gateway.certificates import forwarded_certificate
from meshlib.errors import MeshError
from meshlib.security import DevelopmentCA
from tests.adapters.gateway_servers import INGRESS, serve_app, service
from tests.adapters.servers import upstream
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def clients() -> trustme.CA:
    return trustme.CA()


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def secret(name: str, issued: trustme.LeafCert | None, authority: trustme.CA | None = None) -> str:
    """A Secret as cert-manager writes it."""
    data = {}
    if issued is not None:
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        data = {"tls.crt": encoded(chain), "tls.key": encoded(issued.private_key_pem.bytes())}
    if authority is not None:
        data["ca.crt"] = encoded(authority.cert_pem.bytes())
    fields = ", ".join(f"{key}: {value}" for key, value in data.items())
    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\ntype: kubernetes.io/tls\n"
        f"data: {{{fields}}}\n---\n"
    )


def servers(*tls: str) -> str:
    """A Gateway with TLS servers at port 443: ``host {settings}`` each."""
    lines = ""
    for number, text in enumerate(tls):
        host, _, settings = text.partition(" ")
        lines += (
            f"\n  - port: {{number: 443, name: https-{number}, protocol: HTTPS}}"
            f"\n    hosts: ['{host}']\n    tls: {settings}"
        )
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front, namespace: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers:{lines}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: front, namespace: shop}}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - match: [{{uri: {{prefix: /old}}}}]
    redirect: {{uri: /new}}
  - match: [{{scheme: {{exact: https}}}}]
    route: [{{destination: {{host: a.test}}}}]
---
"""


def trusting(ca: trustme.CA, issued: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    if issued is not None:
        issued.configure_cert(context)
    return context


async def ask(port: int, host: str, context: ssl.SSLContext, path: str = "/") -> tuple[int, Any]:
    """A request to a host that stands at the gateway."""
    async with aiohttp.ClientSession() as client:
        url = f"https://127.0.0.1:{port}{path}"
        found = client.get(url, ssl=context, server_hostname=host, headers={"host": host}, allow_redirects=False)
        async with found as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else response.headers.get("location")


async def test_each_host_has_its_certificate(ca: trustme.CA) -> None:
    """By server name: exact, by suffix, none; and routes see https and the port of the server."""
    yaml = servers(
        "one.test {mode: SIMPLE, credentialName: one}",
        "'*.two.test' {mode: SIMPLE, credentialName: two}".replace("'", ""),
    )
    yaml += secret("one", ca.issue_cert("one.test")) + secret("two", ca.issue_cert("*.two.test"))
    async with upstream() as a:
        mesh = Mesh.load(yaml + service("a", a.port), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), tls=gateway_context(mesh.runtime, 443)) as port:
            for host in ("one.test", "x.two.test"):
                status, seen = await ask(port, host, trusting(ca))
                assert (status, seen["host"], seen["headers"]["x-forwarded-proto"]) == (200, host, "https")
                assert await ask(port, host, trusting(ca), "/old") == (301, f"https://{host}/new")
            with pytest.raises(aiohttp.ClientConnectionError):
                await ask(port, "three.test", trusting(ca))


async def test_a_host_of_another_server_is_not_served(ca: trustme.CA) -> None:
    """The server name chose the server: its routes know only its own hosts (404, as Envoy)."""
    yaml = servers("one.test {mode: SIMPLE, credentialName: one}", "two.test {mode: SIMPLE, credentialName: one}")
    yaml += secret("one", ca.issue_cert("one.test", "two.test"))
    async with upstream() as a:
        mesh = Mesh.load(yaml + service("a", a.port), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), tls=gateway_context(mesh.runtime, 443)) as port:
            async with aiohttp.ClientSession() as client:
                asked = client.get(
                    f"https://127.0.0.1:{port}/",
                    ssl=trusting(ca),
                    server_hostname="one.test",
                    headers={"host": "two.test"},
                )
                async with asked as response:
                    assert response.status == 404


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_mutual_tls_lets_in_who_has_a_certificate(
    ca: trustme.CA, clients: trustme.CA, version: ssl.TLSVersion
) -> None:
    """MUTUAL needs one of its authority, OPTIONAL_MUTUAL takes none too, SIMPLE next to them asks nothing of it."""
    yaml = servers(
        "must.test {mode: MUTUAL, credentialName: both}",
        "may.test {mode: OPTIONAL_MUTUAL, credentialName: both}",
        "open.test {mode: SIMPLE, credentialName: both}",
    )
    yaml += secret("both", ca.issue_cert("must.test", "may.test", "open.test"), clients)
    known, stranger = clients.issue_cert("ann.test"), trustme.CA().issue_cert("eve.test")

    def context(issued: trustme.LeafCert | None = None) -> ssl.SSLContext:
        made = trusting(ca, issued)
        made.minimum_version = made.maximum_version = version
        return made

    async with upstream() as a:
        mesh = Mesh.load(yaml + service("a", a.port), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), tls=gateway_context(mesh.runtime, 443)) as port:
            for host in ("must.test", "may.test"):
                status, seen = await ask(port, host, context(known))
                chain = seen["headers"]["x-forwarded-client-cert"]
                assert status == 200
                assert "DNS=ann.test" in chain
                der = ssl.PEM_cert_to_DER_cert(known.cert_chain_pems[0].bytes().decode())
                assert f"Hash={hashlib.sha256(der).hexdigest()}" in chain
                with pytest.raises(aiohttp.ClientConnectionError):
                    await ask(port, host, context(stranger))
            for host in ("may.test", "open.test"):
                status, seen = await ask(port, host, context())
                assert (status, "x-forwarded-client-cert" in seen["headers"]) == (200, False)
            with pytest.raises(aiohttp.ClientConnectionError):
                await ask(port, "must.test", context())


@pytest.mark.parametrize(
    ("forwards", "with_certificate", "without"),
    [
        ("SANITIZE_SET", ["own"], []),
        ("SANITIZE", [], []),
        ("FORWARD_ONLY", ["given"], []),
        ("APPEND_FORWARD", ["given", "own"], []),
        ("ALWAYS_FORWARD_ONLY", ["given"], ["given"]),
    ],
)
async def test_what_is_said_of_clients_is_as_the_mesh_wants_it(
    ca: trustme.CA, clients: trustme.CA, forwards: str, with_certificate: list[str], without: list[str]
) -> None:
    """forwardClientCertDetails: what the proxy before says, what this gateway has seen, both or nothing."""
    yaml = servers("may.test {mode: OPTIONAL_MUTUAL, credentialName: one}")
    yaml += secret("one", ca.issue_cert("may.test"), clients)
    yaml += f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    defaultConfig: {{gatewayTopology: {{forwardClientCertDetails: {forwards}}}}}
---
"""
    async with upstream() as a:
        mesh = Mesh.load(yaml + service("a", a.port), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), tls=gateway_context(mesh.runtime, 443)) as port:
            for issued, expected in ((clients.issue_cert("ann.test"), with_certificate), (None, without)):
                async with aiohttp.ClientSession() as client:
                    headers = {"host": "may.test", "x-forwarded-client-cert": "Hash=given"}
                    tls = trusting(ca, issued)
                    url = f"https://127.0.0.1:{port}/"
                    async with client.get(url, ssl=tls, server_hostname="may.test", headers=headers) as response:
                        value = (await response.json())["headers"].get("x-forwarded-client-cert", "")
                kinds = ["given" if part == "Hash=given" else "own" for part in elements(value)]
                assert kinds == expected, value


@pytest.mark.parametrize(
    ("conditions", "is_let_in"),
    [
        ("subjectAltNames: [ann.test]", True),
        ("subjectAltNames: [bob.test]", False),
        ("verifyCertificateHash: [HASH]", True),
        (f"verifyCertificateHash: [{'a0' * 32}]", False),
        ("minProtocolVersion: TLSV1_3", True),
        ("minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_3", True),
        (
            "maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-RSA-AES256-GCM-SHA384]",
            True,
        ),
    ],
)
async def test_further_conditions_on_clients_are_kept(
    ca: trustme.CA, clients: trustme.CA, conditions: str, is_let_in: bool
) -> None:
    """Names and hashes of certificates, versions and ciphers."""
    ann = clients.issue_cert("ann.test")
    der = ssl.PEM_cert_to_DER_cert(ann.cert_chain_pems[0].bytes().decode())
    conditions = conditions.replace("HASH", hashlib.sha256(der).hexdigest())
    yaml = servers(f"one.test {{mode: MUTUAL, credentialName: one, {conditions}}}")
    yaml += secret("one", ca.issue_cert("one.test")) + secret("one-cacert", None, clients)
    async with upstream() as a:
        mesh = Mesh.load(yaml + service("a", a.port), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), tls=gateway_context(mesh.runtime, 443)) as port:
            if is_let_in:
                assert (await ask(port, "one.test", trusting(ca, ann)))[0] == 200
            else:
                with pytest.raises(aiohttp.ClientConnectionError):
                    await ask(port, "one.test", trusting(ca, ann))
            assert not a.seen or is_let_in


async def test_an_old_version_is_refused(ca: trustme.CA) -> None:
    """TLS 1.2 where another server of the port still takes it."""
    yaml = servers(
        "old.test {mode: SIMPLE, credentialName: one}",
        "new.test {mode: SIMPLE, credentialName: one, minProtocolVersion: TLSV1_3}",
    )
    yaml += secret("one", ca.issue_cert("old.test", "new.test"))
    async with upstream() as a:
        mesh = Mesh.load(yaml + service("a", a.port), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), tls=gateway_context(mesh.runtime, 443)) as port:
            context = trusting(ca)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            assert (await ask(port, "old.test", context))[0] == 200
            with pytest.raises(aiohttp.ClientConnectionError):
                await ask(port, "new.test", context)


async def test_the_first_known_curve_is_taken(ca: trustme.CA) -> None:
    """``ecdhCurves``, where the servers of a port agree: who does not speak it is refused."""
    yaml = servers("one.test {mode: SIMPLE, credentialName: one, ecdhCurves: [nonsense, P-384]}")
    yaml += secret("one", ca.issue_cert("one.test"))
    async with upstream() as a:
        mesh = Mesh.load(yaml + service("a", a.port), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), tls=gateway_context(mesh.runtime, 443)) as port:
            for curve, is_served in (("secp384r1", True), ("prime256v1", False)):
                context = trusting(ca)
                context.set_ecdh_curve(curve)
                if is_served:
                    assert (await ask(port, "one.test", context))[0] == 200
                else:
                    with pytest.raises(aiohttp.ClientConnectionError):
                        await ask(port, "one.test", context)


async def test_a_server_without_a_known_curve_is_not_served(ca: trustme.CA) -> None:
    """Rather than with others than those that are written."""
    yaml = servers("one.test {mode: SIMPLE, credentialName: one, ecdhCurves: [nonsense]}")
    mesh = Mesh.load(yaml + secret("one", ca.issue_cert("one.test")), workload=INGRESS)
    with pytest.raises(MeshError, match="none of the curves nonsense is known"):
        gateway_context(mesh.runtime, 443)


async def test_a_renewed_secret_counts_from_the_next_handshake(ca: trustme.CA) -> None:
    """And a Secret that is not usable leaves the others alone."""
    gateway = servers("one.test {mode: SIMPLE, credentialName: one}", "two.test {mode: SIMPLE, credentialName: two}")
    second = secret("two", ca.issue_cert("two.test"))
    async with upstream() as a:
        base = gateway + service("a", a.port) + second
        mesh = Mesh.load(base + secret("one", trustme.CA().issue_cert("one.test")), workload=INGRESS)
        async with serve_app(MeshGateway(mesh), tls=gateway_context(mesh.runtime, 443)) as port:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await ask(port, "one.test", trusting(ca))
            mesh.publish(base + secret("one", ca.issue_cert("one.test")))
            assert (await ask(port, "one.test", trusting(ca)))[0] == 200
            mesh.publish(base)
            with pytest.raises(aiohttp.ClientConnectionError):
                await ask(port, "one.test", trusting(ca))
            assert (await ask(port, "two.test", trusting(ca)))[0] == 200
            assert [finding.code for finding in mesh.findings if finding.code.startswith("MESH19")] == ["MESH190"]


async def test_certificates_come_from_files_and_from_the_workload(ca: trustme.CA, tmp_path: Path) -> None:
    """serverCertificate and privateKey are paths; ISTIO_MUTUAL takes the gateway's own and verifies SPIFFE peers."""
    own = DevelopmentCA.create(tmp_path / "ca")
    own.issue(tmp_path / "gateway", service_account="gateway")
    own.issue(tmp_path / "web", service_account="web")
    issued = ca.issue_cert("files.test")
    (tmp_path / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
    files = f"serverCertificate: {tmp_path}/chain.pem, privateKey: {tmp_path}/key.pem"
    yaml = servers(f"files.test {{mode: SIMPLE, {files}}}", "mesh.test {mode: ISTIO_MUTUAL}")
    async with upstream() as a:
        mesh = Mesh.load(yaml + service("a", a.port), workload=INGRESS)
        tls = gateway_context(mesh.runtime, 443, certificates=tmp_path / "gateway")
        async with serve_app(MeshGateway(mesh), tls=tls) as port:
            assert (await ask(port, "files.test", trusting(ca)))[0] == 200
            peer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            peer.check_hostname = False
            peer.load_verify_locations(tmp_path / "web" / "root-cert.pem")
            peer.load_cert_chain(tmp_path / "web" / "cert-chain.pem", tmp_path / "web" / "key.pem")
            status, seen = await ask(port, "mesh.test", peer)
            assert status == 200
            assert "URI=spiffe://cluster.local/ns/default/sa/web" in seen["headers"]["x-forwarded-client-cert"]


def test_a_port_without_any_certificate_is_one_clear_error() -> None:
    """At start, with what to add."""
    mesh = Mesh.load(servers("one.test {mode: SIMPLE, credentialName: one}"), workload=INGRESS)
    with pytest.raises(MeshError, match=r"port 443 cannot speak TLS: .*one\.test.*add the Secret"):
        gateway_context(mesh.runtime, 443)
    with pytest.raises(MeshError, match="no Gateway or Sidecar of this workload"):
        gateway_context(mesh.runtime, 80)


def test_a_subject_is_written_as_envoy_writes_it() -> None:
    """Envoy 1.39 gives OpenSSL's RFC 2253 text; nothing in a certificate can end the header or its element."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, 'Acme, "Inc" \\ Co'),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "ann é\r\nx-user: root"),
    ]
    others = [
        x509.UniformResourceIdentifier("spiffe://a/ns/b/sa/c"),
        x509.UniformResourceIdentifier('spiffe://a;URI=spiffe://root,"x'),
        x509.DNSName("x.test"),
    ]
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(x509.Name([]), x509.Name(names), key.public_key(), 1, now, now)
        .add_extension(x509.SubjectAlternativeName(others), critical=False)
        .sign(key, hashes.SHA256())
    )

    class Tls:
        def getpeercert(self, binary_form: bool = False) -> bytes:
            assert binary_form
            return made.public_bytes(serialization.Encoding.DER)

    found = forwarded_certificate(Tls())
    assert found.partition(";Subject=")[2] == (
        r'"CN=ann \C3\A9\0D\0Ax-user: root,O=Acme\, \"Inc\" \\ Co,C=DE"'
        ";URI=spiffe://a/ns/b/sa/c;URI=spiffe://a%3BURI%3Dspiffe://root%2C%22x;DNS=x.test"
    )
    assert len(elements(found)) == 1


def test_no_key_is_ever_shown(ca: trustme.CA) -> None:
    """Not in the repr of a snapshot, and no file is left behind."""
    issued = ca.issue_cert("one.test")
    yaml = servers("one.test {mode: SIMPLE, credentialName: one}") + secret("one", issued)
    mesh = Mesh.load(yaml, workload=INGRESS)
    gateway_context(mesh.runtime, 443)
    shown = f"{mesh!r} {mesh.snapshot!r} {mesh.snapshot.listeners!r} {mesh.snapshot.listeners.tls[443][0].pairs!r}"
    assert "PRIVATE" not in shown
    assert "BEGIN" not in shown


def test_a_client_that_says_nothing_stops_nobody(ca: trustme.CA) -> None:
    """Plain HTTP at a TLS port is closed; the next handshake works."""
    yaml = servers("one.test {mode: SIMPLE, credentialName: one}") + secret("one", ca.issue_cert("one.test"))
    context = gateway_context(Mesh.load(yaml, workload=INGRESS).runtime, 443)
    left, right = socket.socketpair()
    done = threading.Event()

    def serve() -> None:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(right, server_side=True)
        done.set()

    thread = threading.Thread(target=serve)
    thread.start()
    left.sendall(b"GET / HTTP/1.1\r\n\r\n")
    thread.join(PATIENCE)
    left.close()
    right.close()
    assert done.is_set()
