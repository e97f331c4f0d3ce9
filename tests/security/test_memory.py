"""A request that is let in because an equal one was: never one that would not have been let in by itself."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from meshlib import Mesh
from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._inbound.gate import _managers
from meshlib._inbound.key_fetch import KeyFetchError
from meshlib._inbound.key_store import REFRESH, STALE
from meshlib._inbound.keys import KeyManager
from meshlib._snapshot.authentication import KeyOrigin
from meshlib.security import DevelopmentCA
from tests.patience import PATIENCE
from tests.security.remembering import (
    CLIENT,
    KEYS,
    NOW,
    PEER,
    STRANGER,
    Clock,
    Draw,
    Server,
    bearer,
    load,
    resource,
    scope_of,
    status_of,
)
from tests.security.targets import ISSUER, good

SEEDS, ROUNDS = 20, 12


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Certificates as servers show them by the ASGI extension."""
    directory = tmp_path_factory.mktemp("ca")
    ca = DevelopmentCA.create(directory / "ca")
    found = {}
    for number, (name, account) in enumerate({PEER: "client", STRANGER: "x"}.items()):
        ca.issue(directory / str(number), namespace=name.split("/")[2], service_account=account)
        text = (directory / str(number) / "cert-chain.pem").read_text()
        found[name] = base64.b64decode("".join(text.split("-----")[2].split()))
    return found


@pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "unwatched"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_remembered_is_what_would_be_decided(chains: dict[str, bytes], seed: int, *, is_watched: bool) -> None:
    """Whatever the policies and in whatever order requests come: a server that remembers is like one that does not."""
    draw, admitted = Draw(seed, chains), 0
    for _ in range(ROUNDS):
        documents, clock = draw.documents(), Clock()
        remembering, forgetful = (Server(load(*documents, clock=clock), is_watched=is_watched) for _ in range(2))
        for _ in range(4):
            scope = draw.request()
            for _ in range(8):
                clock.now += draw.one((0, 0, 0, 0, 20, 60))
                asked = draw.near(scope)
                forgetful.forget()
                expected = forgetful.ask(dict(asked))
                assert remembering.ask(dict(asked)) == expected, (documents, asked)
                admitted += status_of(expected) == 200
            if draw.one((True, False, False)):
                documents = draw.documents()
                for server in (remembering, forgetful):
                    server.mesh.runtime.publish(load(*documents).runtime.compiled)
    assert admitted > ROUNDS  # else nothing was remembered


# -- each thing that decides, by its name -----------------------------------------------------------------

GROUPS = resource(
    "AuthorizationPolicy",
    {"rules": [{"to": [{"operation": {"paths": ["/a"]}}], "when": [{"key": "request.headers[x-a]", "values": ["a"]}]}]},
)
TOKEN_RULE = resource("RequestAuthentication", {"jwtRules": [{"issuer": ISSUER, "jwks": KEYS}]})
ONLY_ANN = resource(
    "AuthorizationPolicy", {"rules": [{"from": [{"source": {"requestPrincipals": [f"{ISSUER}/ann"]}}]}]}
)


CHANGED: dict[str, Callable[[], dict[str, Any]]] = {
    "path": lambda: scope_of("/b", ("x-a", "a")),
    "path seen by the application": lambda: {**scope_of("/a", ("x-a", "a")), "path": "/b"},
    "header": lambda: scope_of("/a", ("x-a", "b")),
    "header twice": lambda: scope_of("/a", ("x-a", "a"), ("host", "shop.test")),
    "no header": lambda: scope_of("/a"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_request_that_differs_in_what_decides_is_decided_anew(name: str) -> None:
    """Let in once, and again; with one thing changed, refused."""
    server = Server(load(GROUPS))
    for _ in range(2):
        assert status_of(server.ask(scope_of("/a", ("x-a", "a")))) == 200
    assert status_of(server.ask(CHANGED[name]())) in (400, 403)


def test_a_header_that_must_not_be_there_decides_too() -> None:
    """Let in without it, refused with it."""
    when = [{"key": "request.headers[x-a]", "notValues": ["b"]}]
    server = Server(load(resource("AuthorizationPolicy", {"rules": [{"when": when}]})))
    for headers, status in (((), 200), ((), 200), ((("x-a", "b"),), 403), ((("x-a", "a"),), 200)):
        assert status_of(server.ask(scope_of("/a", *headers))) == status


def only_when(key: str, value: str) -> Mesh:
    return load(resource("AuthorizationPolicy", {"rules": [{"when": [{"key": key, "values": [value]}]}]}))


FACTS: dict[str, tuple[tuple[str, str], dict[str, Any], dict[str, Any]]] = {
    "query": (("request.headers[:path]", "/a?q=1"), {"query_string": b"q=1"}, {"query_string": b"q=2"}),
    "scheme": (("request.headers[:scheme]", "http"), {"scheme": "http"}, {"scheme": "https"}),
    "port": (("destination.port", "80"), {"server": ("10.0.0.2", 80)}, {"server": ("10.0.0.2", 81)}),
    "port, in a list": (("destination.port", "80"), {"server": ["10.0.0.2", 80]}, {"server": ["10.0.0.2", 81]}),
    "address": (("destination.ip", "10.0.0.2"), {"server": ("10.0.0.2", 80)}, {"server": ("10.0.0.3", 80)}),
    "client": (("source.ip", CLIENT), {"client": (CLIENT, 1)}, {"client": ("10.8.0.8", 1)}),
    "method": (("request.headers[:method]", "GET"), {"method": "GET"}, {"method": "HEAD"}),
}


@pytest.mark.parametrize("is_watched", [True, False])
@pytest.mark.parametrize("name", FACTS)
def test_a_request_that_differs_in_one_fact_of_its_scope_is_decided_anew(name: str, *, is_watched: bool) -> None:
    """By turns, so that both may be remembered."""
    condition, allowed, denied = FACTS[name]
    server = Server(only_when(*condition), is_watched=is_watched)
    for _ in range(4):
        assert status_of(server.ask(scope_of("/a") | allowed)) == 200
        assert status_of(server.ask(scope_of("/a") | denied)) == 403


EITHER = resource(
    "AuthorizationPolicy",
    {
        "rules": [
            {"when": [{"key": "request.headers[x-a]", "values": ["a"]}]},
            {"when": [{"key": "request.headers[x-b]", "values": ["b"]}]},
        ]
    },
)


def test_the_same_value_in_another_header_is_another_request() -> None:
    """What a request is known by says of which headers its values are, however many others there are."""
    server = Server(load(EITHER))
    for headers in ((("x-a", "a"),), (("x-c", "1"), ("x-a", "a")), (("x-a", "a"), ("x-c", "1"))):
        for _ in range(3):
            assert status_of(server.ask(scope_of("/a", *headers))) == 200
            assert (
                status_of(server.ask(scope_of("/a", *((name.replace("a", "b"), one) for name, one in headers)))) == 403
            )


def test_the_order_of_headers_does_not_matter() -> None:
    server = Server(load(EITHER), is_watched=False)
    first, second = ("x-a", "a"), ("x-b", "c")
    for headers in ([first, second], [first, second], [second, first], [first, ("x-d", ""), second]):
        assert status_of(server.ask(scope_of("/a", *headers))) == 200
    assert len(server.middleware._gate.memory._grants) == 1  # so that each of them was not decided for itself


@pytest.mark.parametrize("is_watched", [True, False])
def test_requests_of_other_shapes_by_the_same_decision_get_their_own_headers(*, is_watched: bool) -> None:
    """What one of them may not show to the application is taken from it, though the one before had none of it."""
    server = Server(load(), is_watched=is_watched)
    own, spoofed, new = ("x-request-id", "given"), ("x-forwarded-client-cert", "x"), ("x-request-id", "")
    for _ in range(3):
        for headers in ([own], [own, spoofed], [spoofed], [spoofed, own], [new, spoofed], []):
            seen = server.ask(scope_of("/a", *headers))[1][3]
            given = b"given" if own in headers else b"new"
            assert seen == [(b"host", b"shop.test"), (b"x-request-id", given)]


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_request_that_loses_no_header_still_gets_those_of_its_token(*, is_watched: bool) -> None:
    output = [{"header": "x-user", "claim": "sub"}]
    rule = {"issuer": ISSUER, "jwks": KEYS, "forwardOriginalToken": True, "outputClaimToHeaders": output}
    server = Server(load(resource("RequestAuthentication", {"jwtRules": [rule]})), is_watched=is_watched)
    for _ in range(3):
        seen = server.ask(scope_of("/a", bearer(good(exp=NOW + 99)), ("x-request-id", "given")))[1][3]
        assert (b"x-user", b"ann") in seen
        assert len(seen) == 4


@pytest.mark.parametrize("is_watched", [True, False])
def test_who_is_at_the_other_end_is_told_of_each_request(chains: dict[str, bytes], *, is_watched: bool) -> None:
    """What the server says of TLS stands in each scope: a request without it is nobody's."""
    server = Server(load(), is_watched=is_watched)
    for _ in range(3):
        for peer in (PEER, STRANGER, None):
            tls = {"extensions": {"tls": {"client_cert_chain": [chains[peer]]}}, "scheme": "https"} if peer else {}
            assert server.ask(scope_of("/a", **tls))[1][4] == (peer and peer.replace("old.test", "cluster.local"))


def test_a_certificate_that_was_not_verified_names_nobody(chains: dict[str, bytes]) -> None:
    """Servers may let such connections in, and say so beside the certificate."""
    server = Server(load())
    for _ in range(3):
        for error, name in ((None, PEER), ("expired", None)):
            tls = {"client_cert_chain": [chains[PEER]], "client_cert_error": error}
            assert server.ask(scope_of("/a", extensions={"tls": tls}, scheme="https"))[1][4] == name


def test_shapes_too_long_to_be_kept_leave_nothing_behind() -> None:
    """Each of them is another one, by which nothing would be found again."""
    server = Server(load(), is_watched=False)
    for _ in range(5):
        assert status_of(server.ask(scope_of("/a", ("x-" + "a" * 3000, "1")))) == 200
    memory = server.middleware._gate.memory
    assert len(memory._grants) == 1
    assert len(memory.shapes) == len(memory.terms) == 0


ODD: dict[str, dict[str, Any]] = {
    "no headers at all": {"headers": []},
    "a server as a list": {"server": ["10.0.0.2", 80]},
    "no server": {"server": None},
    "a client as a list": {"client": [CLIENT, 1]},
    "no client": {"client": None},
    "no path as it was sent": {"raw_path": None},
    "headers that can be read but once": {"headers": None},
}


@pytest.mark.parametrize("name", ODD)
def test_scopes_that_servers_may_make_are_remembered_or_decided_anew(name: str) -> None:
    """Left out or None, tuples or lists: let in every time, and what a policy asks for is asked every time."""
    rules = [{"to": [{"operation": {"paths": ["/a"], "ports": ["80"]}}]}, {"to": [{"operation": {"methods": ["PUT"]}}]}]
    server = Server(load(resource("AuthorizationPolicy", {"action": "DENY", "rules": rules})))

    def odd(path: str, method: str) -> dict[str, Any]:
        scope = {**scope_of(path, method=method), **ODD[name]}
        if name.startswith("headers"):
            scope["headers"] = iter([(b"host", b"shop.test")])
        return {part: value for part, value in scope.items() if value is not None}

    for _ in range(3):
        assert status_of(server.ask(odd("/b", "GET"))) == 200
        assert status_of(server.ask(odd("/b", "PUT"))) == 403
        assert status_of(server.ask(odd("/a", "GET"))) == (200 if name == "no server" else 403)


def test_a_scope_without_a_query_has_none() -> None:
    """Where policies look at it."""
    when = [{"key": "request.headers[:path]", "values": ["/a"]}]
    server = Server(load(resource("AuthorizationPolicy", {"rules": [{"when": when}]})))
    scope = scope_of("/a")
    del scope["query_string"]
    for _ in range(3):
        assert status_of(server.ask(dict(scope))) == 200
        assert status_of(server.ask({**scope, "query_string": b"b"})) == 403


def test_a_token_that_expires_is_refused_although_its_request_was_let_in() -> None:
    """The time is looked at with every request."""
    clock = Clock()
    server = Server(load(TOKEN_RULE, ONLY_ANN, clock=clock))
    scope = scope_of("/a", bearer(good(exp=NOW + 10, nbf=NOW - 10)))
    for now, status in ((NOW, 200), (NOW, 200), (NOW + 70, 200), (NOW + 71, 401), (NOW - 70, 200), (NOW - 71, 401)):
        clock.now = now
        assert status_of(server.ask(dict(scope))) == status, now


def test_a_reload_forgets_what_was_let_in() -> None:
    """The next request meets the new policies."""
    mesh = load(GROUPS)
    server = Server(mesh)
    for _ in range(2):
        assert status_of(server.ask(scope_of("/a", ("x-a", "a")))) == 200
    mesh.runtime.publish(load(ONLY_ANN).runtime.compiled)
    assert status_of(server.ask(scope_of("/a", ("x-a", "a")))) == 403


def test_what_a_handler_does_to_its_claims_stays_with_it() -> None:
    """The next request with the same token is judged by what the token says."""
    server = Server(load(TOKEN_RULE, ONLY_ANN))
    scope = scope_of("/a", bearer(good(exp=NOW + 99, groups=["a"])))

    async def app(changing: Any, _: Any, send: Any) -> None:
        claims = changing["mesh"].claims
        seen.append(json.dumps(claims))
        claims["groups"].append("root")
        claims["sub"] = "root"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    seen: list[str] = []
    server.middleware.app = app
    for _ in range(3):
        server.ask(dict(scope))
    assert len(seen) == 3
    assert "root" not in "".join(seen)


def test_a_preflight_is_nobodys_although_its_token_was_let_in() -> None:
    """Two headers make a preflight of a request, and then its token is not looked at."""
    server = Server(load(TOKEN_RULE, ONLY_ANN))
    headers = [bearer(good(exp=NOW + 99))]
    preflight = [*headers, ("origin", "http://a.test"), ("access-control-request-method", "GET")]
    for _ in range(2):
        assert status_of(server.ask(scope_of("/a", *headers, method="OPTIONS"))) == 200
        assert status_of(server.ask(scope_of("/a", *preflight, method="OPTIONS"))) == 403


def test_a_rule_that_comes_to_accept_its_token_is_heard() -> None:
    """Of two rules the second lets a request in; from the moment on at which the first one does, it is that one."""
    first = {"issuer": ISSUER, "jwks": KEYS, "fromHeaders": [{"name": "x-token"}], "forwardOriginalToken": True}
    second = {"issuer": ISSUER, "jwks": KEYS, "forwardOriginalToken": True}
    clock = Clock()
    server = Server(load(resource("RequestAuthentication", {"jwtRules": [first, second]}), clock=clock))
    ann, bob = good(nbf=NOW + 100, exp=NOW + 999), good(sub="bob", exp=NOW + 999)
    scope = scope_of("/a", ("x-token", ann), bearer(bob))
    for now, name in ((NOW, "bob"), (NOW, "bob"), (NOW + 40, "ann"), (NOW + 40, "ann")):
        clock.now = now
        assert server.ask(dict(scope))[1][5] == f"{ISSUER}/{name}"


# -- keys that change -------------------------------------------------------------------------------------

FETCHED = resource(
    "RequestAuthentication",
    {"jwtRules": [{"issuer": ISSUER, "jwksUri": "http://issuer.test/keys", "audiences": ["shop"]}]},
)
FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEYS = json.dumps({"keys": [{**json.loads(RSAAlgorithm.to_jwk(FOREIGN.public_key())), "kid": "k"}]})


class Issuer:
    """Keys as the test has them at the moment, read in the background; ``clock`` is that of the manager."""

    def __init__(self, mesh: Mesh) -> None:
        self.text, self.clock = KEYS, 0.0
        self.manager = _managers[mesh.runtime] = KeyManager(fetch=self.fetch, now=lambda: self.clock)
        self.manager.prepare(mesh.snapshot.security.authentication)
        self.settle()

    def fetch(self, _: KeyOrigin) -> KeySet:
        if not self.text:
            raise KeyFetchError("down")
        return parse_keys(self.text)

    def settle(self) -> None:
        for reading in list(self.manager._running.values()):
            self.manager.wait(reading, PATIENCE)

    def read(self, text: str) -> None:
        """Have the keys read anew."""
        self.text = text
        self.clock += REFRESH
        self.manager._turn()
        self.settle()


def test_what_was_forgotten_is_remembered_anew() -> None:
    """After new keys, and after the time of a token: decided once more, and then let in as before."""
    mesh = load(FETCHED, ONLY_ANN)
    issuer = Issuer(mesh)
    server = Server(mesh, is_watched=False)
    scope = scope_of("/a", bearer(good(exp=NOW + 999_999)))
    memory = server.middleware._gate.memory
    for text in (KEYS, KEYS + " "):
        issuer.read(text)
        for _ in range(4):
            assert status_of(server.ask(dict(scope))) == 200
        assert [one.version for one in memory.terms.newer.values()] == [issuer.manager.version]
    issuer.manager.close()


@pytest.mark.parametrize("text", [OTHER_KEYS, ""])
def test_other_keys_forget_what_was_let_in(text: str) -> None:
    """Keys that are taken back let nobody in any more; while an issuer is down, its last ones do, for a day."""
    mesh = load(FETCHED, ONLY_ANN)
    issuer = Issuer(mesh)
    server = Server(mesh)
    scope = scope_of("/a", bearer(good(exp=NOW + 999_999)))
    for _ in range(3):
        assert status_of(server.ask(dict(scope))) == 200
    issuer.read(text)
    assert status_of(server.ask(dict(scope))) == (401 if text else 200)
    issuer.clock = STALE
    assert status_of(server.ask(dict(scope))) == (401 if text else 200)
    issuer.clock = STALE + 1
    assert status_of(server.ask(dict(scope), asyncio.run)) == 401
    issuer.manager.close()
