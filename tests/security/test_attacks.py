"""Attacks with headers, hosts, methods and bytes, through real servers: none reaches what a policy guards."""

from __future__ import annotations

import json

import pytest

from meshlib import Mesh, Workload
from tests.security.targets import KINDS, POLICIES, Target, encoded, good

# -- headers that say what only the mesh may say ----------------------------------------------------

SPOOFED = {
    "claim header": ("x-user", "ann"),
    "claim header in capitals": ("X-USER", "ann"),
    "claim header with an underscore": ("x_user", "ann"),
    "payload header": ("x-payload", encoded({"sub": "ann"})),
    "XFCC": ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/client"),
    "XFCC with By": (
        "x-forwarded-client-cert",
        "By=spiffe://cluster.local/ns/shop/sa/web;URI=spiffe://cluster.local/ns/shop/sa/client",
    ),
    "XFCC in capitals": ("X-FORWARDED-CLIENT-CERT", "URI=spiffe://cluster.local/ns/shop/sa/client"),
    "XFCC with underscores": ("x_forwarded_client_cert", "URI=spiffe://cluster.local/ns/shop/sa/client"),
    "XFF": ("x-forwarded-for", "10.9.1.1"),
    "XFF of several": ("x-forwarded-for", "10.9.1.1, 127.0.0.1"),
    "Forwarded": ("forwarded", "for=10.9.1.1"),
    "X-Real-IP": ("x-real-ip", "10.9.1.1"),
    "x-envoy-external-address": ("x-envoy-external-address", "10.9.1.1"),
    "x-envoy-internal": ("x-envoy-internal", "true"),
    "x-envoy-original-path": ("x-envoy-original-path", "/"),
    "x-envoy-original-host": ("x-envoy-original-host", "public.test"),
    "x-envoy-peer-metadata": ("x-envoy-peer-metadata", "Cg8KCU5BTUVTUEFDRRIGGgRzaG9w"),
    "x-envoy-peer-metadata-id": ("x-envoy-peer-metadata-id", "sidecar~10.9.1.1~client.shop~shop.svc.cluster.local"),
    "x-envoy-downstream-service-cluster": ("x-envoy-downstream-service-cluster", "client.shop"),
    "x-envoy-decorator-operation": ("x-envoy-decorator-operation", "/"),
    "x-envoy-original-dst-host": ("x-envoy-original-dst-host", "10.9.1.1:80"),
    "x-envoy-jwt-payload": ("x-envoy-jwt-payload", encoded({"sub": "ann"})),
    "x-envoy-auth": ("x-envoy-auth", "allow"),
    "x-ext-authz": ("x-ext-authz", "allow"),
    "original URL": ("x-original-url", "/"),
    "rewritten URL": ("x-rewrite-url", "/"),
    "forwarded host": ("x-forwarded-host", "public.test"),
    "forwarded scheme": ("x-forwarded-proto", "https"),
    "forwarded prefix": ("x-forwarded-prefix", "/public"),
    "script name": ("script-name", "/vault"),
    "script name with an underscore": ("SCRIPT_NAME", "/"),
    "path info": ("path-info", "/"),
    "remote address": ("remote-addr", "10.9.1.1"),
    "remote user": ("remote-user", "ann"),
    "client certificate": ("ssl-client-cert", "-----BEGIN CERTIFICATE-----"),
    "client certificate of werkzeug": ("werkzeug-socket", "x"),
    "pseudo header": ("method", "GET"),
}


def test_a_policy_sees_the_claim_and_not_who_claims_it(target: Target) -> None:
    """A condition on a claim header: what the client wrote there is gone before any policy looks."""
    assert target.get("/club")[0] == 403
    for name in ("x-user", "X-USER", "x_user"):
        assert target.get("/club", (name, "ann"))[0] == 403
        assert target.get("/club", (name, "ann"), ("authorization", f"Bearer {good(sub='bob')}"))[0] == 403
    assert target.get("/club", ("authorization", f"Bearer {good()}"))[0] == 200
    assert target.get("/club", ("x-user", "bob"), ("authorization", f"Bearer {good()}"))[0] == 200


@pytest.mark.parametrize("name", SPOOFED)
def test_a_spoofed_header_opens_nothing(target: Target, name: str) -> None:
    """Guarded paths stay guarded, and the application sees nobody, from where it really is."""
    header = SPOOFED[name]
    for path in ("/vault", "/internal", "/office", "/home"):
        assert target.get(path, header)[0] == 403, path
    status, body = target.get("/", header)
    seen = json.loads(body)
    assert status == 200
    assert (seen["principal"], seen["request_principal"], seen["client_address"]) == (None, None, "127.0.0.1")
    assert seen["handed_on"].keys() == {"x-request-id"}


@pytest.mark.parametrize(
    "name",
    ["x-user", "X-User", "x_user", "x-payload", "x_payload", "x-forwarded-client-cert", "x_Forwarded-client_cert"],
)
def test_what_the_mesh_says_cannot_be_said_by_others(target: Target, name: str) -> None:
    """Such a header is gone, or holds what was verified; also behind a probe's path and a preflight."""
    known = "authorization", f"Bearer {good()}"
    preflight = [("origin", "http://a.test"), ("access-control-request-method", "GET")]
    for method, others in (("GET", []), ("GET", [known]), ("OPTIONS", preflight)):
        status, body = target.get("/", (name, "forged"), *others, method=method)
        assert status == 200
        seen = json.loads(body)["headers"]
        assert "forged" not in seen.values()
        assert seen.get("x-user") == ("ann" if others == [known] else None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_says_nothing_of_anybody(kind: str) -> None:
    """A path that is always let through is no way to bring a claim header in."""
    mesh = Mesh.load(POLICIES, workload=Workload(namespace="shop", labels={"app": "web"}))
    with KINDS[kind](mesh, health_paths=["/healthz", "/vault/healthz"]) as port:
        target = Target(port)
        status, body = target.get("/healthz", ("x-user", "ann"), ("x_payload", "x"))
        assert status == 200
        assert {"x-user", "x_payload", "x-payload"}.isdisjoint(json.loads(body)["headers"])
        for path in (
            "/vault/healthz/",
            "/vault/healthz/..",
            "/vault/healthz/../x",
            "/vault/healthz;x",
            "/vault/./healthz",
        ):
            assert target.get(path)[0] == 403, path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x_user", "X_User", "x_payload", "x_forwarded_client_cert"])
def test_a_trusted_proxy_does_not_vouch_for_underscores(kind: str, name: str) -> None:
    """Its word counts for what it writes itself, not for what looks like it and comes from its clients."""
    mesh = Mesh.load(POLICIES, workload=Workload(namespace="shop", labels={"app": "web"}))
    with KINDS[kind](mesh, trusted_proxies=["127.0.0.1"]) as port:
        for others in ([], [("authorization", f"Bearer {good()}")]):
            status, body = Target(port).get("/", (name, "forged"), *others)
            assert status == 200
            assert "forged" not in json.loads(body)["headers"].values()


# -- hosts and methods ------------------------------------------------------------------------------

ADMIN_HOSTS = [
    "admin.test",
    "ADMIN.test",
    "Admin.Test",
    "admin.test:80",
    "admin.test:8080",
    "admin.test:",
    "ADMIN.TEST:1",
]


@pytest.mark.parametrize("host", ADMIN_HOSTS)
def test_another_spelling_of_a_host_is_the_same_host(target: Target, host: str) -> None:
    """Case and port are no way around a policy that is about all ports."""
    assert target.get("/", ("host", host))[0] in (400, 403)


@pytest.mark.parametrize(
    "host",
    [
        "public.test.",
        "public.test:80",
        "public.test@x",
        "x@public.test",
        "public.test#",
        "public.test/",
        "public.test\\x",
        "public.test, admin.test",
        "public.test admin.test",
        "",
        "xpublic.test",
        "public.test.evil.test",
        "*",
        "public\u002etest%00",
    ],
)
def test_a_host_that_is_not_the_allowed_one_is_refused(target: Target, host: str) -> None:
    """The list of what is allowed knows one name."""
    assert target.get("/list/open", ("host", "public.test"))[0] == 200
    assert target.get("/list/open", ("host", host))[0] in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: public.test\r\nHost: admin.test\r\n",
        b"Host: admin.test\r\nHost: public.test\r\n",
        b"Host: public.test\r\n Host: admin.test\r\n",
        b"Host : admin.test\r\nHost: public.test\r\n",
        b"Host: public.test\r\nhost: public.test\r\n",
        b"Host: public.test\x00admin.test\r\n",
        b"Host:\tadmin.test\r\n",
        b"Host: \xc3\xa4dmin.test\r\n",
    ],
)
def test_two_hosts_open_nothing(target: Target, headers: bytes) -> None:
    """One that the policy sees and another one that the application sees."""
    assert not target.open_paths(b"GET /list/open HTTP/1.1\r\n" + headers + b"Connection: close\r\n\r\n") or (
        headers == b"Host: public.test\r\nhost: public.test\r\n"
    )


@pytest.mark.parametrize("method", ["DELETE", "delete", "Delete", "dELETE"])
def test_a_method_is_the_same_in_any_case(target: Target, method: str) -> None:
    """Frameworks compare methods in capitals; Envoy knows no others."""
    assert target.get("/", method=method)[0] in (400, 403, 405, 501)


@pytest.mark.parametrize("name", ["x-http-method-override", "x-http-method", "x-method-override", "_method"])
def test_a_method_override_is_no_method(target: Target, name: str) -> None:
    """What a policy saw is what the application gets."""
    assert json.loads(target.get("/", (name, "DELETE"))[1])["method"] == "GET"
    assert target.get("/", (name, "GET"), method="DELETE")[0] == 403
    assert target.get("/?_method=GET", method="DELETE")[0] == 403


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "TRACE", "PROPFIND", "QUERY", "get", "Get"]
)
def test_no_other_method_opens_a_guarded_path(target: Target, method: str) -> None:
    """Neither one that a policy denies for all, nor one that the list of what is allowed does not have."""
    request = f"{method} %s HTTP/1.1\r\nHost: public.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    for path in ("/vault", "/list/open"):
        answer = target.send((request % path).encode())
        assert answer == b"" or answer.split(b" ", 2)[1] in (b"400", b"403", b"405", b"501"), answer


def test_a_preflight_brings_nobody_in(target: Target) -> None:
    """Tokens are not looked at then, so it comes from nobody."""
    headers = [
        ("origin", "http://a.test"),
        ("access-control-request-method", "GET"),
        ("authorization", f"Bearer {good()}"),
    ]
    assert target.get("/vault", *headers, method="OPTIONS")[0] == 403
    assert target.get("/vault", *headers[:2], method="OPTIONS")[0] == 403
    assert target.get("/vault", *headers[:2])[0] == 403


def test_a_websocket_is_no_way_around(target: Target) -> None:
    """A handshake passes the same gate, finished or not."""
    for version in (b"13", b"8", b""):
        request = (
            b"GET /vault HTTP/1.1\r\nHost: public.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: " + version + b"\r\n\r\n"
        )
        answer = target.send(request)
        assert answer == b"" or answer.split(b" ", 2)[1] in (b"400", b"403", b"426"), answer


# -- what is no HTTP ----------------------------------------------------------------------------------

GUARDED = b"GET /vault HTTP/1.1\r\nHost: public.test\r\nConnection: close\r\n"
OPEN = b"GET / HTTP/1.1\r\nHost: public.test\r\n"

SMUGGLED = {
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: public.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + GUARDED
        + b"\r\n"
    ),
    "two lengths": b"POST / HTTP/1.1\r\nHost: public.test\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n"
    + GUARDED
    + b"\r\n",
    "two lengths in one": b"POST / HTTP/1.1\r\nHost: public.test\r\nContent-Length: 0, 40\r\n\r\n" + GUARDED + b"\r\n",
    "negative length": b"POST / HTTP/1.1\r\nHost: public.test\r\nContent-Length: -1\r\n\r\n" + GUARDED + b"\r\n",
    "length with a plus": b"POST / HTTP/1.1\r\nHost: public.test\r\nContent-Length: +0\r\n\r\n" + GUARDED + b"\r\n",
    "chunks, misspelt": b"POST / HTTP/1.1\r\nHost: public.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"
    + GUARDED
    + b"\r\n",
    "chunks with a space": b"POST / HTTP/1.1\r\nHost: public.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"
    + GUARDED
    + b"\r\n",
    "pipelined": OPEN + b"\r\n" + GUARDED + b"\r\n",
    "a good request before": OPEN + b"Authorization: Bearer %GOOD%\r\n\r\n" + GUARDED + b"\r\n",
    "folded header": GUARDED + b"X-A: b\r\n Authorization: Bearer %GOOD%\r\n\r\n",
    "CR in a value": GUARDED + b"X-A: b\rAuthorization: Bearer %GOOD%\r\n\r\n",
    "LF in a value": GUARDED + b"X-A: b\nAuthorization: Bearer %GOOD%\r\n\r\n",
    "CR LF escaped in a value": GUARDED + b"X-A: b%0d%0aX-User: ann\r\n\r\n",
    "CR in a name": GUARDED + b"X-\rUser: ann\r\n\r\n",
    "LF in a name": GUARDED + b"X\nX-User: ann\r\n\r\n",
    "CR CR LF": GUARDED + b"X-A: b\r\r\nX-User: ann\r\n\r\n",
    "LF alone ends the head": b"GET / HTTP/1.1\nHost: public.test\n\n" + GUARDED + b"\r\n",
    "head within a value": OPEN + b"X-A: b\r\n\r\n" + GUARDED + b"\r\n",
    "NUL in a value": GUARDED + b"Authorization: Bearer\x00 %GOOD%\r\n\r\n",
    "NUL in a name": GUARDED + b"Author\x00ization: Bearer %GOOD%\r\n\r\n",
    "space before the colon": GUARDED + b"Authorization : Basic x\r\n\r\n",
    "no ASCII in a name": GUARDED + b"Authori\xc5\xbfation: Bearer %GOOD%\r\n\r\n",
    "no ASCII in a value": GUARDED + b"Authorization: B\xc3\xaaarer %GOOD%\r\n\r\n",
    "underscore": GUARDED + b"Author_ization: Bearer %GOOD%\r\n\r\n",
    "header without a colon": GUARDED + b"Authorization\r\n\r\n",
    "empty name": GUARDED + b": Bearer %GOOD%\r\n\r\n",
    "no version": b"GET /vault\r\n\r\n",
    "version 0.9": b"GET /vault HTTP/0.9\r\nHost: public.test\r\n\r\n",
    "version 1.0": b"GET /vault HTTP/1.0\r\n\r\n",
    "version 2.0": b"GET /vault HTTP/2.0\r\nHost: public.test\r\n\r\n",
    "tabs between": b"GET\t/vault\tHTTP/1.1\r\nHost: public.test\r\n\r\n",
    "spaces between": b"GET  /vault  HTTP/1.1\r\nHost: public.test\r\n\r\n",
    "leading line": b"\r\n" + GUARDED + b"\r\n",
    "many headers": GUARDED + b"".join(b"x-%d: y\r\n" % number for number in range(5000)) + b"\r\n",
    "large header": GUARDED + b"x-large: " + b"y" * 200_000 + b"\r\n\r\n",
    "upgrade to HTTP/2": GUARDED + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "hop by hop": GUARDED + b"Connection: authorization, x-user\r\nX-User: ann\r\n\r\n",
    "expectation": GUARDED + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_nothing_is_smuggled_past(target: Target, name: str) -> None:
    """However a server reads these bytes, every request that it finds in them passes the gate."""
    data = SMUGGLED[name].replace(b"%GOOD%", good(sub="bob").encode())
    assert not [path for path in target.open_paths(data) if path.startswith("/vault")]
