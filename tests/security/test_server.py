"""Server contexts: who gets in, and certificates that are renewed under a running server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from meshlib import Mesh, Workload
from meshlib._inbound.certificates import identity_of, identity_of_tls
from meshlib.errors import SourceError
from meshlib.security import DevelopmentCA, server_context
from tests.handshakes import Visit, client_context

pytestmark = pytest.mark.anyio

TLS_1_2 = ssl.TLSVersion.TLSv1_2


def ca_id(service_account: str) -> str:
    return f"spiffe://cluster.local/ns/default/sa/{service_account}"


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that answers with the identity of its peer."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(identity_of_tls(writer.get_extra_info("ssl_object"))).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(port: int, roots: Path, own: Path | None) -> tuple[str, str | None]:
    """(what the server says we are, what we see the server is)"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(roots / "root-cert.pem")
    if own is not None:
        context.load_cert_chain(own / "cert-chain.pem", own / "key.pem")
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        server = identity_of_tls(writer.get_extra_info("ssl_object"))
        return (await reader.read()).decode(), server
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def is_turned_away(port: int, roots: Path, own: Path | None) -> bool:
    """Whether the server gives no answer. In TLS 1.3 a client may notice that only when it reads."""
    try:
        return not (await ask(port, roots, own))[0]
    except (ssl.SSLError, ConnectionError):
        return True


async def test_both_sides_see_who_the_other_is(tmp_path: Path) -> None:
    """Mutual TLS with certificates of one root."""
    ca = DevelopmentCA.create(tmp_path / "ca")
    ca.issue(tmp_path / "server", service_account="reviews")
    ca.issue(tmp_path / "client", service_account="web")
    async with serving(server_context(tmp_path / "server")) as port:
        seen = await ask(port, tmp_path / "client", tmp_path / "client")
    assert seen == ("spiffe://cluster.local/ns/default/sa/web", "spiffe://cluster.local/ns/default/sa/reviews")


async def test_a_client_without_certificate_gets_in_only_where_it_may(tmp_path: Path) -> None:
    """Optional: served without an identity. Required: the handshake fails."""
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server")
    async with serving(server_context(tmp_path / "server", is_peer_required=False)) as port:
        assert (await ask(port, tmp_path / "server", None))[0] == "None"
    async with serving(server_context(tmp_path / "server")) as port:
        assert await is_turned_away(port, tmp_path / "server", None)


@pytest.mark.parametrize("is_peer_required", [True, False])
async def test_a_client_of_another_root_never_gets_in(tmp_path: Path, is_peer_required: bool) -> None:
    """A certificate that cannot be verified is worse than none."""
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server")
    DevelopmentCA.create(tmp_path / "other").issue(tmp_path / "stranger")
    async with serving(server_context(tmp_path / "server", is_peer_required=is_peer_required)) as port:
        assert await is_turned_away(port, tmp_path / "server", tmp_path / "stranger")


async def test_renewed_files_are_used_for_the_next_handshake(tmp_path: Path) -> None:
    """Another certificate, and later another root for both sides, without a restart."""
    clock = Hand()
    ca = DevelopmentCA.create(tmp_path / "ca")
    ca.issue(tmp_path / "server", service_account="one")
    async with serving(server_context(tmp_path / "server", now=clock)) as port:
        ca.issue(tmp_path / "client")
        clock.seconds = 2.0
        ca.issue(tmp_path / "server", service_account="two")
        assert (await ask(port, tmp_path / "client", tmp_path / "client"))[1] == ca_id("two")
        DevelopmentCA.create(tmp_path / "new").issue(tmp_path / "server", service_account="three")
        DevelopmentCA.open(tmp_path / "new").issue(tmp_path / "client", service_account="web")
        clock.seconds = 4.0
        assert await ask(port, tmp_path / "client", tmp_path / "client") == (ca_id("web"), ca_id("three"))


async def test_a_half_written_set_keeps_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key that does not fit its certificate is told and not used; the rest of the set is taken when it comes."""
    clock = Hand()
    ca = DevelopmentCA.create(tmp_path / "ca")
    ca.issue(tmp_path / "server", service_account="one")
    ca.issue(tmp_path / "next", service_account="two")
    ca.issue(tmp_path / "client")
    async with serving(server_context(tmp_path / "server", now=clock)) as port:
        (tmp_path / "next" / "cert-chain.pem").replace(tmp_path / "server" / "cert-chain.pem")
        clock.seconds = 2.0
        assert (await ask(port, tmp_path / "server", tmp_path / "client"))[1] == ca_id("one")
        assert "not usable" in caplog.text
        (tmp_path / "next" / "key.pem").replace(tmp_path / "server" / "key.pem")
        clock.seconds = 4.0
        assert (await ask(port, tmp_path / "server", tmp_path / "client"))[1] == ca_id("two")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_of_a_root_that_is_gone_lets_nobody_in(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A client could take up its session for as long as it liked, and was taken for who it had been."""
    clock, own = Hand(), tmp_path / "client"
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server")
    DevelopmentCA.open(tmp_path / "ca").issue(own, service_account="web")
    server, client = server_context(tmp_path / "server", now=clock), client_context(own, version)
    visit = Visit(server, client, Visit(server, client))
    if version is TLS_1_2:
        DevelopmentCA.open(tmp_path / "ca").issue(tmp_path / "server")
        clock.seconds = 1.0
        visit = Visit(server, client, visit)
        assert visit.server.session_reused  # another certificate of the same root is no reason to refuse it
    assert identity_of(visit.server.getpeercert(True) or b"") == ca_id("web")
    DevelopmentCA.create(tmp_path / "new").issue(tmp_path / "server")
    clock.seconds = 2.0
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match=r"callback failed|unable to get local issuer"):
            Visit(server, client, visit)


@pytest.mark.parametrize("is_early", [True, False])
def test_what_is_set_on_the_context_outlives_a_renewal(tmp_path: Path, is_early: bool) -> None:
    """HTTP/2 was spoken until the first renewal, and ciphers counted until then."""
    clock = Hand()
    ca = DevelopmentCA.create(tmp_path / "ca")
    ca.issue(tmp_path / "server")
    other = DevelopmentCA.create(tmp_path / "other")
    other.issue(tmp_path / "client")
    server, client = server_context(tmp_path / "server", now=clock), client_context(tmp_path / "client", TLS_1_2)
    client.set_alpn_protocols(["h2", "http/1.1"])

    def set_all() -> None:
        server.set_alpn_protocols(["h2"])
        server.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        server.load_verify_locations(tmp_path / "other" / "root-cert.pem")

    if is_early:
        set_all()
    ca.issue(tmp_path / "server")
    clock.seconds = 2.0
    if not is_early:
        Visit(server, client_context(tmp_path / "server", TLS_1_2))
        set_all()
    seen = Visit(server, client).client
    assert (seen.selected_alpn_protocol(), (seen.cipher() or ("",))[0]) == ("h2", "ECDHE-ECDSA-CHACHA20-POLY1305")


async def test_missing_files_are_one_clear_error(tmp_path: Path) -> None:
    """The error says where was looked, for what, and how to make some."""
    with pytest.raises(SourceError, match=r"has no cert-chain\.pem, key\.pem and root-cert\.pem.*meshlib ca issue"):
        server_context(tmp_path)


MODES = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  mtls: {mode: STRICT}
  portLevelMtls: {8081: {mode: PERMISSIVE}}
"""


@pytest.mark.parametrize(("port", "is_required"), [(0, True), (8080, True), (8081, False)])
async def test_a_mesh_knows_its_certificates_and_its_mode(tmp_path: Path, port: int, is_required: bool) -> None:
    """``server_context(mesh)``: a client without a certificate gets in where PeerAuthentication lets it."""
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server", service_account="web")
    mesh = Mesh.load(
        MODES, workload=Workload(namespace="shop", labels={"app": "web"}), certificates=tmp_path / "server"
    )
    async with serving(server_context(mesh, port=port)) as number:
        assert (await ask(number, tmp_path / "server", tmp_path / "server"))[0] == ca_id("web")
        assert await is_turned_away(number, tmp_path / "server", None) is is_required
    assert server_context(mesh, is_peer_required=False).verify_mode is ssl.CERT_OPTIONAL


def test_a_mode_that_changes_counts_from_the_next_handshake_on(tmp_path: Path) -> None:
    """Both ways, and not where the application has said what it wants."""
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server")
    mesh = Mesh.load(
        MODES, workload=Workload(namespace="shop", labels={"app": "web"}), certificates=tmp_path / "server"
    )
    follows, stays = server_context(mesh, port=8080), server_context(mesh, port=8080, is_peer_required=False)
    for mode, wanted in (
        ("PERMISSIVE", ssl.CERT_OPTIONAL),
        ("STRICT", ssl.CERT_REQUIRED),
        ("DISABLE", ssl.CERT_OPTIONAL),
    ):
        mesh.publish(MODES.replace("STRICT", mode))
        for context in (follows, stays):
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
        assert (follows.verify_mode, stays.verify_mode) == (wanted, ssl.CERT_OPTIONAL)


def test_a_session_from_before_a_mode_is_strict_lets_nobody_in(tmp_path: Path) -> None:
    """It stood for no certificate at all."""
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server")
    mesh = Mesh.load(
        MODES.replace("STRICT", "PERMISSIVE"),
        workload=Workload(namespace="shop", labels={"app": "web"}),
        certificates=tmp_path / "server",
    )
    server, client = server_context(mesh, port=8080), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode, client.maximum_version = False, ssl.CERT_NONE, TLS_1_2
    visit = Visit(server, client)
    visit = Visit(server, client, visit)
    assert visit.server.session_reused
    mesh.publish(MODES)
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match=r"callback failed|did not return a certificate"):
            Visit(server, client, visit)


@pytest.mark.parametrize(
    ("port", "mode"), [(9000, ssl.CERT_OPTIONAL), (8081, ssl.CERT_OPTIONAL), (9001, ssl.CERT_REQUIRED)]
)
def test_behind_an_ingress_listener_its_modes_hold(tmp_path: Path, port: int, mode: ssl.VerifyMode) -> None:
    """The application listens on 9000, policies know it by 8081: for the handshake as for the request."""
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server")
    peers = (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\n"
        "spec: {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {8081: {mode: PERMISSIVE}}}\n"
    )
    sidecar = (
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n"
        "spec:\n  egress: [{hosts: ['*/*']}]\n"
        "  ingress: [{port: {number: 8081, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:9000}]\n"
    )
    mesh = Mesh.load(peers + sidecar, workload=Workload(labels={"app": "a"}), certificates=tmp_path / "server")
    assert server_context(mesh, port=port).verify_mode is mode
