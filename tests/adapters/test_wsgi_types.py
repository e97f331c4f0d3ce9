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
