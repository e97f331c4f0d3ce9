"""``meshlib serve``: one command gives mutual TLS and policies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from meshlib.security import DevelopmentCA
from tests.patience import PATIENCE, wait_until
from tests.ports import free_port

APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = str(scope["mesh"].principal).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}
"""


def connected(port: int) -> socket.socket:
    """A connection, once somebody listens."""
    made: list[socket.socket] = []

    def is_there() -> bool:
        with contextlib.suppress(ConnectionError):
            made.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
        return bool(made)

    wait_until(is_there)
    return made[0]


def ask(port: int, path: str, certificates: Path, *, shows_own: bool = True) -> bytes:
    """The answer, once the server is up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(certificates / "root-cert.pem")
    if shows_own:
        context.load_cert_chain(certificates / "cert-chain.pem", certificates / "key.pem")
    with connected(port) as raw, context.wrap_socket(raw) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_an_application_is_served_with_mutual_tls_and_policies(tmp_path: Path) -> None:
    """The peer's identity reaches the application; a denied path does not; Ctrl-C ends it in order."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "mesh.yaml").write_text(POLICY)
    ca = DevelopmentCA.create(tmp_path / "ca")
    ca.issue(tmp_path / "web")
    ca.issue(tmp_path / "client", service_account="client")
    port = free_port()
    command = [sys.executable, "-m", "meshlib", "serve", "-f", "mesh.yaml", "-p", str(port), "--certificates", "web"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    server = subprocess.Popen([*command, "shop:app"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    try:
        assert ask(port, "/", tmp_path / "client").endswith(b"cluster.local/ns/default/sa/client")
        assert ask(port, "/admin", tmp_path / "client").startswith(b"HTTP/1.1 403 ")
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) in (0, 1, -signal.SIGINT)
    finally:
        server.kill()
        server.communicate()


INGRESS = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  egress: [{hosts: ["*/*"]}]
  ingress:
  - port: {number: %d, protocol: HTTPS, name: https}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:9000
    tls:
      mode: MUTUAL
      serverCertificate: web/cert-chain.pem
      privateKey: web/key.pem
      caCertificates: web/root-cert.pem
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec:
  selector: {matchLabels: {app: shop}}
  mtls: {mode: STRICT}
  portLevelMtls: {"%d": {mode: DISABLE}}
"""


def test_it_listens_as_the_sidecar_says(tmp_path: Path) -> None:
    """Port, address and TLS of its ingress listener, where the mesh has none; nobody without a certificate."""
    (tmp_path / "shop.py").write_text(APP)
    ca = DevelopmentCA.create(tmp_path / "ca")
    ca.issue(tmp_path / "web")
    ca.issue(tmp_path / "client", service_account="client")
    port = free_port()
    (tmp_path / "mesh.yaml").write_text(INGRESS % (port, port))
    command = [sys.executable, "-m", "meshlib", "serve", "-f", "mesh.yaml", "--label", "app=shop", "shop:app"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    try:
        assert ask(port, "/", tmp_path / "client").startswith(b"HTTP/1.1 200 ")
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            socket.create_connection(("127.0.0.1", port), PATIENCE) as raw,
            nobody.wrap_socket(raw) as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            if not connection.recv(100):
                raise ConnectionResetError
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize(
    ("application", "words"),
    [
        ("shop", "not of the form module:app"),
        ("../shop:app", "not of the form module:app"),
        ("nowhere:app", "no module 'nowhere'"),
        ("json:nothing", "has no 'nothing'"),
        ("string:digits", "string:digits is no ASGI application, but str"),
    ],
)
def test_a_wrong_application_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], application: str, words: str
) -> None:
    """Said in one line, before anything listens."""
    from meshlib.cli import main

    (tmp_path / "mesh.yaml").write_text(POLICY)
    with pytest.raises(SystemExit) as exit_:
        main(("serve", "-f", str(tmp_path / "mesh.yaml"), application))
    assert exit_.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trusted-proxy", "loadbalancer"], "'loadbalancer' is neither an IP address nor a block"),
        (["--health-path", "healthz"], "'healthz' does not begin with a slash"),
        (["--certificates", "web"], "web/cert-chain.pem with web/key.pem: "),
    ],
)
def test_wrong_options_are_status_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    """Said in one line, before anything listens; what OpenSSL says of files with their names."""
    from meshlib.cli import main

    monkeypatch.chdir(tmp_path)
    DevelopmentCA.create("ca").issue("web")
    (tmp_path / "web" / "key.pem").write_text("no key")
    (tmp_path / "mesh.yaml").write_text(POLICY)
    with pytest.raises(SystemExit) as exit_:
        main(("serve", "-f", "mesh.yaml", "json:dumps", *arguments))
    assert exit_.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_probes_need_no_certificate_where_it_is_strict(tmp_path: Path) -> None:
    """Kubernetes shows none; nothing but the health path is to be had without one."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "mesh.yaml").write_text(POLICY)
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "web")
    port = free_port()
    command = [sys.executable, "-m", "meshlib", "serve", "-f", "mesh.yaml", "-p", str(port), "--certificates", "web"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command += ["--health-path", "/healthz", "shop:app"]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    try:
        assert ask(port, "/healthz", tmp_path / "web", shows_own=False).startswith(b"HTTP/1.1 200 ")
        assert ask(port, "/", tmp_path / "web", shows_own=False).startswith(b"HTTP/1.1 403 ")
        assert ask(port, "/", tmp_path / "web").startswith(b"HTTP/1.1 200 ")
    finally:
        server.kill()
        server.communicate()


def test_strict_without_certificates_is_told(tmp_path: Path) -> None:
    """All that comes is refused then, unless a proxy vouches for it."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "mesh.yaml").write_text(POLICY)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "meshlib", "serve", "-f", "mesh.yaml", "-p", "0", "shop:app"]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    assert server.stderr is not None
    try:
        assert b"STRICT for port 0: without --certificates every request is refused" in server.stderr.readline()
    finally:
        server.kill()
        server.communicate()


def test_a_port_in_use_is_status_2(tmp_path: Path) -> None:
    """As of the gateway and the dashboard, with what to do."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "mesh.yaml").write_text(POLICY)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "meshlib", "serve", "-f", "mesh.yaml", "-p", port, "shop:app"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"Error: not served at 127.0.0.1 port {port}, for the reason above;")


CLIENT = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = f"{scope['client'][0]} {scope['scheme']}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize(
    ("trusted", "seen"), [([], "127.0.0.1 http"), (["--trusted-proxy", "127.0.0.0/8"], "192.0.2.7 https")]
)
def test_nobody_is_believed_who_is_not_named(tmp_path: Path, trusted: list[str], seen: str) -> None:
    """uvicorn by itself takes the forwarded headers of whoever calls from the same machine."""
    (tmp_path / "shop.py").write_text(CLIENT)
    (tmp_path / "mesh.yaml").write_text("")
    port = free_port()
    command = [sys.executable, "-m", "meshlib", "serve", "-f", "mesh.yaml", "-p", str(port), *trusted, "shop:app"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    assert server.stderr is not None
    try:
        while b"running on" not in (line := server.stderr.readline()):
            assert line
        headers = {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https"}
        with urlopen(Request(f"http://127.0.0.1:{port}/", headers=headers), timeout=PATIENCE) as answer:
            assert answer.read().decode() == seen
    finally:
        server.kill()
        server.communicate()
