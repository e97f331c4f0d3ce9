"""What the ASGI middleware adds to Starlette: a token that is known, 20 rules and metrics; and a token seen first.

Requests are made in memory: a scope as uvicorn makes it, with the headers of a browser behind a gateway. The base is
bare Starlette. The middleware remembers requests, so that there is one variant that never asks twice for a
path. The token that is new is measured against PyJWT, which decodes the same tokens in the bare application;
there are more of them than the middleware remembers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.harness import AsyncBody, Comparison, arguments, compare_async, emit, emit_figure
from meshlib import Mesh, Workload
from meshlib.adapters.asgi import MeshMiddleware

__all__ = ["main"]

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[..., Awaitable[None]]

BARE, AGAIN, OPEN, GOVERNED = "bare", "bare again", "middleware, no policies", "middleware, token, 20 rules, metrics"
WANDERING: Final = "the same, each path once"
KNOWN, PYJWT, FRESH = "bare", "bare with PyJWT", "middleware, new token"
ISSUER: Final = "https://accounts.example.com"
MORE_THAN_REMEMBERED: Final = 4200
HEADERS: Final = (
    (b"host", b"shop.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"x-request-id", b"7f2f4a0c-6a0f-9d8a-8a36-3a4b9c1f0d11"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"x-forwarded-proto", b"https"),
)
RULES: Final = "".join(
    f"""
  - from: [{{source: {{requestPrincipals: ["{ISSUER}/*"]}}}}]
    to: [{{operation: {{methods: [GET, POST], paths: [/api/v{number}/*]}}}}]
    when: [{{key: "request.auth.claims[groups]", values: [admin, readers]}}]"""
    for number in range(1, 21)
)
CONFIG: Final = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: shop}}
spec:
  jwtRules:
  - issuer: {ISSUER}
    audiences: [shop]
    forwardOriginalToken: true
    jwks: 'KEYS'
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: rules, namespace: shop}}
spec:
  rules:{RULES}
"""


async def answer(_: Request) -> PlainTextResponse:
    """The application."""
    return PlainTextResponse("ok")


def application() -> Starlette:
    """One route, as the rules name it last."""
    return Starlette(routes=[Route("/api/v20/items/{item}", answer)])


def mesh(key: rsa.RSAPrivateKey) -> Mesh:
    """The policies of the workload."""
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    keys = json.dumps({"keys": [{**jwk, "kid": "k", "alg": "RS256"}]})
    return Mesh.load(CONFIG.replace("KEYS", keys), workload=Workload(namespace="shop", labels={"app": "web"}))


def token(key: rsa.RSAPrivateKey, number: int) -> str:
    """One with what an access token usually has; the numbers make them differ."""
    claims = {
        "iss": ISSUER,
        "sub": f"user-{number}",
        "aud": ["shop", "other"],
        "exp": 4_000_000_000,
        "iat": 1_700_000_000,
        "jti": f"token-{number}",
        "groups": ["readers", "writers"],
        "scope": "openid profile",
    }
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "k"})


def asking(app: App, tokens: Sequence[str], paths: Iterable[str] = itertools.repeat("/api/v20/items/7")) -> AsyncBody:
    """A benchmark body; each request shows the next of the tokens, and asks for the next of the paths."""
    asked = iter(paths)
    shown = itertools.cycle([(b"authorization", b"Bearer " + text.encode()) for text in tokens])
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def body(calls: int) -> None:
        for _ in range(calls):
            await app(_scope(next(shown), next(asked)), receive, send)
        await asyncio.sleep(0)
        if set(statuses) != {200}:
            raise AssertionError(statuses)
        statuses.clear()

    return body


def _scope(authorization: tuple[bytes, bytes], path: str) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("10.0.0.2", 8080),
        "client": ("10.0.0.1", 40000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"page=2",
        "headers": [*HEADERS, authorization],
        "state": {},
    }


def decoding(app: App, key: rsa.RSAPublicKey) -> App:
    """The application behind a middleware that does nothing but decode the token."""

    async def decode(scope: Message, receive: Any, send: Any) -> None:
        value = next(value for name, value in scope["headers"] if name == b"authorization")
        text = value[7:].decode()
        scope["claims"] = jwt.decode(text, key, algorithms=["RS256"], audience="shop", issuer=ISSUER)
        await app(scope, receive, send)

    return decode


async def measure_known(key: rsa.RSAPrivateKey, *, rounds: int, calls: int) -> Comparison:
    """A token that was seen before."""
    counted = mesh(key)
    counted.metrics(CollectorRegistry())
    tokens, paths = [token(key, 0)], map("/api/v20/items/{}".format, itertools.count())
    variants = {
        BARE: asking(application(), tokens),
        AGAIN: asking(application(), tokens),
        OPEN: asking(MeshMiddleware(application(), Mesh.load([])), tokens),
        GOVERNED: asking(MeshMiddleware(application(), counted), tokens),
        WANDERING: asking(MeshMiddleware(application(), counted), tokens, paths),
    }
    return await compare_async("middleware", variants, rounds=rounds, calls=calls, again=AGAIN)


async def measure_fresh(key: rsa.RSAPrivateKey, *, rounds: int, calls: int) -> Comparison:
    """Tokens that were not."""
    tokens = [token(key, number) for number in range(MORE_THAN_REMEMBERED)]
    variants = {
        KNOWN: asking(application(), tokens),
        PYJWT: asking(decoding(application(), key.public_key()), tokens),
        FRESH: asking(MeshMiddleware(application(), mesh(key)), tokens),
    }
    return await compare_async("middleware_fresh", variants, rounds=rounds, calls=calls)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=150, calls=200, argv=argv)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    known = asyncio.run(measure_known(key, rounds=options.rounds, calls=options.calls))
    emit(known)
    emit_figure("ASGI middleware: added", known.added(GOVERNED), "µs", noise=known.noise)
    fresh = asyncio.run(measure_fresh(key, rounds=options.rounds, calls=max(options.calls // 4, 1)))
    emit(fresh)
    emit_figure("ASGI, new token ÷ PyJWT", fresh.added_ratio(FRESH, PYJWT), "×")


if __name__ == "__main__":
    main()
