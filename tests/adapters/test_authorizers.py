"""External authorizers (CUSTOM) behind every server: what they are asked, and what their answers do."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from meshlib import Mesh
from tests.adapters.inbound_servers import SERVERS, Serve
from tests.adapters.test_inbound import JWKS, WORKLOAD, Client, bearer, token
from tests.patience import PATIENCE
from tests.ports import closed_port


class Check(NamedTuple):
    """What the authorizer was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Authorizer(ThreadingHTTPServer):
    """Answers as told; ``answer`` is status, headers and body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.checks: list[Check] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.hold: threading.Event | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Authorizer

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.checks.append(Check(self.command, self.path, headers, body))
        if self.server.hold is not None:
            self.server.hold.wait(PATIENCE)
            return
        status, answered, content = self.server.answer
        self.send_response(status)
        for name, value in answered.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_OPTIONS = answer  # noqa: N815 - names of the standard library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
        """Nothing."""


@pytest.fixture
def authorizer() -> Iterator[Authorizer]:
    server = Authorizer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    if server.hold is not None:
        server.hold.set()
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE)


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Serve:
    """Each kind of server in turn."""
    return SERVERS[request.param]


def config(port: int, more: str = "", **provider: Any) -> str:
    """Everything under /guarded is asked about."""
    settings = {"service": "authz.test", "port": port, **provider}
    mesh = {"extensionProviders": [{"name": "own", "envoyExtAuthzHttp": settings}]}
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: '{json.dumps(mesh)}'
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: authz, namespace: shop}}
spec:
  hosts: [authz.test]
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: ask, namespace: shop}}
spec:
  action: CUSTOM
  provider: {{name: own}}
  rules:
  - to:
    - operation: {{paths: [/guarded*, /stream]}}
{more}"""


@contextmanager
def serving(serve: Serve, authorizer: Authorizer, more: str = "", **provider: Any) -> Iterator[Client]:
    yaml = config(provider.pop("port", None) or authorizer.server_address[1], more, **provider)
    with serve(Mesh.load(yaml, workload=WORKLOAD)) as port:
        yield Client(port)


def test_a_yes_lets_the_request_through(serve: Serve, authorizer: Authorizer) -> None:
    """With the headers that the provider lists for the application, in place of those that came."""
    authorizer.answer = (200, {"x-user": "ann", "x-own-1": "a", "x-secret": "s"}, b"ignored")
    with serving(serve, authorizer, headersToUpstreamOnAllow=["X-User", "x-own-*"]) as client:
        seen = client.seen("/guarded", ("x-user", "root"), ("x_user", "root"), ("x-kept", "k"))
        assert "root" not in seen["headers"].values()
        assert (seen["headers"]["x-user"], seen["headers"]["x-own-1"], seen["headers"]["x-kept"]) == ("ann", "a", "k")
        assert "x-secret" not in seen["headers"]
        assert len(authorizer.checks) == 1
        client.seen("/open")
        assert len(authorizer.checks) == 1


def test_what_is_asked(serve: Serve, authorizer: Authorizer) -> None:
    """Method, normalized path behind the prefix, host, listed headers and added ones; no body unless asked for."""
    provider = {
        "pathPrefix": "/check",
        "includeRequestHeadersInCheck": ["x-a", "X-B-*"],
        "includeAdditionalHeadersInCheck": {"x-from": "mesh"},
    }
    with serving(serve, authorizer, **provider) as client:
        headers = [("x-a", "1"), ("x-b-c", "2"), ("x-c", "3"), ("authorization", "Basic x"), ("host", "web.shop:80")]
        client.seen("/x/../guarded/%61?q=1", *headers, method="POST", body=b"hello")
    check = authorizer.checks[0]
    assert (check.method, check.path, check.body) == ("POST", "/check/guarded/a?q=1", b"")
    expected = {"host": "web.shop:80", "x-a": "1", "x-b-c": "2", "authorization": "Basic x", "x-from": "mesh"}
    assert check.headers == {**expected, "content-length": "0"}


@pytest.mark.parametrize("value", ["Bearer \xe2\x82\xac", "Bearer \xff", "Bearer \xc3\xa4"])
def test_no_byte_of_a_client_keeps_an_authorizer_from_being_asked(
    serve: Serve, authorizer: Authorizer, value: str
) -> None:
    """It sees them as they came. They could not be sent, which was taken for an outage: failOpen let them in."""
    authorizer.answer = (403, {}, b"no")
    with serving(serve, authorizer, failOpen=True) as client:
        assert client.status("/guarded", ("authorization", value)) == 403
    assert [check.headers["authorization"] for check in authorizer.checks] == [value]


def test_a_path_that_is_no_ascii_is_asked_about(serve: Serve, authorizer: Authorizer) -> None:
    """Escaped, as it could have been sent."""
    authorizer.answer = (403, {}, b"no")
    with (
        serving(serve, authorizer, failOpen=True) as client,
        socket.create_connection(("127.0.0.1", client.port)) as connection,
    ):
        connection.settimeout(PATIENCE)
        connection.sendall(b"GET /guarded/\xff HTTP/1.1\r\nHost: web.shop\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ", 2)[1] in (b"400", b"403")
    assert {check.path.lower() for check in authorizer.checks} <= {"/guarded/%ff", "/guarded/%ef%bf%bd"}


def test_a_no_is_the_authorizers_own_answer(serve: Serve, authorizer: Authorizer) -> None:
    """Status, body, the usual headers and the listed ones."""
    answered = {"location": "http://login.test/", "x-why": "no", "x-inner": "1", "content-type": "text/html"}
    authorizer.answer = (302, answered, b"<a>log in</a>")
    with serving(serve, authorizer, headersToDownstreamOnDeny=["x-why", "content-type"]) as client:
        response = client.ask("/guarded")
    assert (response.status, response.content) == (302, b"<a>log in</a>")  # type: ignore[attr-defined]
    found = {name.lower(): value for name, value in response.getheaders()}
    assert found["location"] == "http://login.test/"
    assert (found["x-why"], found["content-type"]) == ("no", "text/html")
    assert "x-inner" not in found


@pytest.mark.parametrize("path", ["/guarded", "/stream"])
def test_a_yes_may_add_to_the_response(serve: Serve, authorizer: Authorizer, path: str) -> None:
    """The listed headers, also to a response that is streamed; what the application says itself stays."""
    authorizer.answer = (200, {"set-cookie": "session=1", "x-inner": "1"}, b"")
    with serving(serve, authorizer, headersToDownstreamOnAllow=["set-cookie"]) as client:
        response = client.ask(path)
    assert response.status == 200
    assert response.headers.get_all("set-cookie") == ["session=1"]
    assert response.headers["x-inner"] is None


@pytest.mark.parametrize(
    ("provider", "status"), [({}, 403), ({"statusOnError": "503"}, 503), ({"failOpen": True}, 200)]
)
@pytest.mark.parametrize("how", ["error", "silence", "absence"])
def test_an_authorizer_that_fails(
    serve: Serve, authorizer: Authorizer, provider: dict[str, Any], status: int, how: str
) -> None:
    """An error of its own, no answer in time, no connection: 403, unless the provider says otherwise."""
    if how == "error":
        authorizer.answer = (500, {}, b"")
    if how == "silence":
        authorizer.hold = threading.Event()
    port = closed_port() if how == "absence" else None
    with serving(serve, authorizer, timeout="0.2s", port=port, **provider) as client:
        assert client.status("/guarded") == status
        assert client.status("/open") == 200


@pytest.mark.parametrize(
    ("limit", "sent", "status"),
    [
        ({"maxRequestBytes": 100}, b"hello", 200),
        ({"maxRequestBytes": 5}, b"hello", 200),
        ({"maxRequestBytes": 4}, b"", 413),
        ({"maxRequestBytes": 4, "allowPartialMessage": True}, b"hell", 200),
    ],
)
def test_the_body_is_shown_where_it_is_asked_for(
    serve: Serve, authorizer: Authorizer, limit: dict[str, Any], sent: bytes, status: int
) -> None:
    """Up to the limit; the application still gets all of it."""
    with serving(serve, authorizer, includeRequestBodyInCheck=limit) as client:
        response = client.ask("/guarded", method="POST", body=b"hello")
        assert response.status == status
        if status == 200:
            assert authorizer.checks[0].body == sent
            assert json.loads(response.content)["body"] == "hello"  # type: ignore[attr-defined]
        else:
            assert authorizer.checks == []


def test_a_chunked_body_is_shown_and_kept(serve: Serve, authorizer: Authorizer) -> None:
    """Its length is not known before."""
    with serving(serve, authorizer, includeRequestBodyInCheck={"maxRequestBytes": 100}) as client:
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=PATIENCE)
        connection.request("POST", "/guarded", iter([b"hel", b"lo"]), encode_chunked=True)
        response = connection.getresponse()
        assert json.loads(response.read())["body"] == "hello"
        connection.close()
    assert authorizer.checks[0].body == b"hello"


TOKENS = f"""
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: shop}}
spec:
  jwtRules: [{{issuer: "https://issuer.test", jwks: '{JWKS}'}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: known, namespace: shop}}
spec:
  rules:
  - from: [{{source: {{requestPrincipals: ["https://issuer.test/ann"]}}}}]
"""


def test_the_authorizer_comes_before_tokens(serve: Serve, authorizer: Authorizer) -> None:
    """It may make the token that is then verified; a bad one is refused after it said yes (semantics 0)."""
    authorizer.answer = (200, {"authorization": f"Bearer {token()}"}, b"")
    with serving(serve, authorizer, TOKENS, headersToUpstreamOnAllow=["authorization"]) as client:
        seen = client.seen("/guarded", ("cookie", "session=1"))
        assert seen["request_principal"] == "https://issuer.test/ann"
        assert "authorization" not in seen["headers"]
        authorizer.answer = (200, {"authorization": "Bearer x.y.z"}, b"")
        assert client.status("/guarded", bearer(token())) == 401
        authorizer.answer = (418, {}, b"")
        assert client.status("/guarded", bearer("x.y.z")) == 418


DRY_RUN = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: planned, namespace: shop, annotations: {istio.io/dry-run: "true"}}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: [/old*]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: list, namespace: shop, annotations: {istio.io/dry-run: "true"}}
spec:
  rules: [{to: [{operation: {paths: [/new*]}}]}]
"""


def test_policies_in_dry_run_are_counted(serve: Serve) -> None:
    """They decide nothing, and the metrics say what they would have done, and which of them."""
    mesh = Mesh.load(DRY_RUN, workload=WORKLOAD)
    metrics = mesh.metrics(CollectorRegistry())
    with serve(mesh) as port:
        client = Client(port)
        for path in ("/old", "/old/x", "/new"):
            assert client.status(path) == 200

    def count(action: str, result: str, policy: str) -> float:
        return metrics.value("meshlib_authorization_dry_runs_total", action=action, result=result, policy=policy)

    assert count("deny", "denied", "shop/planned") == 2
    assert count("deny", "allowed", "") == 1
    assert count("allow", "denied", "") == 2
    assert count("allow", "allowed", "shop/list") == 1
    assert 'meshlib_authorization_dry_runs_total{action="deny",policy="shop/planned",result="denied"} 2' in (
        metrics.text()
    )
