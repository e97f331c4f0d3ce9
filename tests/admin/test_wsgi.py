"""The same interface for WSGI, over a real werkzeug server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from werkzeug.serving import make_server

from meshlib import Mesh
from meshlib.admin import admin_wsgi
from tests.admin.bookshop import load, rules
from tests.patience import PATIENCE


@pytest.fixture
def mesh() -> Mesh:
    return load()


@pytest.fixture
def connection(mesh: Mesh) -> Iterator[HTTPConnection]:
    server = make_server("127.0.0.1", 0, admin_wsgi(mesh.admin_app()), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    yield made
    made.close()
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


def ask(
    connection: HTTPConnection, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, bytes]:
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    assert "default-src 'none'" in response.headers["content-security-policy"]
    return response.status, response.read()


def test_answers_are_the_same(connection: HTTPConnection) -> None:
    """JSON, the page and its files, HEAD, refusals."""
    status, body = ask(connection, "GET", "/routes?filter=reviews&limit=1")
    assert status == 200
    assert json.loads(body)["total"] >= 3
    assert b"<title>meshlib</title>" in ask(connection, "GET", "/")[1]
    assert ask(connection, "HEAD", "/ready") == (200, b"")
    assert ask(connection, "GET", "/live", host="evil.example")[0] == 403
    assert ask(connection, "GET", "/nothing")[0] == 404


def test_bodies_are_read_and_bounded(connection: HTTPConnection) -> None:
    """The explainer by POST; a body that is too long is refused unread."""
    asked = json.dumps({"url": "http://reviews:9080/gone"})
    status, body = ask(connection, "POST", "/explain", asked, content_type="application/json")
    assert (status, json.loads(body)["status"]) == (200, 410)
    assert (
        ask(connection, "POST", "/explain", asked, content_type="application/json", origin="http://evil.example")[0]
        == 403
    )
    assert ask(connection, "POST", "/explain", "x" * 70_000)[0] == 413


def test_events_stream_from_a_worker(connection: HTTPConnection, mesh: Mesh) -> None:
    """What is published while the stream is open arrives on it."""
    connection.request("GET", "/events")
    response = connection.getresponse()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.readline() == b"retry: 1000\n"
    mesh.publish(rules(3, 4))
    lines = [response.readline() for _ in range(3)]
    assert b"event: ConfigPublished\n" in lines
