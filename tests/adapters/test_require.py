"""Requirements of single handlers (``@mesh.require`` in FastAPI, Flask and aiohttp.web), and ``mesh.authorize``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import flask
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer as AiohttpServer
from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from meshlib import ForbiddenError, Inbound, Mesh, MeshError, Workload
from meshlib._context import serving
from meshlib.adapters.aiohttp_web import mesh_middleware
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware
from tests.adapters.test_inbound import JWKS, POLICIES, STRICT, WORKLOAD, token

ANN = {"authorization": f"Bearer {token(groups=['staff', 'admins'], level=7, org={'unit': 'sales'})}"}
BOB = {"authorization": f"Bearer {token(sub='bob', groups='guests')}"}


@pytest.fixture
def mesh() -> Mesh:
    return Mesh.load(POLICIES, workload=WORKLOAD)


# -- what is asked for ------------------------------------------------------------------------------------


def judged(mesh: Mesh, inbound: Inbound | None, **asked: Any) -> bool:
    requirement = mesh.require(**asked)
    token = serving.set(inbound)
    try:
        return requirement.check() is inbound
    except ForbiddenError:
        return False
    finally:
        serving.reset(token)


PEER = Inbound(principal="cluster.local/ns/shop/sa/client")
USER = Inbound(
    request_principal="https://issuer.test/ann",
    claims={
        "iss": "https://issuer.test",
        "sub": "ann",
        "groups": ["staff", "admins"],
        "org": {"unit": "sales"},
        "n": 7,
    },
)
BOTH = Inbound(principal=PEER.principal, request_principal=USER.request_principal, claims=USER.claims)


@pytest.mark.parametrize(
    ("asked", "peer", "user", "both"),
    [
        ({"jwt": True}, False, True, True),
        ({"jwt": "https://issuer.test/ann"}, False, True, True),
        ({"jwt": ["https://other.test/*", "https://issuer.test/*"]}, False, True, True),
        ({"jwt": "https://issuer.test/bob"}, False, False, False),
        ({"principals": "*"}, True, False, True),
        ({"principals": "cluster.local/ns/shop/*"}, True, False, True),
        ({"principals": ["cluster.local/ns/other/sa/x", "*/sa/client"]}, True, False, True),
        ({"principals": "cluster.local/ns/other/*"}, False, False, False),
        ({"claims": {"groups": "admins"}}, False, True, True),
        ({"claims": {"groups": ["guests", "adm*"]}}, False, True, True),
        ({"claims": {"groups": "guests"}}, False, False, False),
        ({"claims": {("org", "unit"): "sales"}}, False, True, True),
        ({"claims": {"groups": "staff", ("org", "unit"): "it"}}, False, False, False),
        ({"claims": {"n": "7"}}, False, False, False),
        ({"claims": {"absent": "*"}}, False, False, False),
        ({"jwt": True, "principals": "*", "claims": {"groups": "staff"}}, False, False, True),
    ],
)
def test_all_that_is_asked_for_must_hold(mesh: Mesh, asked: dict[str, Any], peer: bool, user: bool, both: bool) -> None:
    """In the forms of AuthorizationPolicy; who is not known at all never passes."""
    assert [judged(mesh, one, **asked) for one in (PEER, USER, BOTH)] == [peer, user, both]
    assert not judged(mesh, Inbound(), **asked)
    assert not judged(mesh, None, **asked)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"jwt": False},
        {"jwt": []},
        {"jwt": ""},
        {"principals": []},
        {"claims": {}},
        {"claims": {"groups": []}},
        {"claims": {"groups": [7]}},
        {"claims": {"a]b": "x"}},
        {"claims": {"": "x"}},
        {"claims": {(): "x"}},
        {"claims": {5: "x"}},
        {"claims": {("a", 5): "x"}},
        {"claims": {"a": 5}},
        {"claims": ["a"]},
        {"claims": "a"},
        {"jwt": 1},
        {"principals": True},
        {"principals": "spiffe://cluster.local/ns/shop/sa/client"},
    ],
)
def test_a_requirement_that_asks_for_nothing_is_an_error(mesh: Mesh, asked: dict[str, Any]) -> None:
    """At start, and never an open door."""
    with pytest.raises(MeshError, match=r"mesh\.require: "):
        mesh.require(**asked)


class Page:
    """Of whatever framework; its instances can be called."""

    async def __call__(self) -> str:
        return "in"


def test_the_request_of_flask_is_no_function(mesh: Mesh) -> None:
    """Though it looks like one."""
    with flask.Flask("app").test_request_context(), pytest.raises(MeshError, match="not a LocalProxy"):
        mesh.require(jwt=True)(flask.request)


@pytest.mark.parametrize("wrong", [Page, object(), "view", 5])
def test_what_is_no_function_cannot_be_guarded(mesh: Mesh, wrong: Any) -> None:
    """A framework that calls a requirement with its request would take the function that came back for a yes."""
    with pytest.raises(MeshError, match=r"mesh\.require guards functions, not (the class Page|a object|a str|a int)"):
        mesh.require(jwt=True)(wrong)


def test_objects_that_are_called_are_guarded(mesh: Mesh) -> None:
    """An asynchronous one stays so: frameworks look at it."""
    guarded = mesh.require(jwt=True)(Page())
    assert asyncio.iscoroutinefunction(guarded)
    with pytest.raises(ForbiddenError):
        asyncio.run(guarded())


def test_trust_domains_of_the_mesh_stand_for_each_other(mesh: Mesh) -> None:
    """As in policies, and as the configuration says that is in force."""
    config = (
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
        "data:\n  mesh: |\n    trustDomain: new.org\n    trustDomainAliases: [old.org]\n"
    )
    requirement = mesh.require(principals="cluster.local/ns/shop/sa/client")
    token = serving.set(Inbound(principal="old.org/ns/shop/sa/client"))
    try:
        with pytest.raises(ForbiddenError):
            requirement.check()
        mesh.publish(POLICIES + config)
        assert requirement.check().service_account == "client"
    finally:
        serving.reset(token)


# -- in frameworks ------------------------------------------------------------------------------------------


def test_fastapi_dependencies_and_decorators(mesh: Mesh) -> None:
    """As a parameter, as a dependency of the route, around sync and async handlers; 403 is FastAPI's own."""
    app = FastAPI()
    admins = mesh.require(claims={"groups": "admins"})

    @app.get("/parameter")
    def parameter(inbound: Inbound = Depends(admins), n: int = 1) -> Any:  # noqa: B008 - FastAPI's way
        return {"who": inbound.request_principal, "n": n}

    @app.get("/route", dependencies=[Depends(admins)])
    async def route() -> Any:
        return {}

    @app.get("/sync/{item}")
    @mesh.require(jwt=True)
    def sync(item: int) -> Any:
        return {"item": item}

    @app.get("/async/{item}")
    @admins
    async def asynchronous(item: int, q: str = "") -> Any:
        return {"item": item, "q": q}

    app.add_middleware(AsgiMiddleware, mesh=mesh)
    client = TestClient(app)
    assert client.get("/parameter?n=2", headers=ANN).json() == {"who": "https://issuer.test/ann", "n": 2}
    assert client.get("/async/3?q=x", headers=ANN).json() == {"item": 3, "q": "x"}
    assert client.get("/sync/3", headers=BOB).json() == {"item": 3}
    for path in ("/parameter", "/route", "/async/1"):
        assert client.get(path, headers=ANN).status_code == 200
        refused = client.get(path, headers=BOB)
        assert (refused.status_code, refused.json()) == (403, {"detail": "RBAC: access denied"})
    assert client.get("/sync/3").status_code == 403
    assert not [one for one in app.openapi()["paths"]["/parameter"]["get"]["parameters"] if one["name"] != "n"]


def test_an_application_may_answer_as_it_likes(mesh: Mesh) -> None:
    """The refusal is our own error too, and says why for the logs."""
    app = FastAPI()
    reasons: list[str] = []

    @app.exception_handler(ForbiddenError)
    async def answer(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ForbiddenError)
        reasons.append(error.reason)
        return JSONResponse({"no": True}, 418)

    @app.get("/", dependencies=[Depends(mesh.require(claims={"groups": "admins"}))])
    async def index() -> Any:
        return {}

    app.add_middleware(AsgiMiddleware, mesh=mesh)
    assert TestClient(app).get("/", headers=BOB).status_code == 418
    assert reasons == ["the request is not as required: when: claim groups in [admins] does not hold"]


def test_without_the_middleware_nobody_is_let_through(mesh: Mesh) -> None:
    """A forgotten middleware closes the door instead of opening it."""
    app = FastAPI()

    @app.get("/", dependencies=[Depends(mesh.require(jwt=True))])
    async def index() -> Any:
        return {}

    with pytest.raises(ForbiddenError, match="no request is being served"):
        TestClient(app).get("/", headers=ANN)


def test_flask_views(mesh: Mesh) -> None:
    """403 is Flask's own, with its error handlers."""
    app = flask.Flask("views")

    @app.get("/<int:item>")
    @mesh.require(claims={"groups": "admins"})
    def view(item: int) -> Any:
        return {"item": item}

    app.wsgi_app = WsgiMiddleware(app.wsgi_app, mesh)  # type: ignore[method-assign]
    client = app.test_client()
    # A response that is not closed is still being served, as far as WSGI knows.
    with client.get("/3", headers=ANN) as admitted:
        assert admitted.json == {"item": 3}
    with client.get("/3", headers=BOB) as refused:
        assert (refused.status_code, "RBAC: access denied" in refused.text) == (403, True)


def test_flask_error_handlers(mesh: Mesh) -> None:
    """By status, as for any other error."""
    app = flask.Flask("handlers")
    app.register_error_handler(403, lambda error: (f"own: {error}", 403))

    @app.get("/")
    @mesh.require(jwt=True)
    def view() -> str:
        return "in"

    app.wsgi_app = WsgiMiddleware(app.wsgi_app, mesh)  # type: ignore[method-assign]
    with app.test_client().get("/") as refused:
        assert refused.text.startswith("own: the request is not as required: from: request principal")


def test_aiohttp_handlers(mesh: Mesh) -> None:
    """403 is aiohttp's own."""

    @mesh.require(jwt=True)
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="in")

    async def run() -> list[tuple[int, str]]:
        app = web.Application(middlewares=[mesh_middleware(mesh)])
        app.router.add_get("/", handler)
        async with AiohttpClient(AiohttpServer(app)) as client:
            answers = [await client.get("/", headers=headers) for headers in (ANN, {})]
            return [(answer.status, await answer.text()) for answer in answers]

    assert asyncio.run(run()) == [(200, "in"), (403, "RBAC: access denied")]


# -- the façade ---------------------------------------------------------------------------------------------


def test_a_mesh_says_whether_it_would_let_a_request_in(mesh: Mesh) -> None:
    """Without any server: status, policy, rule and reason."""
    found = mesh.authorize("GET", "http://web.shop:8080/a/../admin/x?q=1")
    assert (found.allowed, found.status, found.policy, found.rule) == (False, 403, "shop/deny", 0)
    assert str(found) == "denied (403) by AuthorizationPolicy shop/deny, rule 0: a rule of a DENY policy matches"
    assert mesh.authorize("GET", "http://web.shop/").allowed
    assert not mesh.authorize("DELETE", "http://web.shop/").allowed
    assert mesh.authorize("GET", "http://web.shop/internal", principal="cluster.local/ns/shop/sa/client").allowed
    assert not mesh.authorize("GET", "http://web.shop/internal", principal="cluster.local/ns/shop/sa/other").allowed
    assert mesh.authorize("GET", "http://web.shop/office", source_ip="10.9.0.1").allowed


def test_tokens_and_claims_can_be_given(mesh: Mesh) -> None:
    """A token is verified as by a server; claims are taken for verified ones."""
    found = mesh.authorize("GET", "http://web.shop/private", headers=ANN)
    assert (found.allowed, found.request_principal) == (True, "https://issuer.test/ann")
    assert ("x-user", "ann") in found.set_headers
    assert "authorization" in found.removed_headers
    expired = {"Authorization": f"Bearer {token(exp=time.time() - 100)}"}
    assert mesh.authorize("GET", "http://web.shop/private", headers=expired).body == b"Jwt is expired"
    assert mesh.authorize("GET", "http://web.shop/private", claims={"iss": "a", "sub": "b"}).allowed
    remote = Mesh.load(POLICIES.replace(f"jwks: '{JWKS}'", "jwksUri: https://keys.test"), workload=WORKLOAD)
    assert remote.authorize("GET", "http://web.shop/private", headers=ANN).status == 401
    assert remote.authorize("GET", "http://web.shop/private", headers=ANN, jwks={"https://keys.test": JWKS}).allowed


def test_another_workload_and_the_connection_can_be_asked_about() -> None:
    """STRICT refuses plaintext; a workload of another namespace has other policies."""
    mesh = Mesh.load(POLICIES + STRICT, workload=WORKLOAD)
    assert not mesh.authorize("GET", "http://web.shop/").allowed
    assert mesh.authorize("GET", "http://web.shop/", principal="cluster.local/ns/a/sa/b").allowed
    assert mesh.authorize("GET", "http://web.shop/admin", workload=Workload(namespace="other")).allowed


@pytest.mark.parametrize(
    ("principal", "allowed"),
    [("cluster.local/ns/a/sa/b", True), ("cluster.local", False), ("cluster.local.evil/ns/a/sa/b", False)],
)
def test_a_peer_is_of_the_trust_domain_that_its_id_begins_with(principal: str, allowed: bool) -> None:
    """A sidecar wants ``spiffe://cluster.local/`` with that slash: the bare domain is no identity."""
    assert Mesh.load(STRICT, workload=WORKLOAD).authorize("GET", "http://a/", principal=principal).allowed is allowed


@pytest.mark.parametrize("url", ["/admin", "web.shop", "ftp://a/", "http://[", "http://a:99999/"])
def test_what_is_no_url_is_an_error(mesh: Mesh, url: str) -> None:
    """Said before anything is decided."""
    with pytest.raises(ValueError, match="URL"):
        mesh.authorize("GET", url)
