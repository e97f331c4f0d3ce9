"""The gateway: a real client, a real server, real services behind it."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest
import uvicorn
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from meshlib import Mesh, Workload
from meshlib.adapters.gateway import MeshGateway
from meshlib.errors import MeshError
from tests.adapters.gateway_servers import GATEWAY, INGRESS, gateway, serve_app, service
from tests.adapters.servers import upstream
from tests.patience import PATIENCE, until
from tests.ports import closed_port

pytestmark = pytest.mark.anyio

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
JWKS = json.dumps({"keys": [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k"}]})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def rules(*http: str) -> str:
    """A VirtualService for all hosts of the gateway."""
    lines = "".join(f"\n  - {one}" for one in http)
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: front, namespace: shop}}
spec:
  hosts: ["*"]
  gateways: [front]
  http:{lines}
---
"""


HANDSHAKE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TO_A = "route: [{destination: {host: a.test}}]"


async def test_a_request_goes_to_the_service_of_its_route_as_envoy_sends_it() -> None:
    """Headers as Envoy 1.39 with use_remote_address: only a gateway's own word on who asks, and a new request id."""
    outside = {
        "x-request-id": "mine",
        "x-forwarded-for": "1.2.3.4",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "h",
        "x-forwarded-client-cert": "URI=spiffe://x",
        "x-envoy-external-address": "9.9.9.9",
        "x-envoy-internal": "true",
        "x-envoy-retry-on": "5xx",
        "keep-alive": "300",
        "connection": "x-own",
        "x-own": "1",
        "x-kept": "é",
        "host": "shop.example",
    }
    async with upstream() as a, gateway(GATEWAY + service("a", a.port) + rules(TO_A)) as (client, url):
        async with client.get(url + "/x/../a%2Fb?q=%20&r", headers=outside) as response:
            seen = await response.json()
    assert (seen["path"], seen["host"]) == ("/a%2Fb?q=%20&r", "shop.example")
    headers = seen["headers"]
    assert headers["x-forwarded-for"] == "1.2.3.4,127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == "h"
    assert headers["x-envoy-external-address"] == "127.0.0.1"
    assert headers["x-kept"] == "é"
    assert headers["x-request-id"] != "mine"
    assert len(headers["x-request-id"]) == 36
    gone = {"x-forwarded-client-cert", "x-envoy-internal", "x-envoy-retry-on", "keep-alive", "x-own"}
    assert not gone.intersection(headers)
    assert response.headers["server"] == "istio-envoy"
    assert "date" in response.headers
    assert int(response.headers["x-envoy-upstream-service-time"]) >= 0


async def test_proxies_before_the_gateway_count_as_many_as_the_mesh_says() -> None:
    """numTrustedProxies: Envoy 1.39 takes the N-th address from the right and keeps the proto."""
    config = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}
---
"""
    outside = {"x-forwarded-for": "1.1.1.1, 2.2.2.2", "x-forwarded-proto": "https"}
    async with upstream() as a, gateway(GATEWAY + config + service("a", a.port) + rules(TO_A)) as (client, url):
        async with client.get(url, headers=outside) as response:
            headers = (await response.json())["headers"]
    assert headers["x-forwarded-for"] == "1.1.1.1, 2.2.2.2,127.0.0.1"
    assert headers["x-envoy-external-address"] == "2.2.2.2"
    assert headers["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_what_the_mesh_answers_itself_reaches_the_client(http: str) -> None:
    """No route, no such service, nobody there, a redirect, a direct response, an abort: as Envoy words them."""
    dead = closed_port()
    yaml = (
        GATEWAY
        + service("a", dead)
        + rules(
            "{match: [{uri: {exact: /gone}}], route: [{destination: {host: gone.test}}]}",
            "{match: [{uri: {exact: /dead}}], retries: {attempts: 0}, route: [{destination: {host: a.test}}]}",
            "{match: [{uri: {prefix: /old}}], redirect: {uri: /new, redirectCode: 302}}",
            "{match: [{uri: {prefix: /hello}}], directResponse: {status: 418, body: {string: tea}}}",
            "{match: [{uri: {prefix: /abort}}], fault: {abort: {httpStatus: 429, percentage: {value: 100}}}, "
            "route: [{destination: {host: a.test}}]}",
        )
    )
    async with gateway(yaml, http=http) as (client, url):

        async def ask(path: str) -> tuple[int, str, str | None]:
            async with client.get(url + path, allow_redirects=False) as response:
                assert response.headers["server"] == "istio-envoy"
                return response.status, await response.text(), response.headers.get("location")

        assert await ask("/other") == (404, "", None)
        assert await ask("/gone") == (503, "", None)
        status, body, _ = await ask("/dead")
        assert status == 503
        assert body.startswith("upstream connect error or disconnect/reset before headers")
        assert await ask("/old/x?y=1") == (302, "", url.replace("http://", "http://") + "/new?y=1")
        assert await ask("/hello") == (418, "tea", None)
        assert await ask("/abort") == (429, "fault filter abort", None)


async def test_plain_http_is_sent_to_https_where_the_gateway_says_so() -> None:
    """httpsRedirect: 301 for every host, with the host's port kept, as Envoy does."""
    redirecting = GATEWAY.replace('hosts: ["*"]', 'hosts: ["*"]\n    tls: {httpsRedirect: true}')
    async with gateway(redirecting) as (client, url):
        headers = {"host": "shop.example:8080"}
        async with client.get(url + "/a?b=c", headers=headers, allow_redirects=False) as response:
            assert (response.status, response.headers["location"]) == (301, "https://shop.example:8080/a?b=c")


async def test_cors_is_answered_and_marked() -> None:
    """A preflight never reaches the service; the request after it gets its header."""
    cors = "{corsPolicy: {allowOrigins: [{exact: https://web}], allowMethods: [PUT], maxAge: 60s}, " + TO_A + "}"
    async with upstream() as a, gateway(GATEWAY + service("a", a.port) + rules(cors)) as (client, url):
        preflight = {"origin": "https://web", "access-control-request-method": "PUT"}
        async with client.options(url, headers=preflight) as response:
            assert response.status == 200
            assert response.headers["access-control-allow-methods"] == "PUT"
        assert a.seen == []
        async with client.get(url, headers={"origin": "https://web"}) as response:
            assert response.headers["access-control-allow-origin"] == "https://web"


async def test_retries_send_the_body_again() -> None:
    """A small body, a streamed one: both are there in the second attempt."""
    retried = "{retries: {attempts: 2, retryOn: 5xx}, " + TO_A + "}"

    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with upstream(503) as a, gateway(GATEWAY + service("a", a.port) + rules(retried)) as (client, url):
        async with client.post(url, data=b"small") as response:
            assert (response.status, (await response.json())["body"]) == (200, "small")
        a.script = [503]
        async with client.post(url, data=parts()) as response:
            assert (response.status, (await response.json())["body"]) == (200, "one two")
    assert [seen[3] for seen in a.seen] == [b"small", b"small", b"one two", b"one two"]


async def test_a_large_body_streams_through_and_is_not_sent_again() -> None:
    """Beyond Envoy's buffer of 1 MiB: the first answer stands."""
    retried = "{retries: {attempts: 2, retryOn: 5xx}, " + TO_A + "}"

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    sizes: list[int] = []

    async def count(request: web.Request) -> web.Response:
        sizes.append(sum([len(part) async for part in request.content.iter_any()]))
        return web.Response(status=503)

    async with upstream(count=count) as a, gateway(GATEWAY + service("a", a.port) + rules(retried)) as (client, url):
        async with client.post(url + "/count", data=parts()) as response:
            assert response.status == 503
        async with client.post(url + "/count", data=io.BytesIO(b"x" * 3_000_000)) as response:
            assert response.status == 503
    assert sizes == [40 * 65536, 3_000_000]


async def test_both_directions_stream_at_once() -> None:
    """Each part is answered before the next one is sent: nothing waits for the whole."""

    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in request.content.iter_any():
            await response.write(part.upper())
        return response

    answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def parts() -> AsyncIterator[bytes]:
        for word in (b"one", b"two", b"three"):
            yield word
            assert await asyncio.wait_for(answers.get(), PATIENCE) == word.upper()

    async with upstream(echo=echo) as a, gateway(GATEWAY + service("a", a.port) + rules(TO_A)) as (client, url):
        async with client.post(url + "/echo", data=parts()) as response:
            async for part in response.content.iter_any():
                answers.put_nowait(part)


async def test_answers_pass_as_they_are() -> None:
    """Compressed bodies, several cookies, no body where there is none, a length without a body for HEAD."""
    packed = gzip.compress(b"packed")

    async def answer(request: web.Request) -> web.Response:
        match request.query["kind"]:
            case "gzip":
                return web.Response(body=packed, headers={"content-encoding": "gzip", "etag": '"1"', "server": "own"})
            case "cookies":
                found = web.Response(text="é", headers={"x-own": "é"})
                found.headers.add("set-cookie", "a=1; Path=/")
                found.headers.add("set-cookie", "b=2")
                return found
            case kind:
                return web.Response(status=int(kind))

    async with upstream(answer=answer) as a, gateway(GATEWAY + service("a", a.port) + rules(TO_A)) as (client, url):
        async with client.get(url + "/answer?kind=gzip") as response:
            assert await response.read() == packed
            assert response.headers["content-encoding"] == "gzip"
            assert response.headers["content-length"] == str(len(packed))
            assert response.headers.getall("server") == ["istio-envoy"]
            assert len(response.headers.getall("date")) == 1
        async with client.head(url + "/answer?kind=gzip") as response:
            assert (response.headers["content-length"], await response.read()) == (str(len(packed)), b"")
        async with client.get(url + "/answer?kind=cookies", headers={"cookie": "c=3; d=4"}) as response:
            assert response.headers.getall("set-cookie") == ["a=1; Path=/", "b=2"]
            assert (response.headers["x-own"], await response.text()) == ("é", "é")
        for status in (204, 304, 404, 500):
            async with client.get(f"{url}/answer?kind={status}") as response:
                assert response.status == status
                await response.read()
        async with client.get(url + "/seen", headers={"cookie": "c=3; d=4"}) as response:
            headers = (await response.json())["headers"]
            assert headers["cookie"] == "c=3; d=4"


async def test_a_slow_client_holds_the_service_back() -> None:
    """Nothing piles up in the gateway: the service stops where the client stops reading."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            sent += 65536

    async with upstream(endless=endless) as a, gateway(GATEWAY + service("a", a.port) + rules(TO_A)) as (client, url):
        response = await client.get(url + "/endless")
        await response.content.readexactly(1 << 20)
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 64 << 20
        response.close()


async def test_a_client_that_goes_away_ends_the_request_upstream() -> None:
    """And every counter is at rest."""
    came, ended = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        came.set()
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    async with upstream(slow=slow) as a:
        mesh = Mesh.load(GATEWAY + service("a", a.port) + rules(TO_A), workload=INGRESS)
        async with serve_app(MeshGateway(mesh)) as port:
            async with aiohttp.ClientSession() as client:
                response = await client.get(f"http://127.0.0.1:{port}/slow")
                await asyncio.wait_for(came.wait(), PATIENCE)
                response.close()
                await asyncio.wait_for(ended.wait(), PATIENCE)
            live = mesh.runtime.clusters()["outbound|80||a.test"]
            await until(lambda: not live.state.active)


async def test_a_service_that_breaks_off_breaks_the_connection() -> None:
    """The client must not take half of a body for all of it."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "10"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with upstream(half=half) as a, gateway(GATEWAY + service("a", a.port) + rules(TO_A)) as (client, url):
        async with client.get(url + "/half") as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_mirrors_get_their_copy() -> None:
    """In the background, with the body."""
    mirrored = "{mirror: {host: b.test}, " + TO_A + "}"
    async with upstream() as a, upstream() as b:
        yaml = GATEWAY + service("a", a.port) + service("b", b.port) + rules(mirrored)
        async with gateway(yaml) as (client, url):
            async with client.post(url + "/x", data=b"copied") as response:
                assert response.status == 200
            await until(lambda: b.seen)
    assert [(seen[0], seen[1], seen[3]) for seen in b.seen] == [("POST", "/x", b"copied")]


TOKENS = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: shop}}
spec:
  jwtRules:
  - issuer: https://issuer.test
    jwks: '{JWKS}'
    forwardOriginalToken: true
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: deny, namespace: shop}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: [/admin*]}}}}]}}]}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: shop}}
spec: {{mtls: {{mode: STRICT}}}}
---
"""


async def test_claims_of_a_token_choose_the_route() -> None:
    """@request.auth.claims at run time; a forged token is a 401, a denied path a 403; peers' rules are not asked."""
    claims = (
        "{match: [{headers: {'@request.auth.claims.group': {exact: beta}}}], route: [{destination: {host: b.test}}]}"
    )

    def token(**own: object) -> dict[str, str]:
        made = jwt.encode(
            {"iss": "https://issuer.test", "sub": "ann", "exp": time.time() + 86_400, **own},
            KEY,
            algorithm="RS256",
            headers={"kid": "k"},
        )
        return {"authorization": f"Bearer {made}"}

    async with upstream(name="a") as a, upstream(name="b") as b:
        yaml = GATEWAY + TOKENS + service("a", a.port) + service("b", b.port) + rules(claims, TO_A)
        async with gateway(yaml) as (client, url):

            async def served_by(headers: dict[str, str]) -> str:
                async with client.get(url, headers=headers) as response:
                    assert response.status == 200, await response.text()
                    return str((await response.json())["server"])

            assert await served_by(token(group="beta")) == "b"
            assert await served_by(token(group="other")) == "a"
            assert await served_by({}) == "a"
            forged = {"authorization": token(group="beta")["authorization"][:-8] + "AAAAAAAA"}
            async with client.get(url, headers=forged) as response:
                assert (response.status, await response.text()) == (401, "Jwt verification fails")
            async with client.get(url + "/x/../admin/y") as response:
                assert (response.status, await response.text()) == (403, "RBAC: access denied")


async def test_websockets_pass_both_ways_with_their_closing() -> None:
    """Text, bytes, the subprotocol, the closing code of either side; a refusal is a refusal."""

    async def socket(request: web.Request) -> web.StreamResponse:
        if request.headers.get("x-refuse"):
            return web.Response(status=409, headers={"x-why": "taken"})
        found = web.WebSocketResponse(protocols=["chat"])
        found.headers["set-cookie"] = "seat=4"
        await found.prepare(request)
        async for message in found:
            if message.data == "bye":
                await found.close(code=4001, message=b"well")
            elif message.type is aiohttp.WSMsgType.TEXT:
                await found.send_str(message.data + request.headers["x-forwarded-for"])
            else:
                await found.send_bytes(message.data[::-1])
        codes.append(found.close_code)
        return found

    codes: list[int | None] = []
    async with upstream(socket=socket) as a, gateway(GATEWAY + service("a", a.port) + rules(TO_A)) as (client, url):
        async with client.ws_connect(url + "/socket", protocols=["chat"]) as connection:
            assert connection.protocol == "chat"
            await connection.send_str("from ")
            assert await connection.receive_str() == "from 127.0.0.1"
            await connection.send_bytes(b"abc")
            assert await connection.receive_bytes() == b"cba"
            await connection.send_str("bye")
            assert (await connection.receive()).data == 4001
        async with client.get(url + "/socket", headers=HANDSHAKE) as answer:
            assert answer.status == 101
            assert answer.headers["set-cookie"] == "seat=4"
            assert answer.headers.getall("server") == ["istio-envoy"]
            assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        async with client.ws_connect(url + "/socket") as connection:
            await connection.close(code=4002)
        await until(lambda: len(codes) == 3)
        assert 4002 in codes
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(url + "/socket", headers={"x-refuse": "1"})
        assert refused.value.status == 409
        assert refused.value.headers is not None
        assert refused.value.headers["x-why"] == "taken"


async def test_a_new_configuration_counts_from_the_next_request() -> None:
    """Without a restart, and connections of services stay."""
    async with upstream(name="a") as a, upstream(name="b") as b:
        services = GATEWAY + service("a", a.port) + service("b", b.port)
        mesh = Mesh.load(services + rules(TO_A), workload=INGRESS)
        async with serve_app(MeshGateway(mesh)) as port, aiohttp.ClientSession() as client:
            for host in ("a", "b"):
                mesh.publish(services + rules(TO_A.replace("a.test", f"{host}.test")))
                async with client.get(f"http://127.0.0.1:{port}/") as response:
                    assert (await response.json())["server"] == host


@pytest.mark.parametrize("target", [b"*", b"x", b"http://other.test/y"])
async def test_odd_targets_do_no_harm(target: bytes) -> None:
    """A request line that names no path is refused; one that names a whole URL is read as its path."""
    async with upstream() as a, gateway(GATEWAY + service("a", a.port) + rules(TO_A), http="h11") as (_, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"OPTIONS " + target + b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        status = int((await reader.read()).split(b" ", 2)[1])
        writer.close()
    assert status == (200 if b"/" in target else 400)
    assert [seen[1:3] for seen in a.seen] == ([("/y", "other.test")] if b"/" in target else [])


BREAKS_OFF = pytest.mark.skipif(
    tuple(map(int, uvicorn.__version__.split(".")[:2])) < (0, 52),
    reason="with websockets 17, uvicorn before 0.52 breaks off handshakes with bytes that are no ASCII",
)


@pytest.mark.parametrize(
    "upgrade", [b"", pytest.param(b"connection: upgrade\r\nupgrade: websocket\r\n", marks=BREAKS_OFF)]
)
async def test_a_header_is_sent_whole_or_not_at_all(upgrade: bytes) -> None:
    """Bytes that are no UTF-8 were left out of it, after a policy had taken the rest for another value."""
    deny = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec: {action: DENY, rules: [{when: [{key: "request.headers[x-role]", values: [admin]}]}]}
---
"""
    async with upstream() as a, gateway(GATEWAY + deny + service("a", a.port) + rules(TO_A)) as (_, url):
        statuses = []
        for value in (b"admin", b"admin\xff", b"adm\xc3\xa4n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            end = upgrade or b"connection: close\r\n"
            key = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n" if upgrade else b""
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nx-role: " + value + b"\r\n" + end + key + b"\r\n")
            statuses.append(int((await reader.readline()).split(b" ", 2)[1]))
            writer.close()
    assert statuses[:2] == [403, 400]
    assert len(a.seen) == 1


async def test_an_authorizer_adds_to_both_directions() -> None:
    """Asked with the body before anything else; what it returns goes up and comes back."""
    asked: list[bytes] = []

    async def check(request: web.Request) -> web.Response:
        asked.append(await request.read())
        allowed = {"x-user": "ann", "x-seen": "yes"}
        return web.Response(status=200 if asked[-1] != b"evil" else 403, headers=allowed)

    async def socket(request: web.Request) -> web.WebSocketResponse:
        found = web.WebSocketResponse()
        await found.prepare(request)
        return found

    async with upstream(check=check) as authorizer, upstream(socket=socket) as a:
        config = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: own
      envoyExtAuthzHttp:
        service: auth.test
        port: 80
        pathPrefix: /check?
        headersToUpstreamOnAllow: [x-user]
        headersToDownstreamOnAllow: [x-seen]
        includeRequestBodyInCheck: {maxRequestBytes: 4096}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: shop}
spec:
  action: CUSTOM
  provider: {name: own}
  rules: [{to: [{operation: {methods: [POST]}}, {operation: {paths: [/socket]}}]}]
---
"""
        yaml = GATEWAY + config + service("a", a.port) + service("auth", authorizer.port) + rules(TO_A)
        async with gateway(yaml) as (client, url):
            async with client.post(url + "/x", data=b"good", headers={"x-user": "root"}) as response:
                seen = await response.json()
                assert (seen["headers"]["x-user"], seen["body"]) == ("ann", "good")
                assert response.headers["x-seen"] == "yes"
            async with client.post(url + "/x", data=b"evil") as response:
                assert response.status == 403
            async with client.get(url + "/socket", headers=HANDSHAKE) as response:
                assert (response.status, response.headers["x-seen"]) == (101, "yes")
    assert asked == [b"good", b"evil", b""]
    assert [seen[3] for seen in a.seen] == [b"good"]


async def test_wrong_use_is_one_clear_error() -> None:
    """A mesh of a workload that is no gateway; a gateway that was closed."""
    with pytest.raises(MeshError, match=r"load it with workload=Workload\(gateway=True"):
        MeshGateway(Mesh.load(GATEWAY, workload=Workload()))
    closed = MeshGateway(Mesh.load(GATEWAY + rules(TO_A), workload=INGRESS))
    await closed.aclose()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"a")], "server": ("127.0.0.1", 80)}
    with pytest.raises(MeshError, match=r"was closed; make a new MeshGateway"):
        await closed(scope, _whole, _nothing)


async def _whole() -> dict[str, object]:
    return {"type": "http.request", "body": b""}


async def _nothing(_: object) -> None:
    raise AssertionError


async def test_the_last_good_response_stands_in_for_the_same_client_only() -> None:
    """A gateway has the requests of many: who sends another token, or none, gets the failure."""
    policy = """
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: front, namespace: shop}
spec: {hosts: ["*"], fallback: {lastGood: {maxAge: 60s}}}
---
"""
    answers = iter([b"of alice"])

    async def changing(request: web.Request) -> web.Response:
        body = next(answers, None)
        return web.Response(status=503) if body is None else web.Response(body=body)

    config = GATEWAY + policy + rules("{" + TO_A + ", retries: {attempts: 0}}")
    async with upstream(page=changing) as a, gateway(config + service("a", a.port)) as (client, url):
        seen = []
        for user in ("alice", "bob", "alice", ""):
            headers = {"authorization": user} if user else {}
            async with client.get(url + "/page", headers=headers) as response:
                seen.append((response.status, await response.read()))
    assert seen == [(200, b"of alice"), (503, b""), (200, b"of alice"), (503, b"")]


async def test_a_slow_request_gets_a_second_attempt() -> None:
    """As from any client of the mesh."""
    policy = """
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: front, namespace: shop}
spec: {hosts: ["*"], hedging: {delay: 50ms, budget: {value: 100}}}
---
"""
    hangs = iter([True])

    async def once_slow(request: web.Request) -> web.Response:
        if next(hangs, False):
            await asyncio.Event().wait()
        return web.Response(text="quick")

    config = GATEWAY + policy + rules(TO_A)
    async with upstream(page=once_slow) as a, gateway(config + service("a", a.port)) as (client, url):
        async with client.get(url + "/page") as response:
            assert (response.status, await response.text()) == (200, "quick")
