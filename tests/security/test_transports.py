"""Istio's integration tests of PeerAuthentication, with real sockets and handshakes."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshlib import Mesh, Workload
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.security import DevelopmentCA, server_context
from tests.adapters.gateway_servers import serve_app
from tests.corpus import has_corpus, load_corpus

TABLE = "authz/integration.json"


def rows() -> list[Any]:
    if not has_corpus(TABLE):
        return [pytest.param(None, None, id=TABLE, marks=pytest.mark.skip(reason="conformance corpus not found"))]
    return [
        pytest.param(group, entry, id=entry["id"])
        for group in load_corpus(TABLE)["groups"]
        if group["id"].startswith("mtls-")
        for entry in group["requests"]
        # The rows of TCP are about the connection alone; a policy would ask for more of the request over it.
        if entry["request"]["protocol"] == "http" or "authz" not in group["id"]
    ]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the server ``b`` and of its client ``a``."""
    place = tmp_path_factory.mktemp("certificates")
    authority = DevelopmentCA.create(place / "ca")
    for account in ("a", "b"):
        authority.issue(place / account, namespace="echo1", service_account=account)
    return place


def client_context(files: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(files / "root-cert.pem")
    context.load_cert_chain(files / "cert-chain.pem", files / "key.pem")
    return context


def application(mesh: Mesh, number: int) -> Any:
    """Answers 200 behind the middleware, on what is port ``number`` of the workload."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    governed = MeshMiddleware(answer, mesh)

    async def at_port(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "server": (scope["server"][0], number)}
        await governed(scope, receive, send)

    return at_port


async def is_let_in(url: str, host: str, tls: ssl.SSLContext | None) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as client,
            client.get(url, headers={"host": host}, ssl=tls or True) as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, ssl.SSLError):
        return False


@pytest.mark.parametrize(("group", "entry"), rows())
async def test_connections_are_taken_as_peer_authentication_says(
    certificates: Path, group: dict[str, Any], entry: dict[str, Any]
) -> None:
    """STRICT listens with TLS, DISABLE without; PERMISSIVE is served on both kinds of listener."""
    request, workload = entry["request"], group["workload"]
    mesh = Mesh.load(
        group["resources"],
        workload=Workload(namespace=workload["namespace"], labels=workload["labels"], service_account="b"),
        certificates=certificates / "b",
    )
    mode = mesh.snapshot.security.mode_of(request["port"])
    comes_with_tls = request["transport"] == "mtls"
    listens_with_tls = comes_with_tls if mode == "PERMISSIVE" else mode == "STRICT"
    tls = server_context(mesh, port=request["port"]) if listens_with_tls else None
    async with serve_app(application(mesh, request["port"]), tls=tls) as port:
        scheme, own = ("https", client_context(certificates / "a")) if comes_with_tls else ("http", None)
        allowed = await is_let_in(f"{scheme}://127.0.0.1:{port}/", request.get("host", "b"), own)
    assert allowed == (entry["expect"] == "allow")
