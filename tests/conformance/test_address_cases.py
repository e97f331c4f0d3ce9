"""The pinned cases of area address: the client behind proxies, as gateways and workloads see it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest

from meshlib import Mesh, Workload
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.adapters.gateway import MeshGateway
from tests.adapters.contract.servers import Loop, Upstream
from tests.adapters.gateway_servers import GATEWAY, INGRESS, service
from tests.conformance.test_routing_semantics import cases
from tests.corpus import corpus_path

ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{route: [{destination: {host: app.test}}]}]
"""


def test_the_corpus_is_there() -> None:
    """One clear skip where it is not."""
    assert corpus_path("../semantics-cases.json").is_file()


def scope_of(given: Any) -> dict[str, Any]:
    """A request from the peer of a case, with what proxies say of its client."""
    forwarded = [] if given["xff"] is None else [(b"x-forwarded-for", given["xff"].encode())]
    return {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "http_version": "1.1",
        "headers": [(b"host", b"shop.example.com"), *forwarded],
        "client": (given["peer"], 5000),
        "server": ("127.0.0.1", 80),
    }


class Arriving:
    """A request without a body, whose client then stays."""

    def __init__(self) -> None:
        self._is_over = False

    async def __call__(self) -> dict[str, Any]:
        if self._is_over:
            await asyncio.Event().wait()
        self._is_over = True
        return {"type": "http.request", "body": b"", "more_body": False}


def forwarded_parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


@pytest.mark.parametrize("case", [one for one in cases("address") if one.values[0]["given"]["role"] == "gateway"])
def test_gateway(case: Any) -> None:
    """The gateway tells its upstream the client and the chain of proxies."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask(mesh: Mesh) -> None:
        app = MeshGateway(mesh, port=80)
        await app(scope_of(case["given"]), Arriving(), send)
        await app.aclose()

    with closing(Loop()) as loop, closing(Upstream(loop, None)) as upstream:
        config = f"{case['config']}\n---\n{GATEWAY}{service('app', upstream.port)}{ROUTE}"
        loop.run(ask(Mesh.load(config, workload=INGRESS)))
    assert sent[0]["status"] == 200
    (seen,) = upstream.seen
    assert seen.headers["x-envoy-external-address"] == case["expect"]["client_address"]
    if "xff_out" in case["expect"]:
        found = forwarded_parts(seen.headers["x-forwarded-for"])
        assert found == forwarded_parts(case["expect"]["xff_out"])


@pytest.mark.parametrize("case", [one for one in cases("address") if one.values[0]["given"]["role"] != "gateway"])
def test_workload(case: Any) -> None:
    """A workload believes the proxy before it, which has to be named here, and passes the chain on as it came."""
    given, expect = case["given"], case["expect"]
    mesh = Mesh.load(case["config"], workload=Workload(namespace="shop", labels={"app": "web"}))
    found: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append((scope["mesh"].client_address, dict(scope["headers"]).get(b"x-forwarded-for")))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        pass

    guarded = MeshMiddleware(application, mesh=mesh, trusted_proxies=[given["peer"]])
    with closing(Loop()) as loop:
        loop.run(guarded(scope_of(given), Arriving(), send))
    ((address, forwarded),) = found
    assert address == expect["client_address"]
    assert forwarded == (expect["xff_out"].encode() if "xff_out" in expect else None)
