"""What a strict WSGI server (wsgiref, and with it Django's runserver) looks at: types, order, closing."""

from __future__ import annotations

from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from meshlib import Mesh, Workload
from meshlib.adapters.wsgi import MeshMiddleware

MESH = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/denied]}}]}]}
"""


def page(_: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"page"]


@pytest.mark.parametrize(("path", "status"), [("/page", "200 OK"), ("/denied", "403 Forbidden")])
def test_a_peer_that_says_who_it_is_gets_an_answer(path: str, status: str) -> None:
    """In headers of the very type that PEP 3333 wants; of another one wsgiref once made a 500."""
    mesh = Mesh.load(MESH, workload=Workload(namespace="shop", labels={"app": "web"}))
    environ: dict[str, Any] = {
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "HTTP_X_ENVOY_PEER_METADATA_ID": "sidecar~10.0.0.1~a.b~c",
    }
    setup_testing_defaults(environ)
    told: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        told.append((status, dict(headers)))
        return lambda _: None

    body = validator(MeshMiddleware(page, mesh))(environ, start_response)
    assert b"".join(body)
    body.close()  # type: ignore[attr-defined]
    ((found, headers),) = told
    assert found == status
    assert "x-envoy-peer-metadata-id" in headers


class Closing:
    """A body that is an iterator and has something to end, as werkzeug's are."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Closing:
        return self

    def __next__(self) -> bytes:
        return b"part"

    def close(self) -> None:
        self.closed += 1


def test_a_body_that_nobody_reads_to_its_end_is_closed_once() -> None:
    """A client that goes away once had what Flask runs at the end of a response (call_on_close) run twice."""
    environ: dict[str, Any] = {"PATH_INFO": "/page"}
    setup_testing_defaults(environ)
    body = Closing()
    response = iter(MeshMiddleware(lambda *_: body, Mesh.load(MESH))(environ, lambda *_: None))
    assert next(response) == b"part"
    response.close()  # type: ignore[attr-defined]
    assert body.closed == 0  # only the server ends it
    served = MeshMiddleware(lambda *_: body, Mesh.load(MESH))(environ, lambda *_: None)
    parts = iter(served)
    next(parts)
    served.close()  # type: ignore[attr-defined]
    del served, parts
    assert body.closed == 1
