"""Each thing that decides is part of what a request is remembered by: requests that differ in one of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from meshlib._snapshot import conditions
from meshlib._snapshot.inbound import InboundRequest
from meshlib.adapters.asgi import MeshMiddleware
from tests.security.remembering import KEYS, NOW, Server, at_once, bearer, load, resource, scope_of, status_of
from tests.security.targets import ISSUER, good

Scope = dict[str, Any]


READ: dict[str, str] = {
    "claims": "the deciding headers, the query",
    "destination": "the server",
    "head": "the method, the scheme, the class of the path, the query, the deciding headers",
    "is_http": "",
    "peer": "the connection, the deciding headers",
    "port": "the server",
    "remote": "the connection, the deciding headers",
    "sni": "the connection",
    "source": "the connection",
}
"""What conditions can look at, and the part of the key of the memory that stands for it."""


def test_all_that_conditions_can_look_at_is_part_of_what_requests_are_remembered_by() -> None:
    """Who adds to what is known of a request adds it there too, or the first answer holds for all others."""
    assert set(InboundRequest.__slots__) == set(READ)
    kinds = {name for name in conditions.__all__ if name.endswith("Condition")} - {"Condition"}
    assert kinds == {
        "AddressCondition", "ClaimCondition", "HeaderCondition", "PortCondition", "RequestPrincipalCondition",
        "TextCondition",
    }  # fmt: skip


def when(key: str, *values: str, **spec: Any) -> Any:
    return resource("AuthorizationPolicy", {"rules": [{"when": [{"key": key, "values": list(values)}]}], **spec})


def tokens(**rule: Any) -> Any:
    return resource("RequestAuthentication", {"jwtRules": [{"issuer": ISSUER, "jwks": KEYS, **rule}]}, name="t")


def dry(action: str) -> Any:
    policy = when("request.headers[x-a]", "b", action=action)
    policy["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    return policy


ANN, BOB = (good(sub=name, exp=NOW + 99) for name in ("ann", "bob"))
ONLY_ANN = when("request.auth.principal", f"{ISSUER}/ann")
FORWARDED = {"forwardOriginalToken": True}
OF_SHOP = resource("AuthorizationPolicy", {"rules": [{"to": [{"operation": {"hosts": ["shop.test"]}}]}]})
CUSTOM = when("request.headers[x-a]", "b", action="CUSTOM", provider={"name": "nobody"})

REFUSED: dict[str, tuple[list[Any], Scope, Scope]] = {
    "a cookie": (
        [tokens(fromCookies=["c"], **FORWARDED), ONLY_ANN],
        scope_of("/a", ("cookie", f"c={ANN}")),
        scope_of("/a", ("cookie", f"c={BOB}")),
    ),
    "a header with a token": (
        [tokens(fromHeaders=[{"name": "x-token"}]), ONLY_ANN],
        scope_of("/a", ("x-token", ANN)),
        scope_of("/a", ("x-token", BOB)),
    ),
    "a parameter": (
        [tokens(fromParams=["t"], **FORWARDED), ONLY_ANN],
        scope_of(f"/a?t={ANN}"),
        scope_of(f"/a?t={BOB}"),
    ),
    "the Host header": ([OF_SHOP], scope_of("/a"), scope_of("/a", headers=[(b"host", b"other.test")])),
    "a path that a policy calls a header": ([when("request.headers[:path]", "/a")], scope_of("/a"), scope_of("/b")),
    "a query": ([when("request.headers[:path]", "/a?q")], scope_of("/a?q"), scope_of("/a?r")),
    "a scheme": ([when("request.headers[:scheme]", "http")], scope_of("/a"), scope_of("/a", scheme="https")),
    "a scheme that no proxy tells": (
        [when("request.headers[x-forwarded-proto]", "http")],
        scope_of("/a"),
        scope_of("/a", scheme="https"),
    ),
    "our address": (
        [when("destination.ip", "10.0.0.2")],
        scope_of("/a"),
        scope_of("/a", server=("10.0.0.3", 80)),
    ),
    "a header that an authorizer is asked about": ([CUSTOM], scope_of("/a"), scope_of("/a", ("x-a", "b"))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_differs_in_what_decides_is_refused(name: str) -> None:
    """Though one that is equal but for that was let in again and again."""
    documents, let_in, refused = REFUSED[name]
    server = Server(load(*documents), is_watched=False)
    for _ in range(3):
        assert status_of(server.ask(dict(let_in))) == 200
    assert status_of(server.ask(dict(refused))) in (401, 403)


SAID = ("x-forwarded-client-cert", "By=a;URI=spiffe://cluster.local/ns/shop/sa/web")


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_what_a_stranger_says_of_its_certificate_is_not_there(action: str) -> None:
    """Neither for policies nor for the application, as in Envoy: an ALLOW on it let the stranger in."""
    server = Server(load(when(f"request.headers[{SAID[0]}]", "*sa/web", action=action)), is_watched=False)
    for _ in range(3):
        sent, facts, *_ = server.ask(scope_of("/a", SAID))
        assert status_of((sent,)) == (403 if action == "ALLOW" else 200)
        assert facts is None or SAID[0].encode() not in dict(facts[3])


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_a_certificate_that_cannot_be_told_lets_nobody_in(action: str) -> None:
    """Envoy writes down that of a peer, with its hash."""
    mesh = load(when(f"request.headers[{SAID[0]}]", "*sa/other", action=action))
    assert mesh.authorize("GET", "http://shop.test/", principal="cluster.local/ns/shop/sa/web").status == 403


MARKED = {
    "an AUDIT": (when("request.headers[x-a]", "b", action="AUDIT"), True),
    "a DENY in dry run": (dry("DENY"), "deny by shop/p rule 0"),
    "an ALLOW in dry run": (dry("ALLOW"), "allow by shop/p rule 0"),
}


@pytest.mark.parametrize("name", MARKED)
def test_a_policy_that_only_marks_requests_marks_each_by_itself(name: str) -> None:
    policy, mark = MARKED[name]
    server = Server(load(policy), is_watched=False)
    for _ in range(3):
        for value, is_marked in (("a", False), ("b", True)):
            facts = server.ask(scope_of("/a", ("x-a", value)))[1]
            assert (mark in facts[10:12]) == is_marked


@pytest.mark.parametrize("header", ["baggage", "x-request-id", "traceparent"])
def test_a_claim_in_a_header_that_is_handed_on_is_that_of_each_token(header: str) -> None:
    """Whatever the client says there: calls made while serving carry on what was verified."""
    server = Server(load(tokens(outputClaimToHeaders=[{"header": header, "claim": "sub"}])))
    carried: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        carried.append(scope["mesh"].carried[header])
        await server.app(scope, receive, send)

    server.middleware.app = app
    for _ in range(3):
        for token in (ANN, BOB):
            assert status_of(server.ask(scope_of("/a", bearer(token), (header, "forged")))) == 200
    assert carried == ["ann", "bob"] * 3


@pytest.mark.parametrize(
    "headers", [("x-envoy-peer-metadata-id",), ("x-envoy-peer-metadata-id", "x-envoy-peer-metadata")]
)
def test_a_caller_that_says_who_it_is_is_told_each_time(headers: tuple[str, ...]) -> None:
    """And only then; also by requests of which nobody wants more than their count."""
    server = Server(load(), is_watched=False)
    for _ in range(3):
        begun = server.ask(scope_of("/a", *((name, "x") for name in headers)))[0][0]
        assert sorted(name.decode() for name, _ in begun["headers"]) == sorted(headers)
        assert server.ask(scope_of("/a"))[0][0]["headers"] == []


class Shown(NamedTuple):
    """A connection of uvicorn, whose TLS object notes what the client named in its handshake."""

    server_name: str

    @property
    def transport(self) -> Shown:
        return self

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("10.9.0.7", 1), "ssl_object": self}[name]

    def getpeercert(self, _: bool) -> bytes:
        return b""

    async def receive(self) -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}


def test_the_server_name_of_the_handshake_decides() -> None:
    """Two connections from one address, with the same Host header."""
    server = Server(load(when("connection.sni", "shop.test")))
    middleware: Any = MeshMiddleware(server.app, server.mesh)
    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    for _ in range(3):
        for name in ("shop.test", "other.test"):
            at_once(middleware(scope_of("/a", scheme="https"), Shown(name).receive, send))
    assert [status for status in statuses if status] == [200, 403] * 3
