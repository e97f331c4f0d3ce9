"""Real applications as upstreams of a simulation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from meshlib import Mesh, MeshError
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware
from meshlib.testing import Simulation
from tests.testing.meshes import LOCKED, RETRIES

VAULT = "http://keys.vault.svc.cluster.local:8080"
WEB = "cluster.local/ns/shop/sa/web"


def _asgi(log: list[str]) -> Starlette:
    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        log.append("up")
        yield
        log.append("down")

    async def key(request: Request) -> Response:
        await asyncio.sleep(2)
        inbound = request.scope.get("mesh")
        return JSONResponse({"by": inbound and inbound.principal, "body": (await request.body()).decode()})

    def blocking(_: Request) -> Response:
        time.sleep(5)
        return PlainTextResponse("slept")

    def broken(_: Request) -> Response:
        raise RuntimeError("a mistake")

    routes = [Route("/keys/1", key, methods=["GET", "POST"]), Route("/keys/2", blocking), Route("/keys/3", broken)]
    return Starlette(routes=routes, lifespan=lifespan)


def test_an_asgi_application_answers_behind_its_own_middleware() -> None:
    """It sees who calls, as behind mutual TLS; its lifespan begins and ends; its sleeps are virtual."""
    log: list[str] = []
    with Simulation(LOCKED) as sim:
        sim.deploy("keys", namespace="vault", port=8080)
        app = _asgi(log)
        app.add_middleware(MeshMiddleware, mesh=sim.mesh_of(sim.service("keys")))  # type: ignore[arg-type]
        sim.app("keys", app)
        call = sim.peer(WEB).get(f"{VAULT}/keys/1")
        assert (call.status, call.json()["by"]) == (200, WEB)
        assert call.latency == pytest.approx(2.001)
        assert sim.peer("cluster.local/ns/shop/sa/other").get(f"{VAULT}/keys/1").status == 403
        assert sim.peer(WEB).request("POST", f"{VAULT}/keys/1", body="hello").status == 403
        blocked = sim.peer(WEB).get(f"{VAULT}/keys/2")
        assert (blocked.text, blocked.latency) == ("slept", pytest.approx(5.001))
        assert log == ["up"]
    assert log == ["up", "down"]


def test_a_mistake_of_an_application_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """Its traceback is in the log."""
    with Simulation() as sim:
        sim.deploy("keys", port=8080)
        sim.app("keys", _asgi([]))
        assert sim.get("http://keys:8080/keys/3").status == 500
    assert "a mistake" in caplog.text


def _wsgi(sim: Simulation | None = None) -> flask.Flask:
    app = flask.Flask("keys")

    @app.route("/keys/1", methods=["GET", "POST"])
    def key() -> Any:
        time.sleep(3)
        inbound = flask.request.environ.get("meshlib")
        return {"by": inbound and inbound.principal, "body": flask.request.get_data(as_text=True)}

    @app.get("/reads")
    def reads() -> Any:
        assert sim is not None
        with sim.mesh_of(sim.service("front")).requests() as session:
            return {"status": session.get(f"{VAULT}/keys/1").status_code}

    return app


def test_a_wsgi_application_answers_behind_its_own_middleware() -> None:
    """In a thread, on virtual time."""
    with Simulation(LOCKED) as sim:
        sim.deploy("keys", namespace="vault", port=8080)
        app = _wsgi()
        app.wsgi_app = WsgiMiddleware(app.wsgi_app, sim.mesh_of(sim.service("keys")))  # type: ignore[method-assign]
        sim.app("keys", app)
        call = sim.peer(WEB).get(f"{VAULT}/keys/1")
        assert (call.status, call.json()["by"]) == (200, WEB)
        assert call.latency == pytest.approx(3.001)
        assert sim.peer("cluster.local/ns/shop/sa/other").get(f"{VAULT}/keys/1").status == 403


def test_applications_call_each_other_with_blocking_clients() -> None:
    """Each from its own workload, on one clock; many at a time, in the same order in every run."""
    texts = []
    for _ in range(2):
        with Simulation(LOCKED, seed=4) as sim:
            sim.deploy("keys", namespace="vault", port=8080)
            sim.deploy("front", namespace="shop", service_account="web", port=80)
            sim.app("keys", _wsgi())
            sim.app("front", _wsgi(sim))
            calls = sim.send("GET", "http://front.shop.svc.cluster.local/reads", times=10, every=0.5)
            assert calls.statuses == {200: 10}
            assert calls[0].json() == {"status": 200}
            assert calls[0].latency == pytest.approx(3.002, abs=1e-6)
            assert sim.now < 9
            texts.append(str(sim.timeline))
    assert texts[0] == texts[1]


def test_what_cannot_be_mounted_is_refused() -> None:
    """Neither what is no application, nor where there is no endpoint."""
    with Simulation() as sim:
        sim.deploy("keys", version="v1", port=8080)
        with pytest.raises(TypeError, match="neither an ASGI nor a WSGI"):
            sim.app("keys", object())
        with pytest.raises(MeshError, match="no endpoint of version v2"):
            sim.app("keys", _wsgi(), version="v2")


def test_the_clock_waits_for_the_threads_of_an_application_that_is_called_directly() -> None:
    """Endpoints without `async` run in anyio's threads; the clock once jumped meanwhile, or the run was stuck."""
    with Simulation() as sim:
        sim.deploy("ratings")

        def stars(_: Request) -> Response:
            time.sleep(30)
            with sim.httpx() as client:
                return PlainTextResponse(str(client.get("http://ratings/").status_code))

        app = Starlette(routes=[Route("/stars", stars)])

        async def ask() -> tuple[str, float]:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
                answer = await client.get("http://web/stars")
                return answer.text, sim.now

        assert sim.run(ask()) == ("200", pytest.approx(30.001))


@pytest.mark.parametrize("where", ["function", "application"])
def test_blocking_code_may_have_threads_of_its_own(where: str) -> None:
    """Their calls are served while it waits for them, at the same time; they once waited for each other for good."""

    def fan_out(mesh: Mesh) -> list[int]:
        with mesh.httpx() as client, ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(client.get, f"http://ratings/{number}") for number in range(2)]
            return [answer.result().status_code for answer in answers]

    with Simulation() as sim:
        sim.deploy("web")
        sim.deploy("ratings").latency(0.3)
        if where == "function":
            assert sim.run(lambda: fan_out(sim.mesh)) == [200, 200]
        else:
            app = flask.Flask(__name__)
            app.add_url_rule("/", view_func=lambda: fan_out(sim.mesh_of(sim.service("web"))))
            sim.app("web", app)
            assert sim.get("http://web/").json() == [200, 200]


def test_an_asynchronous_view_under_wsgi_calls_on_virtual_time() -> None:
    """Its framework runs it on a loop of its own: the timeout of the route ends its call all the same."""
    with Simulation(RETRIES) as sim:
        sim.deploy("web")
        reviews = sim.deploy("reviews", port=9080)
        app = flask.Flask(__name__)

        @app.get("/")
        async def view() -> dict[str, object]:
            async with sim.httpx_async(timeout=None) as client:
                answer = await client.get("http://reviews:9080/")
                return {"status": answer.status_code, "text": answer.text}

        sim.app("web", app)
        reviews.latency(3.0)
        call = sim.get("http://web/")
        assert (call.json()["status"], call.latency) == (200, pytest.approx(3.0, abs=0.01))
        reviews.fail("hang")
        call = sim.get("http://web/")
        assert (call.json()["text"], call.latency) == ("upstream request timeout", pytest.approx(10.0, abs=0.01))


SOURCES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: sources, namespace: vault}
spec:
  action: %s
  rules: [{from: [{source: {%s: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]}}]}]
"""


@pytest.mark.parametrize(
    ("action", "blocks", "status"),
    [
        ("ALLOW", "ipBlocks", 403),
        ("DENY", "ipBlocks", 200),
        ("ALLOW", "notRemoteIpBlocks", 200),
        ("DENY", "notRemoteIpBlocks", 403),
    ],
)
@pytest.mark.parametrize("kind", ["script", "asgi", "wsgi"])
def test_callers_are_at_an_address_that_no_policy_names(kind: str, action: str, blocks: str, status: int) -> None:
    """Applications saw one of 10.0.0.0/8, and were open to whom a script in their place refused."""
    with Simulation(SOURCES % (action, blocks)) as sim:
        sim.deploy("keys", namespace="vault", port=8080)
        mesh = sim.mesh_of(sim.service("keys"))
        if kind == "asgi":
            sim.app("keys", MeshMiddleware(_asgi([]), mesh))
        elif kind == "wsgi":
            app = flask.Flask("keys")
            app.add_url_rule("/keys/1", view_func=lambda: "key")
            sim.app("keys", WsgiMiddleware(app.wsgi_app, mesh))
        assert sim.peer(WEB).get(f"{VAULT}/keys/1").status == status
