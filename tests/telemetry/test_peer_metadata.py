"""Who calls and who answers say so in headers: what Istio calls its metadata exchange.

The control plane of Istio 1.31 puts the filter ``istio.metadata_exchange`` first in the chains of
a sidecar. Outbound it sends both headers (``upstream_propagation``; with ``metadataExchangeHeaders:
IN_MESH`` not to clusters that are external), reads those of the response and removes them; inbound it
reads those of the request, removes them, and answers with as many as it got (``downstream_propagation``).
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import pytest
from google.protobuf.struct_pb2 import Struct
from prometheus_client import CollectorRegistry

from meshlib import Mesh, Workload
from meshlib._compile.peer_metadata import peer_headers
from meshlib._engine.commands import Send
from meshlib._http import Headers, RequestHead, Response
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.telemetry.metrics import Metrics
from meshlib.testing import Answer, VirtualClock
from tests.telemetry.calls import REVIEWS, URL, Message, call, serve

Receive: TypeAlias = Callable[[], Awaitable[Message]]
Tell: TypeAlias = Callable[[Message], Awaitable[None]]

WEB = Workload(namespace="shop", labels={"app": "web", "version": "v7", "team": "blue"}, name="web-v7")
REVIEWS_V3 = Workload(namespace="shop", labels={"app": "reviews", "version": "v3"}, name="reviews-v3", cluster="east")
METADATA, IDENTITY = "x-envoy-peer-metadata", "x-envoy-peer-metadata-id"
OUTSIDE = """\
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [outside.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
"""
ONLY_KNOWN = """\
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: known, namespace: shop}
spec:
  rules: [{when: [{key: "request.headers[x-envoy-peer-metadata-id]", values: ["*"]}]}]
"""


def load(workload: Workload, *more: str) -> tuple[Mesh, Metrics]:
    mesh = Mesh.load("".join((REVIEWS, *more)), workload=workload, clock=VirtualClock())
    return mesh, mesh.metrics(CollectorRegistry())


def only_labels(metrics: Metrics) -> dict[str, str]:
    (series,) = [key.labels for key in metrics.totals() if key.metric == "istio_requests_total"]
    return dict(series)


def of_peer(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith(METADATA)}


def answered(sent: list[Message]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize(
    "workload",
    [WEB, REVIEWS_V3, Workload(name="é" * 200), Workload(labels={"service.istio.io/canonical-name": "x" * 20_000})],
)
def test_the_metadata_are_a_struct_as_envoy_writes_it(workload: Workload) -> None:
    """Byte by byte what protobuf makes of it with its fields in order."""
    data = b64decode(peer_headers(workload)[METADATA])
    read = Struct.FromString(data)
    assert read.SerializeToString(deterministic=True) == data
    assert dict(read)["NAMESPACE"] == workload.namespace


def test_the_metadata_name_what_metrics_name() -> None:
    """Not every label of the workload: those of Istio's metrics."""
    headers = peer_headers(WEB)
    read = Struct.FromString(b64decode(headers[METADATA]))
    assert {name: value for name, value in read.items() if name != "LABELS"} == {
        "NAMESPACE": "shop",
        "WORKLOAD_NAME": "web-v7",
        "CLUSTER_ID": "Kubernetes",
    }
    labels = read["LABELS"]
    assert isinstance(labels, Struct)
    assert dict(labels) == {
        "app": "web",
        "version": "v7",
        "service.istio.io/canonical-name": "web",
        "service.istio.io/canonical-revision": "v7",
    }
    kind, _, instance, domain = headers[IDENTITY].split("~")
    assert (kind, instance.partition("-")[0], domain) == ("sidecar", "web", "shop.svc.cluster.local")


def test_no_name_breaks_a_header() -> None:
    """Whatever a Workload is called."""
    headers = peer_headers(Workload(name="é\r\nx: y", namespace="\N{SNOWMAN}", labels={"app": "\n"}, address="::1"))
    assert headers[IDENTITY].startswith("sidecar~::1~___x:_y-")
    assert all(value.isascii() and value.isprintable() for value in headers.values())


def test_other_metadata_have_another_id() -> None:
    """Envoy remembers what it has read by the id."""
    other = Workload(namespace="shop", labels={"app": "web", "version": "v8"}, name="web-v7")
    assert peer_headers(WEB)[IDENTITY] != peer_headers(other)[IDENTITY]


def test_calls_into_the_mesh_tell_who_calls_and_no_others() -> None:
    """Not to hosts outside the mesh, whether a ServiceEntry names them or nobody does."""
    mesh, _ = load(WEB, OUTSIDE)
    inside, _ = call(mesh, 503, 200)
    assert of_peer(inside.headers) == peer_headers(WEB)
    for host in ("outside.example", "nobody.example"):
        outside, _ = call(mesh, 200, host=host)
        assert of_peer(outside.headers) == {}


def test_a_copy_that_leaves_the_mesh_tells_nothing() -> None:
    """It has the headers of the request, which is therefore not told either."""
    mirrored = "    mirror: {host: outside.example}\n    retries:"
    mesh = Mesh.load(REVIEWS.replace("    retries:", mirrored) + OUTSIDE, workload=WEB, clock=VirtualClock())
    exchange, _ = call(mesh, 200)
    assert of_peer(exchange.headers) == {}


def test_a_process_that_does_not_know_who_it_is_tells_nothing() -> None:
    """And nothing is different for it."""
    mesh, _ = load(Workload(namespace="shop"))
    exchange, _ = call(mesh, 200)
    assert of_peer(exchange.headers) == {}


def test_a_route_can_take_the_headers_out() -> None:
    """Its operations come after Envoy's filter."""
    removing = REVIEWS.replace(
        "    retries:", "    headers: {request: {remove: [x-envoy-peer-metadata], add: {x-a: b}}}\n    retries:"
    )
    mesh = Mesh.load(removing, workload=WEB, clock=VirtualClock())
    exchange, _ = call(mesh, 200)
    assert list(of_peer(exchange.headers)) == [IDENTITY]


def test_a_server_names_its_caller_and_the_caller_its_server() -> None:
    """There and back: what one side sends is what the other side reads."""
    web, calls = load(WEB)
    reviews, requests = load(REVIEWS_V3)
    sent = of_peer(call(web, 200)[0].headers)
    answer = answered(serve(reviews, headers=tuple(sent.items())))
    assert of_peer(answer) == peer_headers(REVIEWS_V3)
    seen = only_labels(requests)
    names = ("workload", "workload_namespace", "app", "version", "canonical_service", "canonical_revision", "cluster")
    assert [seen[f"source_{name}"] for name in names] == ["web-v7", "shop", "web", "v7", "web", "v7", "Kubernetes"]
    assert seen["connection_security_policy"] == "none"

    web, calls = load(WEB)
    exchange, _ = call(web, Answer(headers=tuple(answer.items())))
    found = only_labels(calls)
    assert [found[f"destination_{name}"] for name in names] == [
        "reviews-v3", "shop", "reviews", "v3", "reviews", "v3", "east",
    ]  # fmt: skip
    assert exchange.changes_response
    headers = Headers(answer)
    exchange.mutate_response(headers)
    assert of_peer(headers) == {}


def test_several_workloads_behind_one_address_are_told_apart() -> None:
    """The address of a service that the cluster balances: each response says who it is from."""
    mesh, metrics = load(WEB)
    for version in ("v1", "v2", "v1"):
        answering = Workload(namespace="shop", labels={"app": "reviews", "version": version}, name=f"r-{version}")
        call(mesh, Answer(headers=tuple(peer_headers(answering).items())))
    call(mesh, 200)
    counted = [metrics.value("istio_requests_total", destination_workload=name) for name in ("r-v1", "r-v2")]
    assert counted == [2, 1]
    assert metrics.value("istio_requests_total", destination_workload="reviews-v1") == 1


def test_responses_without_the_headers_are_left_alone() -> None:
    """No copy is made of what has nothing to take out."""
    mesh, _ = load(WEB)
    exchange, _ = call(mesh, 200)
    assert not exchange.changes_response


def test_who_says_nothing_is_told_nothing() -> None:
    """And of the two headers as many come back as came."""
    mesh, _ = load(REVIEWS_V3)
    assert of_peer(answered(serve(mesh))) == {}
    assert list(of_peer(answered(serve(mesh, headers=((IDENTITY, "me"),))))) == [IDENTITY]


def test_policies_do_not_see_the_headers() -> None:
    """Anybody can write them; Envoy's filter is before all others. The refusal still says who refuses."""
    mesh, metrics = load(REVIEWS_V3, ONLY_KNOWN)
    sent = serve(mesh, headers=tuple(peer_headers(WEB).items()))
    assert sent[0]["status"] == 403
    assert of_peer(answered(sent)) == peer_headers(REVIEWS_V3)
    assert only_labels(metrics)["source_workload"] == "web-v7"


def test_a_request_that_is_let_in_again_is_no_different() -> None:
    """What a server remembers of an equal request."""
    mesh, metrics = load(REVIEWS_V3)
    seen: list[dict[str, str]] = []
    sent: list[Message] = []

    async def app(scope: Message, receive: Receive, send: Tell) -> None:
        seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    headers = {"host": "reviews", "x-own": "z", "x-request-id": "1", **peer_headers(WEB)}
    scope = {
        "type": "http", "method": "GET", "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("10.0.0.9", 8080), "client": ("10.0.0.8", 40000), "extensions": {},
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent.append(message)

    middleware = MeshMiddleware(app, mesh)
    for _ in range(3):
        asyncio.run(middleware(scope, receive, send))
    assert seen == [{"host": "reviews", "x-own": "z", "x-request-id": "1"}] * 3
    assert [of_peer(answered([one])) for one in sent] == [peer_headers(REVIEWS_V3)] * 3
    assert metrics.value("istio_requests_total", source_workload="web-v7") == 3


@pytest.mark.parametrize("told", [peer_headers(REVIEWS_V3), {}])
def test_a_call_that_begins_and_ends_at_one_go_is_no_different(told: dict[str, str]) -> None:
    """As clients make it where nothing has to be waited for."""
    mesh, metrics = load(WEB)
    headers = Headers()
    exchange = mesh.runtime.begin(RequestHead("GET", "http", URL, "/", headers, port=80), headers, lambda: True)
    assert isinstance(exchange.start(), Send)
    assert of_peer(headers) == peer_headers(WEB)
    assert exchange.settle(Response(200, Headers(told))) is not None
    assert exchange.changes_response == bool(told)
    exchange.finish(0)
    found = only_labels(metrics)
    assert found["destination_workload"] == ("reviews-v3" if told else "reviews-v1")


def test_the_commands_of_first_attempts_are_still_shared() -> None:
    """What is told is prepared at the publish, not for each call."""
    mesh, _ = load(WEB)
    head = RequestHead("GET", "http", URL, "/", Headers(), port=80)
    first, second = (mesh.runtime.begin(head, Headers(), lambda: True).start() for _ in range(2))
    assert first is second
