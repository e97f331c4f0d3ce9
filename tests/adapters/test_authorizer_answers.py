"""What external authorizers say, byte by byte, as Envoy 1.39 was observed to take it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from meshlib import Mesh
from meshlib.events import RequestServed
from tests.adapters.inbound_servers import SERVERS, Serve, serve_asgi
from tests.adapters.test_authorizers import config
from tests.adapters.test_inbound import WORKLOAD, Client
from tests.patience import PATIENCE

OK = b"HTTP/1.1 200 OK\r\n"
YES = OK + b"content-length: 0\r\n\r\n"


@contextmanager
def answering(answer: Callable[[socket.socket], None], path: str = "") -> Iterator[tuple[Any, list[bytes]]]:
    """A server that reads a head and does what it is told; gives its port (or its path) and what it was asked."""
    asked: list[bytes] = []
    server = socket.create_server(path, family=socket.AF_UNIX) if path else socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            connection.settimeout(PATIENCE)
            data = b""
            while b"\r\n\r\n" not in data:
                part = connection.recv(65536)
                if not part:
                    return
                data += part
            asked.append(data)
            answer(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield path or server.getsockname()[1], asked
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(PATIENCE)


def says(data: bytes) -> Callable[[socket.socket], None]:
    """Answers so, and ends the connection."""
    return lambda connection: connection.sendall(data)


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Serve:
    """Each kind of server in turn."""
    return SERVERS[request.param]


@contextmanager
def serving(serve: Serve, port: int, **provider: Any) -> Iterator[Client]:
    with serve(Mesh.load(config(port, **provider), workload=WORKLOAD)) as own:
        yield Client(own)


@pytest.mark.parametrize(
    ("answer", "status", "forgiven"),
    [
        (YES, 200, 200),
        (OK + b"\r\nuntil the end", 200, 200),
        (b"HTTP/1.1 103 Hints\r\n\r\n" + YES, 200, 200),
        (b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", 401, 401),
        (b"HTTP/1.1 600 No\r\ncontent-length: 0\r\n\r\n", 403, 403),
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", 403, 200),
        (b"", 403, 200),
        (b"HTTP/1.1 200 OK\r\nx-a", 403, 200),
        (OK + b"content-length: 10\r\n\r\nabc", 403, 200),
        (b"HTTP/1.1 401 No\r\ncontent-length: 10\r\n\r\nabc", 403, 200),
        (OK + b"content-length: 0\r\ncontent-length: 5\r\n\r\n", 403, 200),
        (OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 403, 200),
    ],
)
def test_only_a_complete_answer_counts(serve: Serve, answer: bytes, status: int, forgiven: int) -> None:
    """A connection that ended in the middle of a head or a body was taken for a yes."""
    with answering(says(answer)) as (port, _):
        with serving(serve, port) as client:
            assert client.status("/guarded") == status
        with serving(serve, port, failOpen=True) as client:
            assert client.status("/guarded") == forgiven


def test_an_answer_that_drips_in_is_none(serve: Serve) -> None:
    """The timeout is for all of it, not for each part: of this one the end is never seen."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(OK + b"x-a: ")
        while not over.wait(0.01):
            connection.sendall(b"a")

    with answering(drip) as (port, _), serving(serve, port, timeout="0.2s") as client:
        assert client.status("/guarded") == 403
        over.set()


def test_no_timeout_at_all(serve: Serve) -> None:
    """0s, as in Envoy."""
    with answering(says(YES)) as (port, _), serving(serve, port, timeout="0s") as client:
        assert client.status("/guarded") == 200


def test_slow_authorizers_hold_up_only_who_asks_them() -> None:
    """On an event loop as many are asked at once as requests come; each took a thread of a few."""
    together = threading.Barrier(24)

    def answer(connection: socket.socket) -> None:
        together.wait(PATIENCE)
        connection.sendall(YES)

    with answering(answer) as (port, _), serving(serve_asgi, port) as client, ThreadPoolExecutor(24) as pool:
        assert list(pool.map(client.status, ["/guarded"] * 24)) == [200] * 24


REFUSED = (
    b"HTTP/1.1 401 No\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nwww-authenticate: Basic\r\nlocation: /in\r\n"
    b"content-type: text/html\r\nx-why: no\r\nconnection: close\r\ndate: yesterday\r\ncontent-length: 2\r\n\r\nno"
)


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ({}, {"set-cookie", "www-authenticate", "location", "content-type: text/html", "x-why"}),
        ({"headersToUpstreamOnAllow": ["x-a"]}, {"set-cookie", "content-type: text/html", "x-why"}),
        (
            {"headersToDownstreamOnDeny": ["X-W*"]},
            {"www-authenticate", "location", "content-type: text/plain", "x-why"},
        ),
        ({"headersToDownstreamOnDeny": ["content-type"]}, {"content-type: text/html"}),
    ],
)
def test_a_refusal_has_all_headers_unless_some_are_listed(
    serve: Serve, provider: dict[str, Any], expected: set[str]
) -> None:
    """With a list also those that ask for a login; the type is not among them."""
    with answering(says(REFUSED)) as (port, _), serving(serve, port, **provider) as client:
        response = client.ask("/guarded")
    found = {name.lower() for name in response.headers} | {f"content-type: {response.headers['content-type']}"}
    assert response.status == 401
    assert expected <= found
    assert "yesterday" not in response.headers.get_all("date", [])
    assert ("set-cookie" in found) == ("set-cookie" in expected)
    assert ("x-why" in found) == ("x-why" in expected)


def test_what_cannot_have_a_body_has_no_length(serve: Serve) -> None:
    """204 says no, too."""
    with answering(says(b"HTTP/1.1 204 No\r\n\r\n")) as (port, _), serving(serve, port) as client:
        response = client.ask("/guarded")
    assert (response.status, response.headers["content-length"]) == (204, None)


def test_grpc_is_refused_in_its_own_words(serve: Serve) -> None:
    """200 with the status in a header, as of all local replies."""
    with (
        answering(says(b"HTTP/1.1 403 No\r\nx-why: a\r\ncontent-length: 5\r\n\r\nno\xc3\xa4!")) as (port, _),
        serving(serve, port) as client,
    ):
        response = client.ask("/guarded", ("content-type", "application/grpc"), method="POST")
    assert response.status == 200
    found = {name.lower(): value for name, value in response.headers.items()}
    assert (found["grpc-status"], found["grpc-message"], found["x-why"]) == ("7", "no%C3%A4!", "a")
    assert found["content-type"] == "application/grpc"


def check(asked: list[bytes]) -> list[str]:
    """The lines of the head of the one check."""
    assert len(asked) == 1
    return asked[0].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")


def test_what_the_provider_adds_stands_in_place_of_what_the_client_says(serve: Serve) -> None:
    """Both were sent, the client's first."""
    added = {"X-From": "mesh", "authorization": "none", "x-copy": "%REQ(x-seen)%", "x-empty": ""}
    provider = {
        "includeRequestHeadersInCheck": ["x-from", "x-many"],
        "includeAdditionalHeadersInCheck": added,
    }
    headers = (("x-from", "me"), ("authorization", "Basic x"), ("x-many", "1"), ("x-many", "2"), ("x-seen", "s"))
    with answering(says(YES)) as (port, asked), serving(serve, port, **provider) as client:
        assert client.status("/guarded", *headers) == 200
    assert sorted(check(asked)[2:]) == [
        "authorization: none", "content-length: 0", "x-copy: s", "x-from: mesh", "x-many: 1,2"
    ]  # fmt: skip


def test_the_address_of_the_client_is_not_what_the_client_says(serve: Serve) -> None:
    """It came out empty, so that what the client sent under the name went to the authorizer."""
    address = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
    provider = {"includeRequestHeadersInCheck": ["x-*"], "includeAdditionalHeadersInCheck": {"x-ip": address}}
    with answering(says(YES)) as (port, asked), serving(serve, port, **provider) as client:
        assert client.status("/guarded", ("x-ip", "10.0.0.99")) == 200
    assert "x-ip: 127.0.0.1" in check(asked)


def test_a_check_has_a_length_and_a_host_of_its_own(serve: Serve) -> None:
    """Those of the request went with it where a list had them, and the check could be read in two ways."""
    provider = {"includeRequestHeadersInCheck": ["c*", "t*", "h*", "e*", "k*"], "timeout": "5s"}
    with (
        answering(says(YES)) as (port, asked),
        serving(serve, port, **provider) as client,
        socket.create_connection(("127.0.0.1", client.port), PATIENCE) as connection,
    ):
        connection.sendall(
            b"POST /guarded HTTP/1.1\r\nHost: web.shop\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
            b"Content-Type: text/x\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        assert b" 200 " in connection.recv(65536).split(b"\r\n", 1)[0]
    assert sorted(check(asked)) == [
        "POST /guarded HTTP/1.1", "content-length: 0", "content-type: text/x", "host: web.shop"
    ]  # fmt: skip


@pytest.mark.parametrize(("limit", "is_partial"), [(5, "false"), (4, "true")])
def test_whether_the_body_is_all_of_it(serve: Serve, limit: int, is_partial: str) -> None:
    """Is said in a header, and not by the client."""
    provider = {
        "includeRequestHeadersInCheck": ["x-envoy-*"],
        "includeRequestBodyInCheck": {"maxRequestBytes": limit, "allowPartialMessage": True},
    }
    claimed = ("x-envoy-auth-partial-body", "so it is")
    with answering(says(YES)) as (port, asked), serving(serve, port, **provider) as client:
        assert client.status("/guarded", claimed, method="POST", body=b"hello") == 200
        assert f"x-envoy-auth-partial-body: {is_partial}" in check(asked)
        assert client.status("/guarded", claimed) == 200
    assert b"x-envoy" not in asked[1]


def test_a_body_that_is_shown_in_part_is_served_in_full(serve: Serve) -> None:
    """Flask read the shown part alone, and refused the request."""
    provider = {"includeRequestBodyInCheck": {"maxRequestBytes": 10, "allowPartialMessage": True}}
    with answering(says(YES)) as (port, _), serving(serve, port, **provider) as client:
        seen = client.seen("/guarded", method="POST", body=b"a" * 100_000)
    assert seen["body"] == "a" * 100_000


def test_a_no_before_the_body_was_read_is_a_no(serve: Serve) -> None:
    """The check was still being sent, so that the timeout made an outage of it."""
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        over.wait(PATIENCE)

    provider = {"includeRequestBodyInCheck": {"maxRequestBytes": 1 << 25}, "timeout": "3s", "failOpen": True}
    with answering(answer) as (port, _), serving(serve, port, **provider) as client:
        assert client.status("/guarded", method="POST", body=b"a" * (1 << 24)) == 401
        over.set()


def test_a_body_that_is_too_long_is_told_from_a_no(serve: Serve) -> None:
    """Nobody was asked, and so say the details, as Envoy's do."""
    served: list[Any] = []
    with answering(says(YES)) as (port, asked):
        mesh = Mesh.load(config(port, includeRequestBodyInCheck={"maxRequestBytes": 4}), workload=WORKLOAD)
        mesh.observe(served.append, RequestServed)
        with serve(mesh) as own:
            assert Client(own).status("/guarded", method="POST", body=b"hello") == 413
    assert [event.details for event in served] == ["request_payload_too_large"]
    assert asked == []


def test_the_type_that_an_authorizer_gives_a_request(serve: Serve) -> None:
    """Is what the application sees; its length stays that of its body."""
    answer = OK + b"content-type: text/other\r\ncontent-length: 2\r\n\r\nok"
    with answering(says(answer)) as (port, _), serving(serve, port, headersToUpstreamOnAllow=["content-*"]) as client:
        seen = client.seen("/guarded", ("content-type", "text/x"), method="POST", body=b"hello")
    assert (seen["headers"]["content-type"], seen["body"]) == ("text/other", "hello")


TLS = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: authz, namespace: shop}
spec:
  host: authz.test
  trafficPolicy: {tls: {mode: SIMPLE}}
"""


@pytest.mark.parametrize(("service", "more"), [("unknown.test", ""), ("authz.test", TLS)])
def test_who_cannot_be_asked_lets_nobody_in(serve: Serve, service: str, more: str) -> None:
    """As Istio does where a service is not known, whatever is to be done in an outage; what is asked stays here."""
    provider = {"failOpen": True, "statusOnError": "503"}
    with answering(says(YES)) as (port, asked):
        yaml = config(port, more, **provider).replace('"service": "authz.test"', f'"service": "{service}"')
        with serve(Mesh.load(yaml, workload=WORKLOAD)) as own:
            response = Client(own).ask("/guarded")
    assert (response.status, response.content) == (403, b"RBAC: access denied")  # type: ignore[attr-defined]
    assert asked == []


def test_an_authorizer_at_a_socket_in_the_file_system(serve: Serve, tmp_path: Path) -> None:
    """It was never reached."""
    with answering(says(YES), str(tmp_path / "authz")) as (path, asked):
        yaml = config(9000).replace("address: 127.0.0.1", f"address: unix://{path}")
        with serve(Mesh.load(yaml, workload=WORKLOAD)) as own:
            assert Client(own).status("/guarded") == 200
        with serve(Mesh.load(yaml.replace(path, "/nowhere"), workload=WORKLOAD)) as own:
            assert Client(own).status("/guarded") == 403
    assert len(asked) == 1


def test_an_endpoint_that_is_not_healthy_is_not_asked(serve: Serve) -> None:
    """Nor one of a lower tier."""
    slices = """---
apiVersion: v1
kind: Service
metadata: {{name: authz, namespace: shop}}
spec:
  ports: [{{name: http, port: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: authz-1, namespace: shop, labels: {{kubernetes.io/service-name: authz}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints:
- addresses: [127.0.0.1]
- addresses: [127.0.0.2]
  conditions: {{ready: false}}
"""
    with answering(says(YES)) as (port, asked):
        yaml = config(port, slices.format(port=port)).replace("authz.test", "authz.shop.svc.cluster.local")
        documents = [text for text in yaml.split("---\n") if "kind: ServiceEntry" not in text]
        with serve(Mesh.load("---\n".join(documents), workload=WORKLOAD)) as own:
            assert [Client(own).status("/guarded") for _ in range(4)] == [200] * 4
    assert len(asked) == 4
