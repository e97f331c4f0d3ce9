"""Real processes: a service that is called, servers started by their own commands, what they said at the end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE, wait_until
from tests.ports import free_port

__all__ = ["Service", "ask", "complaints", "config", "running", "service"]

ROOT = Path(__file__).parents[2]

_EXPECTED = ("[INFO]", "development server", "detected changes in 'shop.py'")
_BAD = ("warning", "traceback", "exception", "error", "deadlock", "unclosed")


class Service(ThreadingHTTPServer):
    """Remembers the request ids it saw; the first ``broken`` requests get a 503."""

    daemon_threads = True
    broken = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []
        self.connections: set[tuple[str, int]] = set()

    def handle_error(self, *_: object) -> None:
        """Nothing: clients that are killed break off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        self.server.seen.append(self.headers.get("x-request-id", ""))
        self.server.connections.add(self.client_address)
        status = 200
        if self.server.broken > 0:
            self.server.broken -= 1
            status = 503
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def service() -> Iterator[Service]:
    """A running service of this process."""
    server = Service()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def config(folder: Path, port: int) -> Path:
    """The YAML of a mesh with one service, whose calls are retried."""
    path = folder / "mesh.yaml"
    new = path.with_suffix(".new")
    new.write_text(
        f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: backend, namespace: default}}
spec:
  hosts: [backend.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: backend, namespace: default}}
spec:
  hosts: [backend.test]
  http:
  - timeout: 60s
    retries: {{attempts: 2, retryOn: 5xx}}
    route: [{{destination: {{host: backend.test}}}}]
"""
    )
    new.replace(path)  # at once: who watches it must not find half of it
    return path


def environment(path: Path, *, quiet: tuple[str, ...] = ()) -> dict[str, str]:
    """Every warning is an error, but for those of other packages about themselves."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": ",".join(("error", *quiet)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MESH": str(path),
    }


class Running:
    """A server process; ``said`` is all it wrote, once it has ended."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.said = ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it as a supervisor would; its exit status."""
        if number == signal.SIGINT:  # as a terminal does: to the server and its children
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.said, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


@contextmanager
def running(command: list[str], path: Path, *, quiet: tuple[str, ...] = (), cwd: Path = ROOT) -> Iterator[Running]:
    """A server started by its command, in which PORT stands for a free port; it answers by now."""
    port = free_port()
    command = [part.replace("PORT", str(port)) for part in command]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env=environment(path, quiet=quiet),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    server = Running(process, port)
    try:
        _wait_for(server)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _wait_for(server: Running) -> None:
    def answers() -> bool:
        if server.process.poll() is not None:
            message = f"the server ended: {server.process.communicate()[0]}"
            raise AssertionError(message)
        try:
            return ask(server.port, "/ready")["ready"] is True
        except OSError:
            return False

    wait_until(answers)


def ask(port: int, path: str) -> dict[str, Any]:
    """The JSON of an answer with status 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found
    finally:
        connection.close()


def complaints(server: Running) -> list[str]:
    """The lines that a process should not have written; listening sockets are the server's own affair."""
    listening = re.compile(rf"laddr=\('127\.0\.0\.1', {server.port}\)>")
    return [
        line
        for line in server.said.splitlines()
        if any(word in line.lower() for word in _BAD)
        and not listening.search(line)
        and not any(text in line for text in _EXPECTED)
    ]
