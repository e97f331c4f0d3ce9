"""The contract of clients: what the upstream gets, and what the caller sees of where it went."""

from __future__ import annotations

import io
from typing import Any

import pytest

from meshlib import MeshError
from tests.adapters.contract.conftest import HOST, URL, Kit


def test_host_stays_that_of_the_caller(kit: Kit) -> None:
    """Only the connection goes to the endpoint."""
    server = kit.upstream()
    kit.client().get(URL)
    assert server.seen[0].headers["host"] == HOST


def test_a_host_that_is_no_ascii(kit: Kit) -> None:
    """It is called by the name that DNS knows, and the mesh knows it by that, too."""
    server = kit.upstream()
    kit.mesh(host="xn--bcher-kva.example.com")
    assert kit.client().get("http://b\u00fccher.example.com/").status == 200
    assert server.seen[0].headers["host"] == "xn--bcher-kva.example.com"


def test_a_default_port_is_not_in_the_host(kit: Kit) -> None:
    """As the library itself would write it."""
    server = kit.upstream()
    kit.client().get(f"http://{HOST}:80/x")
    assert server.seen[0].headers["host"] == HOST


def test_path_and_query_pass_as_written(kit: Kit) -> None:
    """Nothing is decoded on the way."""
    server = kit.upstream()
    kit.client().get(URL + "a%20b?x=1&y=%26")
    assert server.seen[0].path == "/a%20b?x=1&y=%26"


def test_the_url_stays_that_of_the_caller(kit: Kit) -> None:
    """Never an address."""
    kit.upstream()
    reply = kit.client().get(URL + "a?b=c")
    assert "127.0.0.1" not in reply.url
    assert reply.url.endswith("/a?b=c")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods_pass(kit: Kit, method: str) -> None:
    """As they are."""
    server = kit.upstream()
    assert kit.client().request(method, URL).status == 200
    assert server.seen[0].method == method


def test_a_head_request_has_no_body(kit: Kit) -> None:
    """And its connection is used again."""
    server = kit.upstream()
    client = kit.client()
    assert [client.request("HEAD", URL).body for _ in range(2)] == [b"", b""]
    assert server.connections == 1
    assert kit.at_rest()


def test_headers_of_the_caller_pass(kit: Kit) -> None:
    """With their values."""
    server = kit.upstream()
    kit.client().get(URL, headers={"X-Team": "shop", "accept": "text/plain"})
    seen = server.seen[0].headers
    assert (seen["x-team"], seen["accept"]) == ("shop", "text/plain")


def test_the_mesh_adds_its_headers(kit: Kit) -> None:
    """Request id, attempt count and expected timeout, as Envoy does."""
    server = kit.upstream()
    kit.mesh(route={"timeout": "3s"})
    kit.client().get(URL)
    seen = server.seen[0].headers
    assert len(seen["x-request-id"]) == 36
    assert (seen["x-envoy-attempt-count"], seen["x-envoy-expected-rq-timeout-ms"]) == ("1", "3000")


def test_the_route_changes_request_headers(kit: Kit) -> None:
    """set, add and remove."""
    server = kit.upstream()
    change = {"set": {"x-set": "new"}, "add": {"x-add": "more"}, "remove": ["x-gone"]}
    kit.mesh(route={"headers": {"request": change}})
    kit.client().get(URL, headers={"x-set": "old", "x-gone": "yes"})
    seen = server.seen[0].headers
    assert (seen["x-set"], seen["x-add"]) == ("new", "more")
    assert "x-gone" not in seen


def test_the_route_changes_response_headers(kit: Kit) -> None:
    """And the caller sees it."""
    kit.upstream({"headers": [("x-old", "1"), ("x-gone", "1")]})
    kit.mesh(route={"headers": {"response": {"set": {"x-old": "2"}, "remove": ["x-gone"]}}})
    reply = kit.client().get(URL)
    assert reply.headers["x-old"] == "2"
    assert "x-gone" not in reply.headers


def test_the_route_rewrites_path_and_host(kit: Kit) -> None:
    """The upstream sees the new ones, the caller his own."""
    server = kit.upstream()
    rewrite = {"uri": "/new", "authority": "other.example.com"}
    kit.mesh(route={"match": [{"uri": {"prefix": "/old"}}], "rewrite": rewrite})
    reply = kit.client().get(URL + "old/x?y=1")
    assert (server.seen[0].path, server.seen[0].headers["host"]) == ("/new/x?y=1", "other.example.com")
    assert reply.url.endswith("/old/x?y=1")


def normalization(level: str) -> dict[str, Any]:
    """The mesh configuration that asks for it."""
    mesh = f"pathNormalization: {{normalization: {level}}}"
    meta = {"name": "istio", "namespace": "istio-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"mesh": mesh}}


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("x/../a/%62", "/a/b"),
        ("a/%2e%2e/b", "/b"),
        ("a/./b?c=/../%62", "/a/b?c=/../b"),
        ("%7Eme", "/~me"),
    ],
)
def test_paths_are_as_a_sidecar_has_them(kit: Kit, written: str, sent: str) -> None:
    """Whatever the library leaves in them: else a route for a prefix would be evaded."""
    server = kit.upstream()
    kit.mesh(route={"match": [{"uri": {"exact": sent.partition("?")[0]}}]})
    assert kit.client().get(URL + written).status == 200
    assert server.seen[0].path.partition("?")[0] == sent.partition("?")[0]


@pytest.mark.parametrize(
    ("level", "expected"),
    [("BASE", "/a//b%2Fc?x=//"), ("MERGE_SLASHES", "/a/b%2Fc?x=//"), ("DECODE_AND_MERGE_SLASHES", "/a/b/c?x=//")],
)
def test_slashes_are_merged_where_the_mesh_says_so(kit: Kit, level: str, expected: str) -> None:
    """Istio 1.31 has ``merge_slashes`` on outbound listeners too: routes and upstreams see that path."""
    server = kit.upstream()
    match = {"uri": {"exact": expected.partition("?")[0]}}
    kit.mesh(route={"match": [match]}, more=[normalization(level)])
    reply = kit.client().get(URL + "a//b%2Fc?x=//")
    assert (reply.status, server.seen[0].path) == (200, expected)
    assert reply.url.endswith("/a//b%2Fc?x=//")


def test_a_rewrite_follows_the_merged_path(kit: Kit) -> None:
    """And tells that one as the original."""
    server = kit.upstream()
    route = {"match": [{"uri": {"prefix": "/old/"}}], "rewrite": {"uri": "/new//"}}
    kit.mesh(route=route, more=[normalization("MERGE_SLASHES")])
    assert kit.client().get(URL + "old//x").status == 200
    assert (server.seen[0].path, server.seen[0].headers["x-envoy-original-path"]) == ("/new//x", "/old/x")


def test_routes_match_headers_of_the_library(kit: Kit) -> None:
    """Also those that it would add only on the wire: a sidecar sees them too."""
    kit.upstream()
    match = {"headers": {"user-agent": {"regex": ".*(ython|urllib3|httpx|requests).*"}}}
    kit.mesh(http=[{"match": [match], "directResponse": {"status": 418}}])
    assert kit.client().get(URL).status == 418


def test_a_body_of_bytes_arrives(kit: Kit) -> None:
    """Whole."""
    server = kit.upstream()
    kit.client().post(URL, b"hello")
    assert server.seen[0].body == b"hello"


def test_a_body_of_a_file_arrives(kit: Kit) -> None:
    """From where it stands."""
    server = kit.upstream()
    client = kit.client()
    client.post(URL, client.pieces(b"hello") if client.is_async else io.BytesIO(b"hello"))
    assert server.seen[0].body == b"hello"


def test_a_streamed_body_arrives(kit: Kit) -> None:
    """Chunk by chunk."""
    server = kit.upstream()
    client = kit.client()
    client.post(URL, client.pieces(b"abc", b"def"))
    assert server.seen[0].body == b"abcdef"
    assert server.seen[0].headers["transfer-encoding"] == "chunked"


def test_a_consumed_body_is_one_clear_error(kit: Kit) -> None:
    """Not an empty body, which is what most libraries make of a generator that is over."""
    server = kit.upstream()
    client = kit.client()
    body = client.pieces(b"abc", b"def")
    assert client.post(URL, body).status == 200
    with pytest.raises(MeshError, match="generator that was consumed; make a new one"):
        client.post(URL, body)
    assert len(server.seen) == 1
    assert kit.at_rest()


def test_endpoints_share_the_load(kit: Kit) -> None:
    """Each call picks one."""
    one, two = kit.upstream(), kit.upstream()
    client = kit.client()
    for _ in range(24):
        client.get(URL)
    assert len(one.seen) + len(two.seen) == 24
    assert one.seen
    assert two.seen


def test_a_route_by_header(kit: Kit) -> None:
    """What the caller sends decides."""
    kit.upstream()
    match = {"headers": {"end-user": {"exact": "jason"}}}
    kit.mesh(
        http=[
            {"match": [match], "directResponse": {"status": 200, "body": {"string": "jason"}}},
            {"route": [{"destination": {"host": HOST}}]},
        ]
    )
    client = kit.client()
    assert client.get(URL, headers={"end-user": "jason"}).text == "jason"
    assert client.get(URL).json()["method"] == "GET"


def test_a_redirect_of_the_route_is_followed(kit: Kit) -> None:
    """It looks like any other."""
    server = kit.upstream()
    kit.mesh(
        http=[
            {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/new"}},
            {"route": [{"destination": {"host": HOST}}]},
        ]
    )
    assert kit.client().get(URL + "old").json()["path"] == "/new"
    assert [seen.path for seen in server.seen] == ["/new"]


def test_each_hop_of_a_redirect_is_an_exchange(kit: Kit) -> None:
    """The mesh routes the second hop anew."""
    server = kit.upstream({"status": 302, "headers": [("location", "/there")]})
    reply = kit.client().get(URL + "here")
    assert reply.json()["path"] == "/there"
    assert len({seen.headers["x-request-id"] for seen in server.seen}) == 2
    assert kit.at_rest()


def test_redirects_can_be_left_alone(kit: Kit) -> None:
    """The library's own switch."""
    kit.upstream({"status": 302, "headers": [("location", "/there")]})
    assert kit.client().get(URL, follow=False).status == 302


def test_cookies_belong_to_the_host_called(kit: Kit) -> None:
    """They are sent back to it, whichever endpoint answers."""
    servers = [kit.upstream({"headers": [("set-cookie", "id=42; Path=/")]}) for _ in range(2)]
    client = kit.client()
    if client.name == "urllib3":
        assert client.get(URL).headers["set-cookie"] == "id=42; Path=/"  # it keeps no cookies
        return
    for server in servers:
        server.script *= 1
    client.get(URL)
    for server in servers:
        server.script.clear()
    for _ in range(4):
        assert client.get(URL).json()["headers"]["cookie"] == "id=42"


def test_the_sessions_cookie_of_consistent_hashing_is_kept(kit: Kit) -> None:
    """The mesh sets it, the library's jar sends it back: one endpoint gets all."""
    one, two = kit.upstream(), kit.upstream()
    sticky = {"loadBalancer": {"consistentHash": {"httpCookie": {"name": "user", "ttl": "60s"}}}}
    kit.mesh(policy=sticky)
    client = kit.client()
    first = client.get(URL)
    assert first.headers["set-cookie"].startswith('user="') or "user=" in first.headers["set-cookie"]
    if client.name == "urllib3":
        return
    for _ in range(8):
        client.get(URL)
    assert sorted((len(one.seen), len(two.seen))) == [0, 9]


def test_a_mirror_gets_a_copy(kit: Kit) -> None:
    """With the body and Envoy's marks, without delaying or failing the call; its reply is dropped."""
    main = kit.upstream()
    shadow = kit.upstream(500)
    spare = kit.resources(shadow.port, host="shadow.example.com")
    kit.mesh(main.port, route={"mirror": {"host": "shadow.example.com"}}, more=spare)
    client = kit.client()
    assert client.post(URL, b"hello").status == 200
    kit.until(client, lambda: bool(shadow.seen))
    assert (shadow.seen[0].method, shadow.seen[0].body) == ("POST", b"hello")
    headers = shadow.seen[0].headers
    assert (headers["x-envoy-internal"], headers["x-envoy-attempt-count"]) == ("true", "1")
    assert "x-envoy-internal" not in main.seen[0].headers


def test_a_mirror_sees_the_host_and_path_that_the_route_puts_there(kit: Kit) -> None:
    """As the service itself does."""
    main, shadow = kit.upstream(), kit.upstream()
    spare = kit.resources(shadow.port, host="shadow.example.com")
    route = {"mirror": {"host": "shadow.example.com"}, "rewrite": {"uri": "/new", "authority": "new.example"}}
    kit.mesh(main.port, route=route, more=spare)
    client = kit.client()
    assert client.get(URL).status == 200
    kit.until(client, lambda: bool(shadow.seen))
    sent, copied = main.seen[0], shadow.seen[0]
    assert (copied.path, copied.headers["host"]) == (sent.path, sent.headers["host"]) == (sent.path, "new.example")


@pytest.mark.parametrize(("size", "is_kept"), [(2**22, 1), (2**25, 0)])
def test_a_mirror_can_finish_its_answer(kit: Kit, size: int, is_kept: int) -> None:
    """It is read and dropped, and the connection kept; one beyond all measure is broken off."""
    main, shadow = kit.upstream(), kit.upstream({"status": 200, "body": b"x" * size})
    spare = kit.resources(shadow.port, host="shadow.example.com")
    kit.mesh(main.port, route={"mirror": {"host": "shadow.example.com"}}, more=spare)
    client = kit.client()
    assert client.get(URL).status == 200
    kit.until(client, lambda: bool(shadow.seen) and shadow.inside == 0)
    kit.until(client, lambda: shadow.open == is_kept)


def test_a_dead_mirror_harms_nothing(kit: Kit) -> None:
    """The call succeeds."""
    main = kit.upstream()
    from tests.ports import closed_port

    spare = kit.resources(closed_port(), host="shadow.example.com")
    kit.mesh(main.port, route={"mirror": {"host": "shadow.example.com"}}, more=spare)
    assert kit.client().get(URL).status == 200
