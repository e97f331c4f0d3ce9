"""One suite for all servers: the same YAML gives the same answers, whatever serves."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from meshlib import Mesh, Workload
from meshlib.errors import MeshError
from meshlib.events import RequestServed
from meshlib.security import DevelopmentCA, server_context
from tests.adapters.inbound_servers import SERVERS, WEBSOCKET_SERVERS, Serve, decoded
from tests.patience import PATIENCE, wait_until

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
JWKS = json.dumps({"keys": [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k"}]})
WORKLOAD = Workload(namespace="shop", labels={"app": "web"})

POLICIES = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: shop}}
spec:
  jwtRules:
  - issuer: https://issuer.test
    jwks: '{JWKS}'
    outputClaimToHeaders:
    - {{header: x-user, claim: sub}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: deny, namespace: shop}}
spec:
  action: DENY
  rules:
  - to:
    - operation: {{paths: [/admin, /admin/*]}}
  - to:
    - operation: {{paths: [/private*]}}
    from:
    - source: {{notRequestPrincipals: ["*"]}}
  - to:
    - operation: {{paths: [/internal*]}}
    from:
    - source: {{notPrincipals: ["cluster.local/ns/shop/sa/client"]}}
  - to:
    - operation: {{paths: [/office*]}}
    from:
    - source: {{notRemoteIpBlocks: [10.9.0.0/16]}}
  - to:
    - operation: {{methods: [DELETE]}}
"""


def token(key: Any = KEY, **claims: Any) -> str:
    """A token of the issuer, good for longer than the tests take unless the claims say otherwise."""
    claims = {"iss": "https://issuer.test", "sub": "ann", "exp": time.time() + 86_400, **claims}
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "k"})


class Client:
    """Raw requests: nothing of a path or a header is tidied up."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._tls = tls

    def ask(
        self, path: str, *headers: tuple[str, str], method: str = "GET", body: bytes = b""
    ) -> http.client.HTTPResponse:
        kind = http.client.HTTPConnection
        if self._tls is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, context=self._tls, timeout=PATIENCE
            )
        else:
            connection = kind("127.0.0.1", self.port, timeout=PATIENCE)
        connection.putrequest(method, path, skip_host=any(name.lower() == "host" for name, _ in headers))
        for name, value in headers:
            connection.putheader(name, value)
        if body:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        response.content = response.read()  # type: ignore[attr-defined]
        connection.close()
        return response

    def status(self, path: str, *headers: tuple[str, str], **options: Any) -> int:
        return self.ask(path, *headers, **options).status

    def seen(self, path: str, *headers: tuple[str, str], **options: Any) -> dict[str, Any]:
        """What the application saw; the request must have reached it."""
        response = self.ask(path, *headers, **options)
        assert response.status == 200, response.content  # type: ignore[attr-defined]
        return decoded(response.content)  # type: ignore[attr-defined]


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Serve:
    """Each kind of server in turn."""
    return SERVERS[request.param]


@pytest.fixture
def mesh() -> Mesh:
    return Mesh.load(POLICIES, workload=WORKLOAD)


@pytest.fixture
def client(serve: Serve, mesh: Mesh) -> Iterator[Client]:
    with serve(mesh) as port:
        yield Client(port)


@contextmanager
def serving(serve: Serve, yaml: str, **options: Any) -> Iterator[Client]:
    with serve(Mesh.load(yaml, workload=WORKLOAD), **options) as port:
        yield Client(port)


def bearer(value: str) -> tuple[str, str]:
    return "authorization", f"Bearer {value}"


# -- what is let through --------------------------------------------------------------------------


def test_an_allowed_request_reaches_the_application_as_it_is(client: Client) -> None:
    """Method, path, query, headers and body are untouched."""
    seen = client.seen("/a/b?x=1&y=%20", ("x-own", "1"), method="POST", body=b"hello")
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("POST", "/a/b", "x=1&y=%20", "hello")
    assert seen["headers"]["x-own"] == "1"


def test_without_policies_everything_passes(serve: Serve) -> None:
    """An empty mesh is no obstacle."""
    with serving(serve, "kind: List\napiVersion: v1\nitems: []\n") as client:
        assert client.status("/admin") == 200


def test_a_request_id_is_made_and_handed_on(client: Client) -> None:
    """Calls made while serving carry the request id and the trace context."""
    seen = client.seen("/", ("traceparent", "00-1-2-01"))
    assert seen["headers"]["x-request-id"] == seen["handed_on"]["x-request-id"]
    assert seen["handed_on"]["traceparent"] == "00-1-2-01"
    assert client.seen("/", ("x-request-id", "own"))["handed_on"]["x-request-id"] == "own"


def test_a_streamed_response_keeps_its_context(client: Client) -> None:
    """All parts arrive, and each was made in the context of its request."""
    response = client.ask("/stream", ("x-request-id", "r7"))
    assert response.content == b"".join(b"%d r7\n" % number for number in range(5))  # type: ignore[attr-defined]


def test_a_failing_application_is_the_servers_affair(client: Client) -> None:
    """The gate adds nothing to a 500, and the next request is served."""
    assert client.status("/fail") == 500
    assert client.status("/") == 200


# -- who is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT"])
def test_a_denied_path_is_denied_for_every_method(client: Client, method: str) -> None:
    """HEAD and OPTIONS are no way around."""
    response = client.ask("/admin", method=method)
    assert response.status == 403
    assert response.content == (b"" if method == "HEAD" else b"RBAC: access denied")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path",
    [
        "/admin?x=1",
        "/admin/x",
        "/a/../admin",
        "/./admin",
        "/a/%2e%2e/admin",
        "/%61dmin",
        "/a/..;/admin",
        "/a\\..\\admin",
        "/a/..;x=y/admin/z",
        "/%2e/admin",
    ],
)
def test_path_tricks_are_seen_through(client: Client, path: str) -> None:
    """Policies see the path that the application would get."""
    assert client.status(path) == 403


@pytest.mark.parametrize("path", ["//admin", "/%2fadmin", "/a%2f..%2fadmin", "/%5cadmin"])
def test_slash_tricks_are_seen_through_where_the_mesh_says_so(serve: Serve, path: str) -> None:
    """With DECODE_AND_MERGE_SLASHES, as Istio recommends for such applications."""
    config = (
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
        "data:\n  mesh: |\n    pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}\n"
    )
    with serving(serve, POLICIES + config) as client:
        assert client.status(path) == 403


@pytest.mark.parametrize("path", ["/a%00b", "/admin%00"])
def test_a_path_that_is_none_is_a_400(client: Client, path: str) -> None:
    """As Envoy refuses it."""
    assert client.status(path) == 400


def test_the_application_gets_the_normalized_path(client: Client) -> None:
    """What was decided about is what is served, and routed."""
    assert client.seen("/x/../y/./z?q=/../r")["path"] == "/y/z"
    assert client.ask("/a/../stream").content.startswith(b"0 ")  # type: ignore[attr-defined]


def test_several_host_headers_are_refused(client: Client) -> None:
    """Whoever reads the other one would be somebody else."""
    assert client.status("/", ("Host", "a"), ("Host", "b")) == 400


def test_a_method_override_changes_nothing(client: Client) -> None:
    """Policies look at the method, not at what a header says of it."""
    assert client.status("/", method="DELETE") == 403
    assert client.seen("/", ("x-http-method-override", "DELETE"))["method"] == "GET"


# -- tokens ---------------------------------------------------------------------------------------


def test_a_good_token_makes_somebody_of_a_client(client: Client) -> None:
    """Claims and principal are there, the token itself is gone, its claim is a header."""
    seen = client.seen("/private", bearer(token(groups=["a"])))
    assert seen["request_principal"] == "https://issuer.test/ann"
    assert seen["claims"]["groups"] == ["a"]
    assert "authorization" not in seen["headers"]
    assert seen["headers"]["x-user"] == "ann"


def test_no_token_is_nobody(client: Client) -> None:
    """Allowed where nobody is, refused with 403 where somebody must be."""
    assert client.seen("/")["request_principal"] is None
    assert client.status("/private") == 403


@pytest.mark.parametrize(
    ("bad", "body"),
    [
        (lambda: token(OTHER_KEY), b"Jwt verification fails"),
        (lambda: token(exp=time.time() - 120), b"Jwt is expired"),
        (lambda: token(nbf=time.time() + 120), b"Jwt not yet valid"),
        (lambda: token(iss="https://other.test"), b"Jwt issuer is not configured"),
        (lambda: "a.b", b"Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        (
            lambda: jwt.encode({"iss": "https://issuer.test"}, None, algorithm="none") + "x",
            b"Jwt header [alg] is not supported",
        ),
    ],
)
def test_a_bad_token_is_a_401(client: Client, bad: Any, body: bytes) -> None:
    """With Envoy's words, on every path."""
    response = client.ask("/", bearer(bad()), ("host", "web.shop"))
    assert (response.status, response.content) == (401, body)  # type: ignore[attr-defined]
    assert response.headers["www-authenticate"] == 'Bearer realm="http://web.shop/", error="invalid_token"'


def test_a_second_token_must_be_good_too(client: Client) -> None:
    """Two Authorization headers: one good token does not vouch for another."""
    assert client.status("/", bearer(token()), bearer(token(OTHER_KEY))) == 401


def test_headers_of_the_mesh_cannot_be_spoofed(client: Client) -> None:
    """x-user comes from a claim or not at all; X-Forwarded-Client-Cert only from a trusted proxy."""
    forged = ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/client")
    seen = client.seen("/", ("x-user", "root"), forged)
    assert "x-user" not in seen["headers"]
    assert "x-forwarded-client-cert" not in seen["headers"]
    assert seen["principal"] is None
    assert client.status("/internal", forged) == 403


# -- proxies, probes, peers -----------------------------------------------------------------------


def test_a_trusted_proxy_speaks_for_its_client(serve: Serve) -> None:
    """Its last element names the direct client, the rightmost foreign address is the original one."""
    chain = (
        'URI=spiffe://cluster.local/ns/shop/sa/other,By=x;Subject="CN=a,b";URI=spiffe://cluster.local/ns/shop/sa/client'
    )
    with serving(serve, POLICIES, trusted_proxies=["127.0.0.0/8"]) as client:
        seen = client.seen("/internal", ("x-forwarded-client-cert", chain), ("x-forwarded-for", "1.2.3.4, 10.9.1.1"))
        assert seen["principal"] == "cluster.local/ns/shop/sa/client"
        assert seen["client_address"] == "10.9.1.1"
        assert client.status("/office", ("x-forwarded-for", "1.2.3.4, 10.9.1.1")) == 200
        assert client.status("/office", ("x-forwarded-for", "10.9.1.1, 1.2.3.4")) == 403
    with serving(serve, POLICIES) as client:
        assert client.status("/office", ("x-forwarded-for", "10.9.1.1")) == 403
        assert client.seen("/", ("x-forwarded-for", "10.9.1.1"))["client_address"] == "127.0.0.1"


def test_probes_are_let_through_where_the_application_says_so(serve: Serve) -> None:
    """Only reading, and only that very path."""
    kind = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
    policy = kind + "metadata: {name: none, namespace: shop}\nspec: {}\n"
    with serving(serve, policy, health_paths=["/healthz"]) as client:
        assert client.status("/healthz") == 200
        assert client.status("/healthz", method="POST") == 403
        assert client.status("/healthz/") == 403
        assert client.status("/other/../healthz") == 403


STRICT = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""


def test_strict_means_no_plaintext(serve: Serve) -> None:
    """Istio closes such a connection; here it gets a 403."""
    with serving(serve, POLICIES + STRICT) as client:
        assert client.status("/") == 403


def client_context(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(directory / "root-cert.pem")
    context.load_cert_chain(directory / "cert-chain.pem", directory / "key.pem")
    return context


def test_a_peer_is_who_its_certificate_says(serve: Serve, tmp_path: Path) -> None:
    """A real handshake: the identity comes from the connection, and policies go by it."""
    ca = DevelopmentCA.create(tmp_path / "ca")
    ca.issue(tmp_path / "server", namespace="shop", service_account="web")
    for account in ("client", "other"):
        ca.issue(tmp_path / account, namespace="shop", service_account=account)
    mesh = Mesh.load(POLICIES + STRICT, workload=WORKLOAD)
    with serve(mesh, tls=server_context(tmp_path / "server")) as port:
        seen = Client(port, client_context(tmp_path / "client")).seen("/internal")
        assert seen["principal"] == "cluster.local/ns/shop/sa/client"
        assert Client(port, client_context(tmp_path / "other")).status("/internal") == 403


def test_a_peer_of_another_trust_domain_is_refused(serve: Serve, tmp_path: Path) -> None:
    """Its certificate may be good, but it is not of this mesh."""
    ca = DevelopmentCA.create(tmp_path / "ca", trust_domain="elsewhere.org")
    ca.issue(tmp_path / "server")
    with serve(Mesh.load(STRICT, workload=WORKLOAD), tls=server_context(tmp_path / "server")) as port:
        assert Client(port, client_context(tmp_path / "server")).status("/") == 403


# -- running --------------------------------------------------------------------------------------


def test_a_new_configuration_counts_at_once(serve: Serve, mesh: Mesh) -> None:
    """And a bad one changes nothing."""
    with serve(mesh) as port:
        client = Client(port)
        assert client.status("/admin") == 403
        mesh.publish(POLICIES.replace("/admin", "/other"))
        assert (client.status("/admin"), client.status("/other")) == (200, 403)
        with pytest.raises(MeshError):
            mesh.publish("kind: [")
        assert client.status("/other") == 403


def test_every_request_is_reported(serve: Serve, mesh: Mesh) -> None:
    """With what decided, for logs; the client is told nothing of it."""
    events: list[RequestServed] = []
    mesh.observe(events.append, RequestServed)  # type: ignore[arg-type]
    with serve(mesh) as port:
        client = Client(port)
        client.status("/private", bearer(token()))
        wait_until(lambda: len(events) == 1)
        refused = client.ask("/admin/x")
        wait_until(lambda: len(events) == 2)  # a WSGI server closes the response after the client has it
    assert [(event.status, event.decision, event.path) for event in events] == [
        (200, "allow", "/private"),
        (403, "deny", "/admin/x"),
    ]
    assert (events[1].policy, events[1].rule) == ("shop/deny", "0")
    assert events[0].request_principal == "https://issuer.test/ann"
    assert "deny" not in str(refused.headers)


def test_debug_headers_name_the_policy(serve: Serve) -> None:
    """Only where the application asks for it."""
    with serving(serve, POLICIES, debug_headers=True) as client:
        assert client.ask("/admin").headers["x-meshlib-policy"] == "shop/deny"


def test_a_wrong_proxy_is_one_clear_error(mesh: Mesh, serve: Serve) -> None:
    """At start, not at the first request."""
    with pytest.raises(MeshError, match="trusted_proxies: 'nowhere'"), serve(mesh, trusted_proxies=["nowhere"]):
        pass


@pytest.mark.parametrize("kind", WEBSOCKET_SERVERS)
def test_websockets_pass_the_same_gate(mesh: Mesh, kind: str) -> None:
    """A websocket is a request like any other: claims where it is allowed, 401 and 403 where not."""
    import asyncio

    import aiohttp

    async def talk(path: str, value: str | None) -> str | int:
        headers = {"authorization": f"Bearer {value}"} if value else {}
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(f"http://127.0.0.1:{port}{path}", headers=headers) as socket:
                    return str((await socket.receive()).data)
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    with SERVERS[kind](mesh) as port:
        assert asyncio.run(talk("/private", token())) == "https://issuer.test/ann"
        assert asyncio.run(talk("/admin", token())) == 403
        assert asyncio.run(talk("/private", None)) == 403
        assert asyncio.run(talk("/private", token(OTHER_KEY))) == 401
