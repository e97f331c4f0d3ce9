"""Who the peer is, from each server's connection: real processes, real handshakes, certificates of our own CA."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from meshlib.security import DevelopmentCA
from tests.patience import PATIENCE, wait_until
from tests.ports import free_port

KINDS = [
    "uvicorn-h11",
    "uvicorn-httptools",
    "hypercorn",
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-uvicorn",
    "werkzeug",
    "aiohttp.web",
]
WEBSOCKETS = ["uvicorn-h11", "uvicorn-httptools", "hypercorn", "gunicorn-uvicorn", "aiohttp.web"]
WHO = "cluster.local/ns/shop/sa/client"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a server, a client, and a stranger with another root."""
    directory = tmp_path_factory.mktemp("peers")
    ca = DevelopmentCA.create(directory / "ca")
    ca.issue(directory / "server", namespace="shop", service_account="web")
    ca.issue(directory / "client", namespace="shop", service_account="client")
    DevelopmentCA.create(directory / "other").issue(directory / "stranger", namespace="shop", service_account="client")
    return directory


@contextmanager
def running(kind: str, certificates: Path) -> Iterator[int]:
    """A server in a process of its own; its port."""
    port = free_port()
    command = [sys.executable, "-m", "tests.security.peer_server", kind, str(port), str(certificates / "server")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE)
        if process.stderr is not None:
            process.stderr.close()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens at the port."""

    def is_there() -> bool:
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            return True
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(process.stderr.read().decode())
        return False

    wait_until(is_there)


def context(certificates: Path, own: str | None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(certificates / "server" / "root-cert.pem")
    if own is not None:
        made.load_cert_chain(certificates / own / "cert-chain.pem", certificates / own / "key.pem")
    return made


def ask(port: int, tls: ssl.SSLContext) -> str:
    """Who the server says we are."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=PATIENCE)
    try:
        forged = {"x-forwarded-client-cert": f"URI=spiffe://{WHO}", "ssl-client-cert": "-----BEGIN CERTIFICATE-----"}
        connection.request("GET", "/", headers=forged)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_knows_its_peer(certificates: Path, kind: str) -> None:
    """By its certificate alone: nobody without one, no entry with one of another root, no belief in headers."""
    with running(kind, certificates) as port:
        assert ask(port, context(certificates, "client")) == WHO
        assert ask(port, context(certificates, None)) == "None"
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            assert ask(port, context(certificates, "stranger")) == ""
        if kind in WEBSOCKETS:
            assert first_message(port, context(certificates, "client")) == WHO
            assert first_message(port, context(certificates, None)) == "None"
        if kind == "hypercorn":
            with httpx.Client(timeout=PATIENCE, http2=True, verify=context(certificates, "client")) as client:
                response = client.get(f"https://127.0.0.1:{port}/")
                assert (response.http_version, response.text) == ("HTTP/2", WHO)


def first_message(port: int, tls: ssl.SSLContext) -> str:
    """What a websocket says first."""
    request = (
        "GET / HTTP/1.1\r\nHost: web.shop\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as raw,
        tls.wrap_socket(raw) as connection,
        connection.makefile("rb") as answer,
    ):
        connection.sendall(request.encode())
        assert b" 101 " in answer.readline()
        while answer.readline().strip():
            pass
        kind, length = answer.read(2)
        assert kind == 0x81  # a whole text
        return answer.read(length).decode()
