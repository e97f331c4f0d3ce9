"""Filters of access logs beside those of a real Envoy: which of four calls each expression lets through."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from meshlib import Mesh
from meshlib._http import FailureKind
from meshlib.telemetry.access_log import LOGGER
from meshlib.testing import Answer, VirtualClock
from tests.telemetry.calls import call

HOST = "a.example.com"
CONFIG = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [a.example.com]
  http:
  - name: r1
    match: [{withoutHeaders: {x-call: {exact: noroute}}}]
    retries: {attempts: 0}
    route: [{destination: {host: a.example.com}}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs, namespace: default}
spec: {accessLogging: [{providers: [{name: envoy}], filter: {expression: %s}}]}
---
accessLogFormat: "%%REQ(X-CALL)%%"
"""
CALLS: dict[str, Any] = {
    "get": (
        Answer(headers=(("x-a", "one"), ("content-length", "5"))),
        {"headers": {"x-call": "get", "user-agent": "agent/1", "x-request-id": "my-id"}},
    ),
    "post503": (
        Answer(status=503, headers=(("content-length", "0"),)),
        {"headers": {"x-call": "post503", "referer": "r", "content-length": "3"}, "method": "POST"},
    ),
    "noroute": (200, {"headers": {"x-call": "noroute"}}),
    "reset": (FailureKind.TERMINATION, {"headers": {"x-call": "reset"}}),
}
# Asked of Envoy 1.40 with the same calls, the second answered after 100 ms.
OBSERVED = [
    ("response.code >= 400", "post503 noroute reset"),
    ("response.code == 200", "get"),
    ("response.code_details == 'via_upstream'", "get post503"),
    ("response.flags == 0", "get post503"),
    ("response.grpc_status == 5", ""),
    ("response.size > 3", "get reset"),
    ("response.total_size > 0", "get post503 noroute reset"),
    ("response.headers['x-a'] == 'one'", "get"),
    ("'x-a' in response.headers", "get"),
    ("'x-b' in response.headers", ""),
    ("has(response.headers.x)", ""),
    ("request.method == 'GET'", "get noroute reset"),
    ("request.path == '/x?b=c'", "get post503 noroute reset"),
    ("request.url_path == '/x'", "get post503 noroute reset"),
    ("request.url_path.startsWith('/x')", "get post503 noroute reset"),
    ("request.path.contains('b=')", "get post503 noroute reset"),
    ("request.path.endsWith('=c')", "get post503 noroute reset"),
    ("request.host == 'a.example.com'", "get post503 noroute reset"),
    ("request.scheme == 'http'", "get post503 noroute reset"),
    ("request.protocol == 'HTTP/1.1'", "get post503 noroute reset"),
    ("request.query == 'b=c'", "get post503 noroute reset"),
    ("request.headers['user-agent'] == 'agent/1'", "get"),
    ("request.headers['missing'] == 'x'", ""),
    ("has(request.headers.foo)", ""),
    ("'user-agent' in request.headers", "get"),
    ("request.useragent == 'agent/1'", "get"),
    ("request.referer == 'r'", "post503"),
    ("request.id == 'my-id'", "get"),
    ("request.id != ''", "get post503 noroute reset"),
    ("request.size == 0", "get noroute reset"),
    ("request.size >= 0", "get post503 noroute reset"),
    ("request.total_size > 10", "get post503 noroute reset"),
    ("request.duration < duration('5s')", "get post503 noroute reset"),
    ("request.duration >= duration('50ms')", "post503"),
    ("request.time > timestamp('2020-01-01T00:00:00Z')", "get post503 noroute reset"),
    ("size(request.headers) > 2", "get post503 noroute reset"),
    ("request.headers[':path'] == '/x?b=c'", "get post503 noroute reset"),
    ("request.headers[':method'] == 'GET'", "get noroute reset"),
    ("request.headers[':authority'] == 'a.example.com'", "get post503 noroute reset"),
    ("xds.route_name == 'r1'", "get post503 reset"),
    ("upstream.address != ''", "get post503 reset"),
    ("upstream.port > 0", "get post503 reset"),
    ("upstream.transport_failure_reason == ''", "get post503 reset"),
    ("upstream.transport_failure_reason != ''", ""),
    ("connection.mtls", ""),
    ("!connection.mtls", "get post503 noroute reset"),
    ("connection.termination_details == ''", ""),
    ("destination.port > 0", "get post503 noroute reset"),
    ("response.code >= 200 && response.code < 300", "get"),
    ("response.code >= 500 || request.method == 'POST'", "post503 reset"),
    ("!(response.code == 200)", "post503 noroute reset"),
    ("response.code in [200, 404]", "get noroute"),
    ("request.method in ['GET', 'HEAD']", "get noroute reset"),
    ("response.code == 200 ? request.method == 'GET' : true", "get post503 noroute reset"),
    ("response.code + 1 == 201", "get"),
    ("response.code / 100 == 5", "post503 reset"),
    ("response.code % 2 == 0", "get noroute"),
    ("response.code == 200.0", "get"),
    ("int('200') == response.code", "get"),
    ("request.path.matches('^/x')", "get post503 noroute reset"),
    ("request.path.matches('b=.$')", "get post503 noroute reset"),
    ("matches(request.path, 'x')", "get post503 noroute reset"),
    ("request.headers['user-agent'].startsWith('agent')", "get"),
    ("request.headers['missing'].startsWith('a')", ""),
    ("request.headers['missing'] == 'x' || response.code >= 200", "get post503 noroute reset"),
    ("response.code >= 200 || request.headers['missing'] == 'x'", "get post503 noroute reset"),
    ("request.headers['missing'] == 'x' && response.code >= 200", ""),
    ("true", "get post503 noroute reset"),
    ("false", ""),
    ("1", ""),
    ("'x'", ""),
    ("response.code", ""),
    ("response.code == '200'", ""),
    ('request.method == "GET" && response.code_details != "x"', "get noroute reset"),
    ("has(request.useragent)", "get"),
    ("has(response.code)", "get post503 noroute reset"),
    ("upstream.request_attempt_count == 1", "get post503 reset"),
    ("{'a': 1}['a'] == 1", "get post503 noroute reset"),
    ("null == null", "get post503 noroute reset"),
    ("request.path.size() > 3", "get post503 noroute reset"),
    ("size('abc') == 3", "get post503 noroute reset"),
    ("1 < 2", "get post503 noroute reset"),
    ("-1 < 0", "get post503 noroute reset"),
    ("b'a' == b'a'", "get post503 noroute reset"),
    ("request.path < '/y'", "get post503 noroute reset"),
    ("double(1) == 1.0", "get post503 noroute reset"),
    ("uint(1) == 1u", "get post503 noroute reset"),
    ("duration('1s') == duration('1000ms')", "get post503 noroute reset"),
    ("response.code >= 200 && (request.method == 'GET' || request.method == 'POST')", "get post503 noroute reset"),
    ("request.headers == {}", ""),
    ("response.flags == 64", "reset"),
    ("response.flags == 256", "noroute"),
    ("response.flags != 0", "noroute reset"),
    ("response.flags == 32832", ""),
    ("connection.termination_details == 'x'", ""),
    ("request.headers[':scheme'] == 'http'", "get post503 noroute reset"),
    ("':path' in request.headers", "get post503 noroute reset"),
    ("request.headers['host'] == 'a.example.com'", "get post503 noroute reset"),
]


@pytest.mark.parametrize(("expression", "logged"), OBSERVED)
def test_a_filter_lets_the_same_calls_through(expression: str, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is true is logged; what is false, no truth value or an error is not."""
    caplog.set_level(logging.INFO)
    clock = VirtualClock(epoch=1_700_000_000.0)
    mesh = Mesh.load(CONFIG % json.dumps(expression), clock=clock)
    for name, (answer, request) in CALLS.items():

        def after(_send: object, name: str = name, answer: Any = answer) -> Any:
            clock.advance(0.1 if name == "post503" else 0.001)
            return answer

        call(mesh, after, host=HOST, path="/x?b=c", **request)
    assert [record.getMessage() for record in caplog.records if record.name == LOGGER.name] == logged.split()
