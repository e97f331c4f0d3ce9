"""The stars of products, a Flask application. It asks `web` what a product is called."""

from __future__ import annotations

from typing import Any

import flask

from meshlib import Mesh
from meshlib.adapters.wsgi import MeshMiddleware


def make_app(mesh: Mesh, version: str, *, flaky: bool = False) -> flask.Flask:
    """The application, governed by ``mesh`` in both directions. A ``flaky`` one answers 503 to everything."""
    app = flask.Flask("ratings")
    app.wsgi_app = MeshMiddleware(app.wsgi_app, mesh)  # type: ignore[method-assign]
    session = mesh.requests()

    @app.route("/ratings/<product>", methods=["GET", "DELETE"])
    def rating(product: str) -> Any:
        if flaky:
            return flask.Response("not today", 503)
        named = session.get(f"http://web/names/{product}").json()
        here = flask.request.environ["meshlib"].request_id
        return {"name": named["name"], "stars": 5, "version": version, "seen by": [here, named["request"]]}

    return app
