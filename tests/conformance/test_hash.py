"""Consistent hashing: the endpoint that a real Envoy picks for each value."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib import Mesh
from meshlib._drivers import drive
from meshlib._http import Headers
from meshlib.mesh import request_head
from meshlib.testing import SyncScriptedTransport
from tests.corpus import load_corpus

GROUPS = load_corpus("balancing/hash.json")["groups"]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["id"])
def test_picks(group: dict[str, Any]) -> None:
    """Through the whole engine: route, hash, table."""
    mesh = Mesh.load(group["resources"])
    got = {value: pick(mesh, group["key"], value) for value in group["picks"]}
    assert got == group["picks"]


def pick(mesh: Mesh, key: str, value: str) -> int | None:
    url, headers = "http://h.example.com/", {}
    match key:
        case "httpHeaderName":
            headers["user"] = value
        case "httpCookie":
            headers["cookie"] = f"user={value}"
        case _:
            url += f"?user={value}"
    head = request_head("GET", url, headers)
    exchange = mesh.runtime.begin(head, Headers(head.headers), lambda: True)
    drive(exchange.steps(), transport := SyncScriptedTransport(200))
    exchange.finish()
    endpoint = transport.sends[0].endpoint
    return endpoint.port if endpoint is not None else None
