"""The place of a WSGI application in its server: what gunicorn makes of requests, and what becomes of it."""

from __future__ import annotations

import socket
from typing import Any

import flask
import pytest
import quart
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import create
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from meshlib import Mesh
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard, namespace: default}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/vault, /app/vault]}}]}]}
"""


def served(path: str, name: str = "", *, peer: str = "127.0.0.1", trusted: tuple[str, ...] = ()) -> tuple[str, str]:
    """Status, and what the application is asked for: gunicorn's own reading of a request."""
    header = f"SCRIPT_NAME: {name}\r\n" if name else ""
    request = f"GET {path} HTTP/1.1\r\nHost: web\r\n{header}\r\n".encode()
    parsed = next(RequestParser(Config(), iter([request]), (peer, 1)))
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}")
        start_response("200 OK", [])
        return [b""]

    with socket.socket() as connection:
        _, environ = create(parsed, connection, (peer, 1), ("127.0.0.1", 80), Config())
        governed = MeshMiddleware(app, Mesh.load(POLICY), trusted_proxies=trusted)
        list(governed(environ, lambda status, *_: seen.append(status[:3])))
    return ("200", seen[0]) if len(seen) > 1 else (seen[0], "")


def test_a_client_does_not_say_where_the_application_is() -> None:
    """By SCRIPT_NAME any path had another name to policies than to the application."""
    assert served("/vault") == ("403", "")
    assert served("/x/vault", "/x") == ("200", "|/x/vault")
    assert served("/app/vault", "/app") == ("403", "")
    assert served("/x/../vault", "/x") == ("403", "")
    assert served("/x/vault", "/x", peer="10.0.0.1") == ("200", "|/x/vault")


def test_a_trusted_proxy_says_where_the_application_is() -> None:
    """It is part of the path that was sent, so policies see it."""
    assert served("/app/page", "/app", trusted=("127.0.0.1",)) == ("200", "/app|/page")
    assert served("/app/vault", "/app", trusted=("127.0.0.1",)) == ("403", "")
    assert served("/app/page", "/app", trusted=("10.0.0.1",)) == ("200", "|/app/page")


@pytest.mark.parametrize("path", ["/app/vault", "/app//vault", "/app///vault", "/app/./vault", "/app/x/..//vault"])
def test_a_mounted_application_is_judged_by_what_it_reads(path: str) -> None:
    """Flask and Quart read several slashes behind their prefix as one."""
    mesh = Mesh.load(POLICY)

    def page() -> str:
        return "page"

    inner = flask.Flask("inner")
    inner.route("/vault")(page)
    inner.route("/page")(page)
    mounted = DispatcherMiddleware(flask.Flask("outer").wsgi_app, {"/app": MeshMiddleware(inner.wsgi_app, mesh)})
    wsgi = Client(mounted)
    quart_app = quart.Quart("inner")
    quart_app.route("/vault")(page)
    quart_app.route("/page")(page)
    asgi = TestClient(Starlette(routes=[Mount("/app", AsgiMiddleware(quart_app, mesh))]))
    for _ in range(3):  # what is let in is remembered
        assert (wsgi.get("/app/page").status_code, asgi.get("/app/page").status_code) == (200, 200)
        assert (wsgi.get(path).status_code, asgi.get(path).status_code) == (403, 403)


def test_the_server_says_where_the_application_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn's variable of the environment holds, whatever a client adds."""
    monkeypatch.setenv("SCRIPT_NAME", "/app")
    assert served("/app/page") == ("200", "/app|/page")
    assert served("/app/page/vault", "/app/page") == ("200", "/app|/page/vault")
    assert served("/app/vault") == ("403", "")
