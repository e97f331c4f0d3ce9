"""The port that policies know a WSGI server by: never what a client says."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from meshlib import Mesh
from meshlib.adapters.wsgi import MeshMiddleware

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open-port, namespace: default}
spec: {rules: [{to: [{operation: {ports: ["8080"]}}]}]}
"""


def status(port: str, **more: Any) -> str:
    governed = MeshMiddleware(lambda _, start: start("200 OK", []) or [b""], Mesh.load(POLICY))
    seen: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_PORT": port, "HTTP_HOST": "web"}
    list(governed({**environ, **more}, lambda line, *_: seen.append(line)))
    return seen[0][:3]


@pytest.mark.parametrize(
    ("port", "expected"), [("8080", "200"), ("8081", "403"), ("", "403"), ("http", "403"), ("²", "403")]
)
def test_a_port(port: str, expected: str) -> None:
    """SERVER_PORT, where it is one."""
    assert status(port) == expected


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets in the file system")
def test_a_socket_in_the_file_system_has_no_port() -> None:
    """gunicorn gives that of the Host header: a client could choose the policies that apply to it."""
    with socket.socket(socket.AF_UNIX) as local, socket.socket() as network:
        assert status("8080", **{"gunicorn.socket": local}) == "403"
        assert status("8080", **{"gunicorn.socket": network}) == "200"
