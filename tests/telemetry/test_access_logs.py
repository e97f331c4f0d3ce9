"""Access logs: golden lines, fields, filters, and where they go."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshlib import Mesh, Workload
from meshlib._http import FailureKind
from meshlib.telemetry.access_log import LOGGER
from meshlib.telemetry.log_operators import format_time
from meshlib.testing import Answer, VirtualClock
from tests.telemetry.calls import REVIEWS, URL, call, serve

ME = Workload(namespace="shop", labels={"app": "web"})
STDOUT = "accessLogFile: /dev/stdout\n"
NOW = 1_700_000_000.25


class Upstream:
    """Answers after a while on the virtual clock."""

    def __init__(self, clock: VirtualClock, seconds: float, answer: Any) -> None:
        self._clock, self._seconds, self._answer = clock, seconds, answer

    def __call__(self, _send: object) -> Any:
        self._clock.advance(self._seconds)
        return self._answer


def load(mesh_config: str = STDOUT, *more: str) -> tuple[Mesh, VirtualClock]:
    clock = VirtualClock(epoch=NOW)
    return Mesh.load("---\n".join((REVIEWS, mesh_config, *more)), workload=ME, clock=clock), clock


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER.name]


REQUEST = {"x-request-id": "1-2-3", "user-agent": "probe/1.0", "x-forwarded-for": "10.9.9.9", "content-length": "12"}
GOLDEN = [
    pytest.param(
        Answer(status=200, headers=(("content-length", "345"),)),
        '[2023-11-14T22:13:20.250Z] "GET /a?b=c HTTP/1.1" 200 - via_upstream - "-" 12 345 7 7 "10.9.9.9" "probe/1.0" '
        f'"1-2-3" "{URL}" "10.0.0.1:80" outbound|80||{URL} - - - - default-route',
        id="answered",
    ),
    pytest.param(
        503,
        '[2023-11-14T22:13:20.250Z] "GET /a?b=c HTTP/1.1" 503 URX via_upstream - "-" 12 0 21 7 "10.9.9.9" "probe/1.0" '
        f'"1-2-3" "{URL}" "10.0.0.1:80" outbound|80||{URL} - - - - default-route',
        id="retries exhausted",
    ),
    pytest.param(
        FailureKind.TERMINATION,
        '[2023-11-14T22:13:20.250Z] "GET /a?b=c HTTP/1.1" 503 URX,UC '
        'upstream_reset_before_response_started{connection_termination} - "-" 12 '
        '%d 21 - "10.9.9.9" "probe/1.0" ' + f'"1-2-3" "{URL}" "10.0.0.1:80" outbound|80||{URL} - - - - default-route',
        id="reset",
    ),
]


@pytest.mark.parametrize(("answer", "golden"), GOLDEN)
def test_the_line_of_a_call_is_that_of_istio(answer: Any, golden: str, caplog: pytest.LogCaptureFixture) -> None:
    """Istio's default format, field by field."""
    mesh, clock = load()
    caplog.set_level(logging.INFO)
    _, reply = call(mesh, Upstream(clock, 0.007, answer), path="/a?b=c", headers=dict(REQUEST))
    expected = golden.replace("%d", str(len(getattr(reply, "body", b""))))
    assert lines(caplog) == [expected]


def test_a_host_without_a_route(caplog: pytest.LogCaptureFixture) -> None:
    """What is not known is a dash; the request has got its id before a route was looked for, as in Envoy."""
    mesh, _ = load(STDOUT + "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
    caplog.set_level(logging.INFO)
    call(mesh, 200, host="nobody")
    assert re.sub(r'"[0-9a-f-]{36}"', '"id"', lines(caplog)[0]) == (
        '[2023-11-14T22:13:20.250Z] "GET / HTTP/1.1" 502 - direct_response - "-" 0 0 0 - "-" "-" "id" "nobody" "-" '
        "- - - - - block_all"
    )


def test_the_line_of_a_served_request(caplog: pytest.LogCaptureFixture) -> None:
    """Inbound: its own cluster, both addresses."""
    mesh, _ = load()
    caplog.set_level(logging.INFO)
    serve(mesh, path="/x", headers=(("x-request-id", "7"), ("user-agent", "u")))
    (record,) = [record for record in caplog.records if record.name == LOGGER.name]
    assert record.getMessage() == (
        '[2023-11-14T22:13:20.250Z] "GET /x HTTP/1.1" 200 - via_upstream - "-" 0 5 0 - "-" "u" "7" "reviews" "-" '
        "inbound|8080|| - 10.0.0.9:8080 10.0.0.8 - default"
    )
    assert (record.__dict__["direction"], record.__dict__["provider"]) == ("inbound", "envoy")


def test_a_refused_request_says_which_policy(caplog: pytest.LogCaptureFixture) -> None:
    """Envoy's detail names the policy; there is no flag."""
    policy = (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        "metadata: {name: deny, namespace: shop}\nspec: {action: DENY, rules: [{}]}\n"
    )
    mesh, _ = load(STDOUT + "accessLogFormat: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%'\n", policy)
    caplog.set_level(logging.INFO)
    serve(mesh)
    assert lines(caplog) == ["403 - rbac_access_denied_matched_policy[ns[shop]-policy[deny]-rule[0]]"]


def test_json_has_the_default_fields_of_istio(caplog: pytest.LogCaptureFixture) -> None:
    """Numbers are numbers, what is not known is null."""
    mesh, clock = load(STDOUT + "accessLogEncoding: JSON\n")
    caplog.set_level(logging.INFO)
    answer = Answer(headers=(("content-length", "345"),))
    call(mesh, Upstream(clock, 0.007, answer), path="/a?b=c", headers=dict(REQUEST))
    assert json.loads(lines(caplog)[0]) == {
        "start_time": "2023-11-14T22:13:20.250Z",
        "route_name": "default-route",
        "method": "GET",
        "path": "/a?b=c",
        "protocol": "HTTP/1.1",
        "response_code": 200,
        "response_flags": "-",
        "response_code_details": "via_upstream",
        "connection_termination_details": None,
        "bytes_received": 12,
        "bytes_sent": 345,
        "duration": 7,
        "upstream_service_time": "7",
        "x_forwarded_for": "10.9.9.9",
        "user_agent": "probe/1.0",
        "request_id": "1-2-3",
        "authority": URL,
        "upstream_host": "10.0.0.1:80",
        "upstream_cluster": f"outbound|80||{URL}",
        "upstream_local_address": None,
        "downstream_local_address": None,
        "downstream_remote_address": None,
        "requested_server_name": None,
        "upstream_transport_failure_reason": None,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%REQ(X-NONE?USER-AGENT)%|%REQ(USER-AGENT):5%", "probe/1.0|probe"),
        ("%RESP(X-A)%|%RESP(X-NONE)%", "one|-"),
        ("100%% %NOTHING", "100% %NOTHING"),
        ("%START_TIME(%Y/%m/%dT%H:%M:%S %s %3f %6f)%", "2023/11/14T22:13:20 1700000000 250 250000"),
        ("%RESPONSE_FLAGS_LONG%", "-"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%", "10.0.0.1 80"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "1"),
        ("%QUERY_PARAM(b)%|%PATH(NQ)%|%PATH%", "c|/a|/a?b=c"),
        ("%GRPC_STATUS%|%GRPC_STATUS_NUMBER%|%GRPC_STATUS(SNAKE_STRING)%", "NotFound|5|NOT_FOUND"),
        ("%REQ(AUTHORIZATION)%|%REQ(COOKIE)%|%RESP(SET-COOKIE)%", "[redacted]|-|[redacted]"),
        ("%REQ(X-EVIL)%", "a%0ab"),
        ("%CEL(request.method)%|%CEL(request.headers['x-none'])%", "GET|unknown"),
        ("%RESPONSE_DURATION%|%RESPONSE_TX_DURATION%", "7|0"),
        ("%STREAM_ID%", "1-2-3"),
    ],
)
def test_operators(text: str, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    """Envoy's command operators."""
    mesh, clock = load(STDOUT + f"accessLogFormat: {json.dumps(text)}\n")
    caplog.set_level(logging.INFO)
    answer = Answer(headers=(("x-a", "one"), ("grpc-status", "5"), ("set-cookie", "secret")))
    headers = {**REQUEST, "content-type": "application/grpc", "authorization": "Bearer secret", "x-evil": "a\nb"}
    call(mesh, Upstream(clock, 0.007, answer), path="/a?b=c", headers=headers)
    assert lines(caplog) == [expected]


@pytest.mark.parametrize(
    ("expression", "logged"),
    [
        ("response.code >= 400", [404, 503]),
        ("response.code == 200 || response.code == 404", [200, 404]),
        ("request.url_path.startsWith('/none')", []),
        ("request.method == 'GET' && !(response.code in [200, 404])", [503]),
        ("has(request.headers['x'].y) || response.code == 200", [200]),
        ("has(request.headers.accept) ? false : response.code > 500", [503]),
        ("request.headers['none'] == 'x'", []),
        ("request.host.matches('^rev')", [200, 404, 503]),
        ("size(request.path) == 1 && request.duration < duration('1s')", [200, 404, 503]),
        ("xds.route_name == 'default-route' && upstream.address.endsWith(':80')", [200, 404, 503]),
        ("response.code", []),
        ("response.code / 100 == 5", [503]),
    ],
)
def test_filters(expression: str, logged: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """CEL: what is true is logged, an error is not."""
    telemetry = (
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: logs, namespace: shop}\n"
        "spec: {accessLogging: [{providers: [{name: envoy}], "
        f"filter: {{expression: {json.dumps(expression)}}}}}]}}\n"
    )
    mesh, _ = load("accessLogFormat: '%RESPONSE_CODE%'\n", telemetry)
    caplog.set_level(logging.INFO)
    for status in (200, 404, 503):
        call(mesh, status)
    assert [int(line) for line in lines(caplog)] == logged


def test_empty_values_can_be_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """omitEmptyValues: no dash in text, no key in JSON."""
    providers = (
        "extensionProviders:\n"
        "- {name: t, envoyFileAccessLog: {logFormat: {text: 'a%REQ(X)%b'}, omitEmptyValues: true}}\n"
        "- {name: j, envoyFileAccessLog: {omitEmptyValues: true, "
        "logFormat: {labels: {a: '%REQ(X)%', 'n': {c: '%RESPONSE_CODE%'}}}}}\n"
        "defaultProviders: {accessLogging: [t, j]}\n"
    )
    mesh, _ = load(providers)
    caplog.set_level(logging.INFO)
    call(mesh, 200)
    assert sorted(lines(caplog)) == ["ab", '{"n":{"c":200}}']


def test_nothing_is_logged_unless_the_configuration_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """As in Istio without accessLogFile."""
    mesh, _ = load("enableTracing: false\n")
    caplog.set_level(logging.INFO)
    call(mesh, 200)
    serve(mesh)
    assert lines(caplog) == []


SCRIPT = """\
from meshlib import Mesh
from tests.telemetry.calls import REVIEWS, call
import sys
mesh = Mesh.load(REVIEWS + "---\\n" + sys.argv[1])
call(mesh, 200)
"""


def test_without_any_handler_the_path_decides(tmp_path: Path) -> None:
    """Standard output or a file, as in Envoy."""
    file = tmp_path / "access.log"
    config = f"accessLogFile: {file}\naccessLogFormat: 'code=%RESPONSE_CODE%'\n"
    for text in (config, config.replace(str(file), "/dev/stdout")):
        done = subprocess.run([sys.executable, "-c", SCRIPT, text], capture_output=True, text=True, check=True)
    assert file.read_text() == "code=200\n"
    assert done.stdout == "code=200\n"


@pytest.mark.parametrize("path", ["no/such/access.log", ".", "/dev/full"])
def test_a_file_that_cannot_be_written_fails_no_request(tmp_path: Path, path: str) -> None:
    """It once failed each of them. Now it is said once, as for a full disk."""
    if path.startswith("/") and not Path(path).exists():
        pytest.skip("no full device here")
    where = tmp_path / path  # a full path stays as it is
    script = f"{SCRIPT}\ncall(mesh, 200)\n"
    text = f"accessLogFile: {where}\naccessLogFormat: '%RESPONSE_CODE%'\n"
    done = subprocess.run([sys.executable, "-c", script, text], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"the access log {where} cannot be written: [Errno ")


def test_times_are_written_as_envoy_writes_them() -> None:
    """Fractions of one to nine digits; seconds since the epoch."""
    assert format_time(NOW) == "2023-11-14T22:13:20.250Z"
    assert format_time(NOW, "%E3S %f") == "20.250 250000000"
    assert format_time(1.999_999_999_9) == "1970-01-01T00:00:02.000Z"


def test_a_format_of_several_lines_keeps_them_and_escapes_what_requests_bring(caplog: pytest.LogCaptureFixture) -> None:
    """The line breaks are those of who wrote the format; a per cent sign is one too."""
    mesh = Mesh.load(REVIEWS + '---\naccessLogFile: /dev/stdout\naccessLogFormat: "%REQ(X-A)%\\n100%% %REQ(X-B)%"\n')
    caplog.set_level("INFO")
    call(mesh, 200, headers={"x-a": "a\x01b", "x-b": "%s"})
    assert caplog.messages == ["a%01b\n100% %s"]
    (record,) = caplog.records
    assert (record.name, record.filename, record.funcName) == ("meshlib.access", "access_log.py", "write")
