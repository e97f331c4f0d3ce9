"""A server that is asked again and again, and policies and requests by chance to ask it with."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

import pytest

from meshlib import Mesh, Workload
from meshlib._context import deadline, handed_on
from meshlib._inbound.dry_runs import dry_run_counts
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.events import RequestServed
from tests.security.targets import ISSUER, JWK, good, signed

__all__ = [
    "CLIENT",
    "KEYS",
    "NOW",
    "PEER",
    "STRANGER",
    "Clock",
    "Draw",
    "Seen",
    "Server",
    "bearer",
    "load",
    "resource",
    "scope_of",
    "status_of",
]

NOW = 2_000_000_000
PROXY, CLIENT, OTHER = "10.0.0.1", "10.9.0.7", "10.8.0.8"
KEYS = json.dumps({"keys": [JWK]})


class Clock:
    """Time as the test says."""

    now: float = NOW

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Seen:
    """An application that notes what it gets."""

    def __init__(self) -> None:
        self.facts: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        mesh, carried = scope["mesh"], handed_on() or {}
        headers = [(name, b"new" if is_new(name, value) else value) for name, value in scope["headers"]]
        self.facts = (
            scope["path"], scope.get("raw_path"), scope.get("query_string"), sorted(headers), mesh.principal,
            mesh.request_principal, mesh.claims, mesh.client_address, mesh.policy, mesh.rule, mesh.audited,
            mesh.dry_run, {**carried, "x-request-id": ""}, deadline.get(),
            carried.get("x-request-id", mesh.request_id) == mesh.request_id,  # a name with odd bytes is not handed on
        )  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def is_new(name: bytes, value: bytes) -> bool:
    """Whether a header is an id that was made for the request."""
    return name == b"x-request-id" and value not in (b"given", b"")


def at_once(serving: Coroutine[Any, Any, None]) -> None:
    """Nothing waits for anything, so that no event loop is needed."""
    with pytest.raises(StopIteration):
        serving.send(None)


class Server:
    """The middleware around that application; :meth:`ask` tells everything that can be seen of a request.

    ``is_watched`` false: nobody listens to what is served, so that what is remembered goes the short way.
    """

    def __init__(self, mesh: Mesh, *, is_watched: bool = True) -> None:
        self.mesh = mesh
        self.served: list[Any] = []
        self.app = Seen()
        self.forget()
        if is_watched:
            mesh.observe(self.served.append, RequestServed)

    def forget(self) -> None:
        """Start as a new process does."""
        self.middleware = MeshMiddleware(self.app, self.mesh, trusted_proxies=[PROXY], health_paths=["/healthz"])

    def ask(self, scope: dict[str, Any], run: Callable[[Any], object] = at_once) -> Any:
        sent: list[Any] = []
        self.app.facts = None
        self.served.clear()
        before = self.dry_runs()

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        run(self.middleware(scope, receive, send))
        return sent, self.app.facts, list(self.served), handed_on(), self.dry_runs() - before

    def dry_runs(self) -> float:
        """How often policies in dry run were asked."""
        return sum(figure[2] for figure in dry_run_counts(self.mesh.runtime).figures())


def load(*documents: Any, clock: Clock | None = None) -> Mesh:
    """A mesh of these resources; JSON is YAML."""
    text = "\n---\n".join(map(json.dumps, documents or [resource("PeerAuthentication", {})]))
    workload = Workload(namespace="shop", labels={"app": "web"})
    return Mesh.load(text, workload=workload, clock=clock or Clock())


def resource(kind: str, spec: dict[str, Any], name: str = "p", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", **meta},
        "spec": spec,
    }


def scope_of(path: str = "/a", *headers: tuple[str, str], **changes: Any) -> dict[str, Any]:
    raw, _, query = path.partition("?")
    return {
        "type": "http", "method": "GET", "scheme": "http", "path": raw, "raw_path": raw.encode(),
        "query_string": query.encode(), "server": ("10.0.0.2", 80), "client": (CLIENT, 1),
        "headers": [(b"host", b"shop.test"), *((name.encode(), value.encode()) for name, value in headers)], **changes,
    }  # fmt: skip


# -- any policies, any requests --------------------------------------------------------------------------

TOKENS = {
    "ann": good(exp=NOW + 30),
    "bob": good(sub="bob", exp=NOW + 500, nbf=NOW - 10, groups=["a", "b"]),
    "late": good(exp=NOW - 30),
    "early": good(exp=NOW + 500, nbf=NOW + 90),
    "other issuer": good(iss="https://other.test", exp=NOW + 500),
    "other audience": good(aud="x", exp=NOW + 500),
    "bad": signed({"alg": "RS256", "kid": "k"}, {"iss": ISSUER})[:-4] + "AAAA",
    "junk": "x.y",
}
PEER, STRANGER = "cluster.local/ns/shop/sa/client", "old.test/ns/far/sa/x"
PATHS = ("/a", "/a*", "*/b", "/b/{*}", "/**", "*", "/b/{**}")
SOURCES = {
    "principals": (PEER, "*", "cluster.local/*"),
    "notPrincipals": (PEER,),
    "notNamespaces": ("shop", "f*"),
    "ipBlocks": ("10.9.0.0/16", PROXY),
    "notRemoteIpBlocks": ("10.8.0.0/16",),
    "requestPrincipals": ("*", f"{ISSUER}/ann", "*/bob"),
    "notRequestPrincipals": (f"{ISSUER}/*",),
}
OPERATIONS = {
    "paths": PATHS,
    "notPaths": PATHS,
    "methods": ("GET", "P*"),
    "notHosts": ("shop.test", "*.org"),
    "notPorts": ("81", "443"),
}
WHEN = {
    "request.headers[x-a]": ("a", "b*", "*"),
    "request.headers[X-B]": ("a", "*"),
    "request.headers[:path]": ("/a?q=1", "*=1"),
    "request.headers[cookie]": ("*", "c=*"),
    "request.headers[x-user]": ("ann", "a"),
    "request.headers[:authority]": ("shop.test",),
    "source.ip": ("10.9.0.0/16",),
    "remote.ip": ("10.9.0.0/16",),
    "destination.ip": ("10.0.0.2",),
    "destination.port": ("80",),
    "source.principal": (PEER,),
    "source.namespace": ("shop",),
    "request.auth.claims[groups]": ("a", "c"),
    "request.auth.claims[sub]": ("ann",),
    "request.auth.audiences": ("shop",),
    "connection.sni": ("a", "*"),
}
FIELDS = {
    "authorization": tuple(f"Bearer {token}" for token in TOKENS.values()),
    "x-token": tuple(TOKENS.values()),
    "cookie": tuple(f"c={token}" for token in TOKENS.values()),
    **dict.fromkeys(("x-a", "x-b", "x-user", "x-payload", "X-A", "x_user", "Authorization"), ("a", "b", "")),
    "x-request-id": ("given", ""),
    **dict.fromkeys(("traceparent", "baggage"), ("1", "2")),
    "x-envoy-expected-rq-timeout-ms": ("5", "x"),
    "x-forwarded-for": (OTHER, f"{CLIENT}, {PROXY}"),
    "x-forwarded-client-cert": (f"URI=spiffe://{PEER}", "x"),
    "host": ("other.org", "admin.test"),
    "origin": ("http://a.test",),
    "access-control-request-method": ("GET",),
}


class Draw:
    """Policies and requests by chance."""

    def __init__(self, seed: int, chains: dict[str, bytes]) -> None:
        self.chance = random.Random(seed)
        self.chains = chains
        self.one = self.chance.choice

    def some(self, values: Sequence[Any]) -> list[Any]:
        """One or two of them."""
        return self.chance.sample(values, min(len(values), self.one((1, 1, 2))))

    def part(self, lists: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
        return {name: self.some(lists[name]) for name in self.some(sorted(lists))}

    def rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {}
        if self.one((True, False)):
            rule["from"] = [{"source": self.part(SOURCES)} for _ in range(self.one((1, 1, 2)))]
        if self.one((True, False)):
            rule["to"] = [{"operation": self.part(OPERATIONS)} for _ in range(self.one((1, 1, 2)))]
        if self.one((True, False)):
            key = self.one(sorted(WHEN))
            rule["when"] = [{"key": key, self.one(("values", "notValues")): self.some(WHEN[key])}]
        return rule

    def policy(self, number: int) -> dict[str, Any]:
        action = self.one(("ALLOW", "ALLOW", "ALLOW", "DENY", "AUDIT", "CUSTOM"))
        spec = {"action": action, "rules": [self.rule() for _ in range(self.one((1, 2, 3)))]}
        if action == "CUSTOM":  # of what it may look at, the paths are enough
            spec["provider"], spec["rules"] = {"name": "x"}, [{"to": [{"operation": {"paths": self.some(PATHS)}}]}]
        is_dry = action in ("ALLOW", "DENY") and self.one((True, False, False))
        annotations = {"istio.io/dry-run": "true"} if is_dry else {}
        return resource("AuthorizationPolicy", spec, name=f"p{number}", annotations=annotations)

    def token_rule(self) -> dict[str, Any]:
        optional = {
            "audiences": ["shop"],
            "forwardOriginalToken": True,
            "fromHeaders": [{"name": "x-token"}, {"name": "authorization", "prefix": "Bearer "}],
            "fromParams": ["t"],
            "fromCookies": ["c"],
            "outputPayloadToHeader": self.one(("x-payload", "x-b")),
            "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
        }
        chosen = {name: value for name, value in optional.items() if self.one((True, False))}
        return {"issuer": self.one((ISSUER, ISSUER, "https://other.test")), "jwks": KEYS, **chosen}

    def documents(self) -> list[dict[str, Any]]:
        found = [self.policy(number) for number in range(self.one((0, 1, 1, 2)))]
        if self.one((True, True, False)):
            rules = [self.token_rule() for _ in range(self.one((1, 1, 2)))]
            found.append(resource("RequestAuthentication", {"jwtRules": rules}))
        mode = self.one((None, None, "STRICT", "DISABLE"))
        return found + ([resource("PeerAuthentication", {"mtls": {"mode": mode}})] if mode else [])

    def request(self) -> dict[str, Any]:
        path = self.one(
            ("/a", "/a", "/b/c", "/healthz", "//a", "/a/../b", "/%61", "/", "/a/", "/a;x", "/.a", "/A", "/a//b")
        )
        path = self.one((path, path, f"/a/{self.one('789')}", f"/b/{self.one('789')}", f"/{self.one('789')}/b"))
        query = self.one(("", "", "?q=1", f"?t={TOKENS['ann']}"))
        headers = [(name, self.one(FIELDS[name])) for name in self.some(sorted(FIELDS)) + self.some(sorted(FIELDS)[:8])]
        peer = self.one(("", "", "tls", PEER, STRANGER))
        changes: dict[str, Any] = {}
        if peer:
            chain = [self.chains[peer]] if peer in self.chains else []
            changes = {"scheme": "https", "extensions": {"tls": {"client_cert_chain": chain}}}
        return scope_of(
            path + query,
            *headers[: self.one((0, 1, 2, 4))],
            method=self.one(("GET", "GET", "POST", "OPTIONS")),
            client=(self.one((CLIENT, CLIENT, OTHER, PROXY)), 9),
            server=("10.0.0.2", self.one((80, 80, 443))),
            root_path=self.one(("", "", "/a", "/b")),
            **changes,
        )

    def order(self, headers: list[Any]) -> list[Any]:
        self.chance.shuffle(headers)
        return headers

    def twice(self, headers: list[Any]) -> list[Any]:
        return [*headers, self.one(headers)]

    def case(self, headers: list[Any]) -> list[Any]:
        name, value = headers.pop()
        return [*headers, (self.one((name.title(), name.replace(b"-", b"_"))), value)]

    def byte(self, headers: list[Any]) -> list[Any]:
        name, value = headers.pop()
        place = self.chance.randrange(len(value) + 1)
        return [*headers, (name, value[:place] + self.one((b"x", b" ", b"\xe9", b",")) + value[place + 1 :])]

    OF_HEADERS: ClassVar = {"order": order, "twice": twice, "case": case, "byte": byte}

    def near(self, scope: dict[str, Any]) -> dict[str, Any]:
        """The same request, or one that differs in one thing."""
        things = ("headers", "method", "client", "path", "peer", "server", "query_string", "raw_path", "root_path")
        other, thing = self.request(), self.one((*[None] * 5, *things, *self.OF_HEADERS))
        if thing is None:
            return dict(scope)
        if thing in self.OF_HEADERS:
            return {**scope, "headers": self.OF_HEADERS[thing](self, list(scope["headers"]))}
        if thing == "path":
            return {**scope, **{name: other[name] for name in ("path", "raw_path", "query_string")}}
        if thing == "peer":
            bare = {name: value for name, value in scope.items() if name != "extensions"}
            return {**bare, **{name: other[name] for name in ("scheme", "extensions") if name in other}}
        return {**scope, thing: other[thing]}


def status_of(answer: Any) -> int:
    found: int = answer[0][0]["status"]
    return found


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"
