"""Adapters that are given something else than a mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshlib import Mesh
from meshlib.adapters import asgi, wsgi
from meshlib.adapters.aiohttp_web import mesh_middleware
from meshlib.adapters.gateway import MeshGateway
from meshlib.adapters.httpx import MeshTransport
from meshlib.adapters.requests import MeshAdapter
from meshlib.adapters.urllib3 import MeshPoolManager
from meshlib.errors import MeshError
from meshlib.security import server_context

USERS: list[Callable[[Any], object]] = [
    lambda mesh: asgi.MeshMiddleware(lambda *_: None, mesh),  # type: ignore[arg-type,return-value]
    lambda mesh: wsgi.MeshMiddleware(lambda *_: [], mesh),
    mesh_middleware,
    MeshGateway,
    MeshTransport,
    MeshAdapter,
    MeshPoolManager,
]


@pytest.mark.parametrize("use", USERS)
@pytest.mark.parametrize(("given", "words"), [("mesh/", "type str"), (None, "type NoneType"), (Mesh, "the class Mesh")])
def test_what_is_no_mesh_is_one_clear_error(use: Callable[[Any], object], given: object, words: str) -> None:
    """It says what to give instead; once it was an AttributeError about 'runtime'."""
    with pytest.raises(MeshError, match=rf"takes a mesh, not .*{words}.*Mesh\.load"):
        use(given)


def test_a_server_context_of_no_mesh_is_one_clear_error() -> None:
    """A text is a directory there."""
    with pytest.raises(MeshError, match="server_context takes a mesh, not the class Mesh"):
        server_context(Mesh)  # type: ignore[arg-type]
