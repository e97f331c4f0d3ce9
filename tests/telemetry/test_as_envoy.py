"""Lines of the access log beside those of a real Envoy: status, flags, details, route, cluster, attempts, sizes."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlib import Mesh
from meshlib._drivers import adrive
from meshlib._engine.commands import Send
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib.mesh import request_head
from meshlib.telemetry.access_log import LOGGER
from meshlib.testing import Answer, ScriptedTransport, VirtualClock, run_virtual

FORMAT = (
    "%REQ(:METHOD)% %PATH% %REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER_RAW% %ROUTE_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %GRPC_STATUS% "
    '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%"'
)
SERVICES = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.example.com, b.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: empty, namespace: default}
spec:
  hosts: [empty.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
"""
FAILURES = {"reset": FailureKind.TERMINATION, "connect-failure": FailureKind.CONNECT_FAILURE}
ROWS = yaml.safe_load(Path(__file__).with_name("envoy_lines.yaml").read_text(encoding="utf-8"))


class Upstream(ScriptedTransport):
    """One whose refusals have the words that the system has for them."""

    async def send(self, send: Send) -> Outcome:
        outcome = await super().send(send)
        if isinstance(outcome, Failure) and outcome.kind is FailureKind.CONNECT_FAILURE:
            outcome.detail = "delayed connect error: Connection refused"
        return outcome


def load(row: dict[str, Any], clock: VirtualClock) -> Mesh:
    mesh = {"accessLogFile": "/dev/stdout", "accessLogFormat": FORMAT, **row.get("mesh", {})}
    documents = [mesh]
    if "http" in row:
        rules = {"hosts": ["a.example.com"], "http": row["http"]}
        documents.append(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": "a", "namespace": "default"},
                "spec": rules,
            }
        )
    return Mesh.load(f"{SERVICES}---\n{yaml.safe_dump_all(documents)}", clock=clock)


def answer(entry: Any) -> Answer | FailureKind:
    if isinstance(entry, str):
        return FAILURES[entry]
    if isinstance(entry, int):
        entry = {"status": entry}
    headers = {**entry.get("headers", {}), "content-length": str(len(entry.get("body", "")))}
    return Answer(
        status=entry.get("status", 200), headers=tuple(headers.items()), delay=entry.get("delay_ms", 0) / 1000
    )


@pytest.mark.parametrize("row", [pytest.param(row, id=row["name"]) for row in ROWS])
def test_the_line_is_that_of_envoy(row: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Word for word."""
    caplog.set_level(logging.INFO)
    clock = VirtualClock()
    mesh, request = load(row, clock), row.get("request", {})
    fields = dict(request.get("headers", {}))
    if "body" in request:
        fields["content-length"] = str(len(request["body"]))
    url = request.get("url", "http://a.example.com/x?b=c")
    head = request_head(request.get("method", "GET"), url, fields)
    exchange = mesh.runtime.begin(head, Headers(head.headers), lambda: True)
    transport = Upstream(*map(answer, row.get("upstream", [200])))
    reply = run_virtual(adrive(exchange.steps(), transport), clock)
    if isinstance(reply, Response):
        exchange.finish()
    (line,) = [record.getMessage() for record in caplog.records if record.name == LOGGER.name]
    drawn = re.sub(r'"[0-9a-f]{8}-[0-9a-f-]{27}"$', '"uuid"', line)
    assert drawn == row["line"]
