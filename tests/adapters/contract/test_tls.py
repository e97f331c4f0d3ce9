"""The contract of clients: TLS that the mesh starts from http:// URLs, as DestinationRules say."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from meshlib import Mesh
from meshlib.security import DevelopmentCA
from tests.adapters.contract.clients import Aiohttp
from tests.adapters.contract.conftest import HOST, URL, Kit
from tests.adapters.contract.servers import tls_for
from tests.revoked import revoked

WEB = "spiffe://cluster.local/ns/default/sa/web"
SNI = f"outbound_.80_._.{HOST}"
BROKEN = "transport failure reason: TLS_error"


def secure(kit: Kit, tls: dict[str, Any], **arguments: Any) -> Mesh:
    return kit.mesh(policy={"tls": tls}, **arguments)


def simple(kit: Kit, **more: Any) -> dict[str, Any]:
    return {"mode": "SIMPLE", "caCertificates": str(kit.authority.server.root), **more}


def test_istio_mutual(plain_kit: Kit) -> None:
    """Both sides show their certificate; the server name is that of the cluster; the caller sees http."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.server))
    secure(kit, {"mode": "ISTIO_MUTUAL"})
    reply = kit.client().get(URL)
    seen = server.seen[0]
    assert (seen.identity, seen.server_name, seen.headers["host"]) == (WEB, SNI, HOST)
    assert not reply.url.startswith("https:")


def test_a_server_of_another_account_gets_nothing(plain_kit: Kit) -> None:
    """Its certificate is valid, its name is not: refused in the handshake, before a byte of the request."""
    kit = plain_kit
    other = kit.authority.ca.issue(kit.authority.place / "other", service_account="other")
    server = kit.upstream(tls=tls_for(other))
    secure(kit, {"mode": "ISTIO_MUTUAL"})
    reply = kit.client().get(URL)
    assert (reply.status, reply.flags) == (503, ("UF",))
    assert BROKEN in reply.text
    assert server.seen == []
    assert kit.at_rest()


def test_a_server_of_another_mesh_gets_nothing(plain_kit: Kit, tmp_path: Path) -> None:
    """Its root is not ours."""
    kit = plain_kit
    theirs = DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server", service_account="reviews")
    server = kit.upstream(tls=tls_for(theirs, asks_for_client=False))
    secure(kit, {"mode": "ISTIO_MUTUAL"})
    reply = kit.client().get(URL)
    assert (reply.status, reply.flags) == (503, ("UF",))
    assert "CERTIFICATE_VERIFY_FAILED" in reply.text
    assert server.seen == []


def test_a_failed_handshake_is_retried_elsewhere(plain_kit: Kit) -> None:
    """It is a connect-failure."""
    kit = plain_kit
    other = kit.authority.ca.issue(kit.authority.place / "elsewhere", service_account="other")
    wrong, right = kit.upstream(tls=tls_for(other)), kit.upstream(tls=tls_for(kit.authority.server))
    retry = {"retries": {"attempts": 5, "retryOn": "connect-failure", "backoff": "1ms"}}
    secure(kit, {"mode": "ISTIO_MUTUAL"}, route=retry)
    client = kit.client()
    assert {client.get(URL).status for _ in range(4)} == {200}
    assert wrong.seen == []
    assert len(right.seen) == 4


def test_written_names_replace_the_accounts(plain_kit: Kit) -> None:
    """subjectAltNames, and sni, of ISTIO_MUTUAL."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.server))
    secure(kit, {"mode": "ISTIO_MUTUAL", "sni": "my.sni", "subjectAltNames": [WEB]})
    client = kit.client()
    assert client.get(URL).status == 503
    assert server.seen == []
    names = [WEB, "spiffe://cluster.local/ns/default/sa/reviews"]
    mesh = secure(kit, {"mode": "ISTIO_MUTUAL", "sni": "my.sni", "subjectAltNames": names})
    assert kit.client(mesh).get(URL).status == 200
    assert server.seen[0].server_name == "my.sni"


def test_without_certificates_nothing_is_sent(plain_kit: Kit, tmp_path: Path) -> None:
    """ISTIO_MUTUAL asks for those of the workload: 503 that names the remedy, never plaintext."""
    kit = plain_kit
    server = kit.upstream()
    text = kit.resources(policy={"tls": {"mode": "ISTIO_MUTUAL"}})
    reply = kit.client(Mesh.load(text, certificates=tmp_path)).get(URL)
    assert (reply.status, reply.flags) == (503, ("UF",))
    assert "Mesh.load(certificates=…)" in reply.text
    assert server.seen == []
    assert server.connections == 0


def test_simple_checks_the_host(plain_kit: Kit) -> None:
    """The server name is the host called; the certificate must have it."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named, asks_for_client=False))
    secure(kit, simple(kit))
    assert kit.client().get(URL).status == 200
    assert (server.seen[0].server_name, server.seen[0].identity) == (HOST, None)


def test_simple_refuses_another_host(plain_kit: Kit) -> None:
    """The certificate of a workload names no host."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.server, asks_for_client=False))
    secure(kit, simple(kit))
    reply = kit.client().get(URL)
    assert reply.status == 503
    assert BROKEN in reply.text
    assert server.seen == []


def test_simple_with_a_server_name(plain_kit: Kit) -> None:
    """Istio 1.31: with sni only the chain and the accounts are checked, not the name itself."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.server, asks_for_client=False))
    secure(kit, simple(kit, sni="other.example.com"))
    assert kit.client().get(URL).status == 200
    assert server.seen[0].server_name == "other.example.com"


@pytest.mark.parametrize(("name", "status"), [(HOST, 200), ("127.0.0.1", 200), ("elsewhere.example.com", 503)])
def test_simple_with_names(plain_kit: Kit, name: str, status: int) -> None:
    """subjectAltNames: DNS names and addresses, exact."""
    kit = plain_kit
    kit.upstream(tls=tls_for(kit.authority.named, asks_for_client=False))
    secure(kit, simple(kit, subjectAltNames=[name]))
    assert kit.client().get(URL).status == status


def test_simple_with_the_roots_of_the_system(plain_kit: Kit) -> None:
    """They do not have a development CA."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named, asks_for_client=False))
    secure(kit, {"mode": "SIMPLE"})
    assert "CERTIFICATE_VERIFY_FAILED" in kit.client().get(URL).text
    assert server.seen == []


def test_mutual_shows_the_files_of_the_rule(plain_kit: Kit) -> None:
    """clientCertificate and privateKey."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named))
    files = kit.authority.ca.issue(kit.authority.place / "batch", service_account="batch")
    mine = {"clientCertificate": str(files.chain), "privateKey": str(files.key)}
    secure(kit, {**simple(kit, **mine), "mode": "MUTUAL"})
    assert kit.client().get(URL).status == 200
    assert server.seen[0].identity == "spiffe://cluster.local/ns/default/sa/batch"


def test_files_that_are_missing_are_named(plain_kit: Kit) -> None:
    """503, nothing is sent."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named, asks_for_client=False))
    secure(kit, {"mode": "SIMPLE", "caCertificates": "/nowhere/ca.pem"})
    reply = kit.client().get(URL)
    assert reply.status == 503
    assert "the certificates for TLS are not usable" in reply.text
    assert server.connections == 0


def test_verification_can_be_skipped(plain_kit: Kit, tmp_path: Path) -> None:
    """insecureSkipVerify: any certificate will do, and nothing warns."""
    kit = plain_kit
    theirs = DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "server", service_account="other")
    kit.upstream(tls=tls_for(theirs, asks_for_client=False))
    secure(kit, {"mode": "SIMPLE", "insecureSkipVerify": True})
    assert kit.client().get(URL).status == 200


def test_a_revoked_certificate_is_refused(plain_kit: Kit, tmp_path: Path) -> None:
    """caCrl."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named, asks_for_client=False))
    ca = kit.authority.ca
    empty, full = revoked(ca, tmp_path / "empty.pem"), revoked(ca, tmp_path / "full.pem", kit.authority.named.chain)
    client = kit.client(secure(kit, simple(kit, caCrl=str(empty))))
    assert client.get(URL).status == 200
    client = kit.client(secure(kit, simple(kit, caCrl=str(full))))
    assert client.get(URL).status == 503
    assert len(server.seen) == 1


def automatic(kit: Kit, certificates: Path) -> Mesh:
    """The same without any DestinationRule."""
    resources = [one for one in kit.resources() if one["kind"] != "DestinationRule"]
    return Mesh.load(resources, certificates=certificates)


def test_auto_mtls_where_there_are_certificates(plain_kit: Kit) -> None:
    """Endpoints with a service account speak mesh mutual TLS."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.server))
    assert kit.client(automatic(kit, kit.authority.client.chain.parent)).get(URL).status == 200
    assert (server.seen[0].identity, server.seen[0].server_name) == (WEB, SNI)


def test_auto_mtls_where_there_are_none(plain_kit: Kit, tmp_path: Path) -> None:
    """A workload outside the mesh sends plaintext."""
    kit = plain_kit
    kit.upstream()
    assert kit.client(automatic(kit, tmp_path)).get(URL).status == 200


def test_renewed_certificates_hold_for_new_connections(plain_kit: Kit, tmp_path: Path) -> None:
    """Without a restart: the upstream sees the new identity."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.server))
    files = kit.authority.ca.issue(tmp_path, service_account="old")
    resources = kit.resources(policy={"tls": {"mode": "ISTIO_MUTUAL"}})
    mesh = Mesh.load(resources, certificates=tmp_path)
    client = kit.client(mesh)
    client.get(URL)
    kit.authority.ca.issue(tmp_path, service_account="new")
    os.utime(files.key, (1, 1))
    store = mesh.runtime.originator._store  # type: ignore[attr-defined]
    store._now = lambda: 1e12  # a second has passed
    client.get(URL)
    assert [seen.identity and seen.identity.rpartition("/")[2] for seen in server.seen] == ["old", "new"]
    if not isinstance(client, Aiohttp):  # closes by itself what was idle for long
        kit.until(client, lambda: server.open == 1)


def test_connections_are_not_shared_between_identities(plain_kit: Kit) -> None:
    """Two hosts at one endpoint: a connection that was verified for one is not used for the other."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.server))
    strict = {"mode": "ISTIO_MUTUAL", "subjectAltNames": [WEB]}
    more = kit.resources(host="ratings.example.com", policy={"tls": strict})
    secure(kit, {"mode": "ISTIO_MUTUAL"}, more=more)
    client = kit.client()
    assert [client.get(URL).status for _ in range(2)] == [200, 200]
    assert server.connections == 1
    assert client.get("http://ratings.example.com/").status == 503
    assert len(server.seen) == 2


def test_a_mirror_keeps_to_the_tls_of_its_host(plain_kit: Kit) -> None:
    """A copy never goes out in plaintext where TLS is asked for."""
    kit = plain_kit
    main = kit.upstream()
    shadow = kit.upstream(tls=tls_for(kit.authority.server))
    more = kit.resources(shadow.port, host="shadow.example.com", policy={"tls": {"mode": "ISTIO_MUTUAL"}})
    kit.mesh(main.port, route={"mirror": {"host": "shadow.example.com"}}, more=more)
    client = kit.client()
    assert client.get(URL).status == 200
    kit.until(client, lambda: bool(shadow.seen))
    assert shadow.seen[0].identity == WEB


def test_no_copy_leaves_a_socket(plain_kit: Kit) -> None:
    """Its connection ends with the client, also if the upstream takes its time to say goodbye."""
    kit = plain_kit
    main = kit.upstream()
    shadow = kit.upstream({"delay": 60}, tls=tls_for(kit.authority.server))
    more = kit.resources(shadow.port, host="shadow.example.com", policy={"tls": {"mode": "ISTIO_MUTUAL"}})
    kit.mesh(main.port, route={"mirror": {"host": "shadow.example.com"}}, more=more)
    client = kit.client()
    assert client.get(URL).status == 200
    kit.until(client, lambda: bool(shadow.seen))
    gc.collect()
    with kit.busy_upstreams(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        kit.close_clients()
        del client
        gc.collect()
    assert [str(one.message) for one in warned] == []


def test_https_urls_use_the_tls_of_the_rule(plain_kit: Kit) -> None:
    """One handshake, with the rule's parameters, not two inside each other."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named, asks_for_client=False))
    resources = kit.resources(policy={"tls": simple(kit)})
    resources[0]["spec"]["ports"] = [{"number": 443, "name": "http", "protocol": "HTTP"}]
    mesh = kit.loaded = Mesh.load(resources)
    reply = kit.client(mesh).get(f"https://{HOST}/x")
    assert reply.status == 200
    assert (server.seen[0].server_name, server.seen[0].path) == (HOST, "/x")


def own_tls(kit: Kit, host: str) -> list[dict[str, Any]]:
    """A host whose TLS is the business of the application."""
    resources = kit.resources(host=host)[:1]
    resources[0]["spec"]["ports"] = [{"number": 443, "name": "https", "protocol": "HTTPS"}]
    for endpoint in resources[0]["spec"]["endpoints"]:
        endpoint["ports"] = {"https": endpoint["ports"]["http"]}
    return resources


def test_tls_of_the_application_goes_to_the_endpoint(plain_kit: Kit) -> None:
    """https:// URLs: the library's own handshake, with the host called as server name, checked against it."""
    kit = plain_kit
    server = kit.upstream(tls=tls_for(kit.authority.named, asks_for_client=False))
    resources = own_tls(kit, HOST) + own_tls(kit, "ratings.example.com")
    mesh = kit.loaded = Mesh.load(resources)
    client = kit.client_trusting(mesh)
    assert [client.get(f"https://{HOST}/x").status for _ in range(2)] == [200, 200]
    assert server.seen[0].server_name == HOST
    assert server.connections == 1
    # The same endpoint under a name that its certificate does not have: no connection is shared.
    reply = client.get("https://ratings.example.com/")
    assert (reply.status, reply.flags) == (503, ("UF",))
    assert len(server.seen) == 2


def test_the_error_behind_a_failed_handshake_is_chained(plain_kit: Kit) -> None:
    """With raise_on_refusal."""
    kit = plain_kit
    other = kit.authority.ca.issue(kit.authority.place / "chained", service_account="other")
    kit.upstream(tls=tls_for(other))
    secure(kit, {"mode": "ISTIO_MUTUAL"})
    client = kit.client(raise_on_refusal=True)
    with pytest.raises(client.family) as raised:
        client.get(URL)
    assert "sa/other; accepted are spiffe://cluster.local/ns/default/sa/reviews" in full_text(raised.value)


def full_text(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts += [str(error), *(str(part) for part in error.args)]
        error = error.__cause__ or error.__context__
    return " ".join(texts)
