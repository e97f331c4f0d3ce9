"""The authorization tables once more, through the middlewares that applications have: ASGI and WSGI.

What a table only says is made real: a principal is a certificate, claims are a signed token, a client
behind a proxy is X-Forwarded-For. Left to the tests of the engine are connections without HTTP and
what an external authorizer would answer.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import jwt
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from meshlib import Mesh, Workload
from meshlib._engine.inbound import trusts_peer
from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._http import Headers, RequestHead
from meshlib._inbound.gate import _managers
from meshlib._inbound.keys import KeyManager
from meshlib._inbound.targets import problem_of
from meshlib._snapshot.authentication import KeyOrigin
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware
from tests.conformance.authz_corpus import NOW, Case, entry_of, given_keys, mesh_document, token_text
from tests.corpus import corpus_path, has_corpus, load_corpus

SIGNER = ed25519.Ed25519PrivateKey.generate()
SIGNER_JWK = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(SIGNER.public_key()))
LEAF = ec.generate_private_key(ec.SECP256R1())
TOKEN_HEADER = "x-test-token"
TABLES = {"authz/requests.json": "cases", "authz/integration.json": "groups", "authz/variations.json": "groups"}


def groups() -> Iterator[Any]:
    for table, key in TABLES.items():
        if not has_corpus(table):
            yield pytest.param("", 0, id=table, marks=pytest.mark.skip(reason=f"conformance corpus not found: {table}"))
            continue
        for index, group in enumerate(load_corpus(table)[key]):
            yield pytest.param(table, index, id=group.get("id") or f"{group['policy']}-{group['test']}")


class CorpusKeys(KeyManager):
    """The key sets of the corpus, and no others."""

    def __init__(self, table: str, index: int) -> None:
        super().__init__()
        self._given = given_keys(table, index)

    def find(self, origin: KeyOrigin) -> KeySet | None:
        return parse_keys(origin.inline) if origin.inline else self._given.find(origin)

    def prepare(self, _: Any) -> None:
        """Nothing is read in the background."""


@lru_cache(maxsize=512)
def certificate(identity: str) -> bytes:
    """A certificate of an identity, in DER; who signed it is the business of the server."""
    now = datetime.now(UTC)
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(LEAF.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{identity}")])
    return builder.add_extension(names, critical=True).sign(LEAF, hashes.SHA256()).public_bytes(Encoding.DER)


@lru_cache(maxsize=64)
def mesh_of(table: str, index: int, labels: tuple[tuple[str, str], ...], issuer: str | None) -> Mesh:
    """The workload of a group; with a rule for the tokens that stand for claims of ``issuer``."""
    group, _ = entry_of(Case(table, index, 0))
    namespace = group["workload"]["namespace"]
    policies = corpus_path(group["policy"]).read_text("utf-8") if "policy" in group else group["resources"]
    rule = {
        "issuer": issuer,
        "jwks": json.dumps({"keys": [SIGNER_JWK]}),
        "fromHeaders": [{"name": TOKEN_HEADER}],
        "forwardOriginalToken": True,
    }
    tokens = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "of-the-test", "namespace": namespace},
        "spec": {"jwtRules": [rule]},
    }
    texts = [mesh_document(group.get("mesh") or {}), policies, *([json.dumps(tokens)] if issuer else [])]
    account = group["workload"].get("service_account", "default")
    documents = [document for text in texts for document in yaml.safe_load_all(text) if document]
    for document in documents:
        document["metadata"].setdefault("namespace", namespace if "policy" in group else "default")
    made = Mesh.load(documents, workload=Workload(namespace=namespace, labels=dict(labels), service_account=account))
    _managers[made.runtime] = CorpusKeys(table, index)
    return made


class Connection:
    """What a server shows of the connection under a request: uvicorn its transport, gunicorn its socket."""

    family = socket.AF_INET

    def __init__(self, group: dict[str, Any], request: dict[str, Any]) -> None:
        self.address = request.get("destination_ip") or group["workload"].get("ip") or "10.0.0.9"
        self.port = request["port"]
        self.server_name = request.get("sni") or ""
        principal = request["principal"]
        self.certificate = certificate(principal) if principal else None

    @property
    def transport(self) -> Connection:
        return self

    def get_extra_info(self, name: str) -> Any:
        if name == "ssl_object":
            return self if self.certificate is not None else None
        return (self.address, self.port) if name == "sockname" else None

    def getsockname(self) -> tuple[str, int]:
        return self.address, self.port

    def getpeercert(self, _binary: bool = False) -> bytes | None:
        return self.certificate

    async def receive(self) -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}


class PlainSocket:
    """gunicorn's socket without TLS."""

    family = socket.AF_INET

    def __init__(self, connection: Connection) -> None:
        self.getsockname = connection.getsockname


class Arrival:
    """A request of a table, as a server would hand it on."""

    def __init__(self, group: dict[str, Any], request: dict[str, Any]) -> None:
        self.method, self.target, self.source = request["method"], request["path"], request["source_ip"]
        self.connection = Connection(group, request)
        written = {name.lower() for name in request.get("headers") or {}}
        self.headers = [] if "host" in written else [("host", request["host"])]
        for name, value in (request.get("headers") or {}).items():
            self.headers += [(name.lower(), one) for one in (value if isinstance(value, list) else [value])]
        if request.get("remote_ip", self.source) != self.source:
            self.headers.append(("x-forwarded-for", request["remote_ip"]))
        if "token" in request:
            self.headers.append(("authorization", f"Bearer {token_text(request['token'])}"))
        if "claims" in request:
            self.headers.append((TOKEN_HEADER, jwt.encode(request["claims"], SIGNER, algorithm="EdDSA")))
        host = next(value for name, value in self.headers if name == "host")
        head = RequestHead(self.method, "http", host, self.target, Headers(self.headers), port=self.connection.port)
        self.is_bad = bool(problem_of(head, ""))

    def asgi(self, mesh: Mesh) -> int:
        path, _, query = self.target.partition("?")
        connection = self.connection
        scope: dict[str, Any] = {
            "type": "http",
            "method": self.method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in self.headers],
            "client": (self.source, 40000),
            "server": (connection.address, connection.port),
            "extensions": {},
        }
        if connection.certificate is not None:
            scope["extensions"]["tls"] = {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(connection.certificate)]}
        statuses: list[int] = []

        async def application(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        middleware = AsgiMiddleware(application, mesh, trusted_proxies=[self.source])
        middleware._gate.now = lambda: NOW
        run_through(middleware(scope, connection.receive, send))
        return statuses[0]

    def wsgi(self, mesh: Mesh) -> int:
        path, _, query = self.target.partition("?")
        connection = self.connection
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "RAW_URI": self.target,
            "QUERY_STRING": query,
            "SERVER_NAME": "web",
            "SERVER_PORT": str(connection.port),
            "REMOTE_ADDR": self.source,
            "wsgi.url_scheme": "http",
            "gunicorn.socket": connection if connection.certificate is not None else PlainSocket(connection),
        }
        for name, value in self.headers:
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        statuses: list[int] = []

        def application(_environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return []

        def start_response(status: str, _headers: Any, *_: Any) -> Any:
            statuses.append(int(status[:3]))

        middleware = WsgiMiddleware(application, mesh, trusted_proxies=[self.source])
        middleware._gate.now = lambda: NOW
        body = middleware(environ, start_response)
        list(body)
        getattr(body, "close", list)()
        return statuses[0]


def run_through(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("the middleware waits for something")


def wrong(table: str, index: int, kind: str) -> Iterator[str]:
    """The requests of a group whose answer is not that of the table."""
    group, _ = entry_of(Case(table, index, 0))
    for entry in group["requests"]:
        request = entry["request"]
        if request["protocol"] != "http" or "method" not in request or "ext_authz" in entry:
            continue
        labels = entry.get("workload_labels") or group["workload"].get("labels") or {}
        issuer = (request.get("claims") or {}).get("iss")
        mesh = mesh_of(table, index, tuple(labels.items()), issuer)
        arrival = Arrival(group, request)
        status = arrival.asgi(mesh) if kind == "asgi" else arrival.wsgi(mesh)
        security = mesh.snapshot.security
        if arrival.is_bad:  # the golden policies have methods that no server takes
            is_right = status == 400
        elif request.get("transport") == "mtls" and security.mode_of(request["port"]) == "DISABLE":
            continue  # a matter of the handshake, which does not happen: tests/security/test_transports.py
        elif request["principal"] and not trusts_peer(security, request["principal"]):
            is_right = status == 403  # of a foreign trust domain: a sidecar would not even finish the handshake
        elif "expect_status" in entry:
            is_right = status == entry["expect_status"]
        else:
            is_right = (status == 200) == (entry["expect"] == "allow")
        if not is_right:
            yield f"{entry['id']}: {status}, not {entry.get('expect_status') or entry['expect']}"


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
@pytest.mark.parametrize(("table", "index"), list(groups()))
def test_the_middleware_says_what_the_table_says(table: str, index: int, kind: str) -> None:
    """Every HTTP request of the three tables, with its status where the table has one."""
    assert list(wrong(table, index, kind)) == []
