"""``meshlib gateway``: Gateways of the YAML as an ingress, as a process."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
import trustme

from meshlib import Mesh, Workload
from meshlib.cli import main
from tests.cli.test_serve import connected
from tests.patience import PATIENCE, wait_until
from tests.ports import free_port

ROOT = Path(__file__).parents[2]

YAML = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: edge}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.test]
    tls: {mode: SIMPLE, credentialName: shop}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: edge}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /direct}}]
    directResponse: {status: 200, body: {string: "from the mesh"}}
  - route: [{destination: {host: a.test}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: edge}
spec:
  hosts: [a.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: PORT}}]
---
apiVersion: v1
kind: Secret
metadata: {name: shop, namespace: edge}
data: {tls.crt: CHAIN, tls.key: KEY}
"""


class Upstream(BaseHTTPRequestHandler):
    """Answers with the client's address as it was forwarded."""

    def do_GET(self) -> None:
        body = f"{self.headers['x-forwarded-proto']} {self.headers['x-forwarded-for']}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def service() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE)


def ask(port: int, path: str, tls: ssl.SSLContext | None = None) -> tuple[int, str, str | None]:
    raw = connected(port)
    connection = http.client.HTTPConnection("shop.test", port)
    connection.sock = raw if tls is None else tls.wrap_socket(raw, server_hostname="shop.test")
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body, response.getheader("server")


def written(folder: Path, port: int, ca: trustme.CA) -> Path:
    issued = ca.issue_cert("shop.test")
    chain = base64.b64encode(issued.cert_chain_pems[0].bytes()).decode()
    key = base64.b64encode(issued.private_key_pem.bytes()).decode()
    path = folder / "mesh.yaml"
    path.write_text(YAML.replace("PORT", str(port)).replace("CHAIN", chain).replace("KEY", key))
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_plain_and_tls_ports_are_served_until_a_signal_comes(
    tmp_path: Path, service: int, number: signal.Signals
) -> None:
    """The Gateways' selector and namespace are found; a change counts; the end is in order and says nothing."""
    ca = trustme.CA()
    path = written(tmp_path, service, ca)
    plain, secure = free_port(), free_port()
    command = [sys.executable, "-W", "error", "-m", "meshlib", "gateway", "-f", str(path)]
    server = subprocess.Popen(
        [*command, "-p", f"{plain}:80", "-p", f"{secure}:443"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(tls)
        assert ask(plain, "/") == (200, "http 127.0.0.1", "istio-envoy")
        assert ask(secure, "/", tls) == (200, "https 127.0.0.1", "istio-envoy")
        assert ask(plain, "/direct") == (200, "from the mesh", "istio-envoy")
        new = tmp_path / "new"
        new.write_text(path.read_text().replace("from the mesh", "from the new mesh"))
        new.replace(path)  # at once: the watch must not find half of it
        wait_until(lambda: ask(plain, "/direct")[1] == "from the new mesh")
        server.send_signal(number)
        _, said = server.communicate(timeout=PATIENCE)
    finally:
        server.kill()
        server.communicate()
    assert server.returncode == 0
    assert said.splitlines() == [
        f"http://127.0.0.1:{plain} serves port 80 of the Gateways",
        f"https://127.0.0.1:{secure} serves port 443 of the Gateways",
    ]


def test_it_binds_as_the_server_says(tmp_path: Path) -> None:
    """Each server its own address, unless --host says otherwise; the usual one is loopback."""
    from meshlib.cli.gateway import _listeners, _placed

    path = written(tmp_path, 1, trustme.CA())
    text = path.read_text()
    path.write_text(text.replace("- port: {number: 80,", "- bind: 127.0.0.2\n    port: {number: 80,", 1))
    mesh = Mesh.load(str(path), workload=Workload(namespace="edge", labels={"app": "edge"}, gateway=True))
    listeners = _listeners(mesh, ())
    assert [(one.server, one.host) for one in _placed(listeners, mesh, None)] == [(80, "127.0.0.2"), (443, "127.0.0.1")]
    assert {one.host for one in _placed(listeners, mesh, "::1")} == {"::1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-p", "x"), "'x' is not of the form PORT or PORT:SERVER"),
        (("-p", "8080:81"), "no Gateway has a server at port 81; there are 80, 443"),
        (
            ("--label", "app=other"),
            "no Gateway has a server that can be served for a workload with these labels: app=other",
        ),
        (("-p", "8443:443", "--namespace", "elsewhere"), "port 443 cannot speak TLS"),
    ],
)
def test_wrong_input_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    """Said in one line, before anything is served."""
    path = written(tmp_path, 1, trustme.CA())
    with pytest.raises(SystemExit) as exit_:
        main(("gateway", "-f", str(path), *arguments))
    assert exit_.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_port_that_is_taken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to do."""
    path = written(tmp_path, 1, trustme.CA())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(SystemExit) as exit_:
            main(("gateway", "-f", str(path), "-p", f"{taken.getsockname()[1]}:80"))
    assert exit_.value.code == 2
    assert "choose another with --port" in capsys.readouterr().err


def test_a_server_at_a_unix_socket_needs_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Istio has it, with port 0; we listen at addresses only."""
    path = tmp_path / "mesh.yaml"
    server = '{hosts: [a.test], bind: "unix:///run/gateway.sock", port: {name: http, protocol: HTTP, number: 0}}'
    path.write_text(f"{YAML.partition('  servers:')[0]}  servers: [{server}]\n")
    with pytest.raises(SystemExit) as exit_:
        main(("gateway", "-f", str(path)))
    assert exit_.value.code == 2
    words = "a server binds to unix:///run/gateway.sock, and meshlib gateway listens at addresses only"
    assert f"{words}; say where with --host ADDRESS --port PORT:0" in " ".join(capsys.readouterr().err.split())


def test_different_selectors_must_be_chosen_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The flags to choose from are shown; without any Gateway that is said."""
    path = tmp_path / "mesh.yaml"
    gateways = YAML.partition("---")[0]
    path.write_text(gateways + "---" + gateways.replace("front", "back").replace("app: edge", "app: inner"))
    for text, words in (
        (None, "--label app=edge --label app=inner"),
        ("kind: List\nitems: []\n", "there is no Gateway"),
    ):
        if text is not None:
            path.write_text(text)
        with pytest.raises(SystemExit) as exit_:
            main(("gateway", "-f", str(path)))
        assert exit_.value.code == 2
        assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "pip install 'proxyless-mesh[serve]'"),
        (ModuleType("uvicorn"), "0.35.0"),
    ],
)
def test_a_missing_or_old_uvicorn_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType | None,
    words: str,
) -> None:
    """With the extra that brings it, or the version that is needed."""
    if module is not None:
        module.__version__ = "0.20.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uvicorn", module)
    with pytest.raises(SystemExit) as exit_:
        main(("gateway", "-f", str(written(tmp_path, 1, trustme.CA()))))
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err
