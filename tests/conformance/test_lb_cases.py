"""The pinned cases of balancing: warm-up, what is hashed, which cookie is issued, what overflows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh
from meshlib._drivers import adrive
from meshlib._engine.balancing.slow_start import warmup_factor
from meshlib._engine.request_hash import hash_request
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.routes import Forward
from meshlib.mesh import request_head
from meshlib.testing import ScriptedTransport, VirtualClock, run_virtual
from tests.conformance.test_localities import REGISTRY
from tests.corpus import CORPUS


def cases() -> list[Any]:
    if not CORPUS.is_dir():
        return []
    every = json.loads((CORPUS.parent / "semantics-cases.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["id"]) for case in every if case["area"] == "lb"]


def load(config: str) -> Mesh:
    return Mesh.load(config + REGISTRY.format(endpoints="[{address: 10.0.0.1}]"), clock=VirtualClock())


@pytest.mark.parametrize("case", cases())
def test_pinned_case(case: dict[str, Any]) -> None:
    """Whichever of its answers a case gives."""
    mesh, given, expect = load(case["config"]), case["given"], case["expect"]
    if "weight_factor" in expect:
        live = next(one for name, one in mesh.runtime.clusters().items() if name.endswith("a.example.com"))
        warmup = getattr(live.cluster.policy.balancer, "warmup", None)
        factor = 1.0 if warmup is None else warmup_factor(warmup, given["seconds_since_added"])
        assert factor == pytest.approx(expect["weight_factor"])
    elif "requests" in given:
        hashed = [hash_of(mesh, request["headers"]) for request in given["requests"]]
        if "same_hash" in expect:
            assert len({value for value, _ in hashed}) == 1
        if "hash" in expect:
            assert hashed[0][0] is expect["hash"]
        if expect.get("set_cookie") is None:
            assert all(cookies == () for _, cookies in hashed)
        else:
            (cookie,) = hashed[0][1]
            wanted = expect["set_cookie"]
            assert cookie.startswith(f"{wanted['name']}=")
            assert f"Max-Age={wanted['max_age']}; Path={wanted['path']}" in cookie
    else:
        assert overflow(mesh, given["active_requests"]) == (expect["status"], expect["flags"])


def hash_of(mesh: Mesh, headers: Any) -> tuple[int | None, tuple[str, ...]]:
    head = RequestHead("GET", "http", "a.example.com", "/", Headers(headers), port=80)
    host = mesh.runtime.published.find_host(head)
    assert host is not None
    route = host.match(head)
    assert route is not None
    assert isinstance(route.action, Forward)
    found = hash_request(route.action.hash_keys, head, mesh.runtime.chance)
    return found.value, found.cookies


def overflow(mesh: Mesh, active: int) -> tuple[int, list[str]]:
    """What the next request gets while ``active`` others are on their way."""
    exchanges = []
    for _ in range(active + 1):
        head = request_head("GET", "http://a.example.com/", {})
        exchange = mesh.runtime.begin(head, Headers(head.headers), lambda: True)
        assert isinstance(mesh.runtime.clock, VirtualClock)
        reply = run_virtual(adrive(exchange.steps(), ScriptedTransport(200)), mesh.runtime.clock)
        exchanges.append((reply.status, list(exchange.flags)))
    assert {status for status, _ in exchanges[:-1]} <= {200}
    return exchanges[-1]
