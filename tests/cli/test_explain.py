"""`meshlib explain`: one request by flags, many by JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meshlib.cli.explain import explain

MESH = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - match: [{sourceLabels: {app: web}}]
    redirect: {uri: /moved}
  - route: [{destination: {host: reviews}}]
    timeout: 5s
"""
HERE = {"namespace": "shop"}


@pytest.fixture
def mesh(tmp_path: Path) -> str:
    path = tmp_path / "mesh.yaml"
    path.write_text(MESH, encoding="utf-8")
    return str(path)


def run(*arguments: str, text: str | bytes = "") -> Result:
    return CliRunner().invoke(explain, [*arguments], input=text)


def lines(*entries: dict[str, Any]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def answers(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_request_is_explained_for_people(mesh: str) -> None:
    """The first line says what happens, the rest why, with file and line of each rule."""
    result = run("-f", mesh, "-n", "shop", "GET", "http://reviews:9080/")
    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first.startswith("GET http://reviews:9080/")
    assert any(f"{mesh}:12" in line and "jason" in line for line in rest)


def test_one_request_as_json(mesh: str) -> None:
    """The same answer as for a line; a header may carry colons."""
    result = run("-f", mesh, "-n", "shop", "-o", "json", "GET", "http://reviews:9080/", "-H", "End-User: jason")
    (answer,) = answers(result)
    assert (answer["outcome"], answer["status"]) == ("abort", 503)
    assert answer["passed_over"] == []


def test_a_url_alone_is_a_get(mesh: str) -> None:
    """The method may be left out."""
    result = run("-f", mesh, "-n", "shop", "-o", "json", "http://reviews:9080/")
    assert answers(result)[0]["outcome"] == "route"


def test_labels_of_the_flags_are_those_of_the_client(mesh: str) -> None:
    """Source labels are matched against the workload that the flags describe."""
    asked = ("-f", mesh, "-n", "shop", "-o", "json", "GET", "http://reviews:9080/")
    assert answers(run(*asked, "--label", "app=web"))[0]["outcome"] == "redirect"
    assert answers(run(*asked, "--label", "app=api"))[0]["outcome"] == "route"


def test_header_operations_are_those_that_change_something(tmp_path: Path) -> None:
    """An empty value changes nothing in Envoy: what an outer level sets stays, and nothing is added."""
    path = tmp_path / "mesh.yaml"
    inner = 'headers: {response: {set: {x-a: ""}, add: {x-b: "", x-c: one}}}'
    route = f"route: [{{destination: {{host: reviews}}, {inner}}}]\n    headers: {{response: {{set: {{x-a: one}}}}}}"
    path.write_text(MESH.replace("route: [{destination: {host: reviews}}]\n    timeout: 5s", route), encoding="utf-8")
    result = run("-f", str(path), "-n", "shop", "-o", "json", "http://reviews:9080/")
    assert answers(result)[0]["response_operations"] == {"set": {"x-a": "one"}, "add": {"x-c": "one"}}


def test_each_line_gets_one_answer_in_order(mesh: str) -> None:
    """Clients differ from line to line; empty lines are passed over."""
    request = {"host": "reviews", "port": 9080, "path": "/"}
    text = lines(
        {"from": HERE, "request": request},
        {"from": {**HERE, "labels": {"app": "web"}}, "request": request},
        {"request": request},
    )
    result = run("-f", mesh, text=text.replace("\n", "\n\n"))
    assert result.exit_code == 0, result.stderr
    assert [answer["outcome"] for answer in answers(result)] == ["route", "redirect", "passthrough"]
    assert answers(result)[0]["timeout"] == 5.0


def test_requests_come_from_a_file_too(mesh: str, tmp_path: Path) -> None:
    """`--requests FILE` instead of standard input."""
    path = tmp_path / "requests.jsonl"
    path.write_text(lines({"from": HERE, "request": {"host": "reviews", "port": 9080}}), encoding="utf-8")
    result = run("-f", mesh, "--requests", str(path))
    assert [answer["outcome"] for answer in answers(result)] == ["route"]


def test_the_same_question_has_the_same_answer(mesh: str) -> None:
    """Nothing is drawn."""
    text = lines({"from": HERE, "request": {"host": "reviews", "port": 9080}})
    assert run("-f", mesh, text=text).stdout == run("-f", mesh, text=text).stdout


def test_a_resource_with_an_error_is_left_out_and_told(tmp_path: Path) -> None:
    """Answers go on with the good resources; the error is on standard error, the status is 1."""
    path = tmp_path / "mesh.yaml"
    path.write_text(MESH.replace("timeout: 5s", "timeuot: 5s"), encoding="utf-8")
    result = run("-f", str(path), text=lines({"from": HERE, "request": {"host": "reviews", "port": 9080}}))
    assert result.exit_code == 1
    assert [answer["route"] for answer in answers(result)] == ["default"]
    assert "timeuot" in result.stderr


def test_a_mesh_configuration_that_is_none_is_status_2(mesh: str, tmp_path: Path) -> None:
    """The ConfigMap of a revision, say: its REGISTRY_ONLY would not be in the answer. An empty file is all defaults."""
    fields = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"
    path = tmp_path / "settings.yaml"
    asked = ("-f", mesh, "--mesh-config", str(path), "GET", "http://nowhere.example/")
    path.write_text(f'apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio-1-26}}\ndata: {{mesh: "{fields}"}}\n')
    result = run(*asked)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{path}: holds ConfigMap istio-1-26, but no MeshConfig" in result.stderr
    for text, outcome in (("", "passthrough"), (fields, "direct response")):
        path.write_text(text)
        result = run(*asked)
        assert result.exit_code == 0
        assert outcome in result.stdout


def test_a_key_that_nobody_looks_at_is_told(mesh: str) -> None:
    """The request is answered as if it was not there, which is another one than was meant."""
    asked = {"from": {"namespce": "shop"}, "request": {"host": "reviews", "hedaers": {}}}
    result = run("-f", mesh, text=json.dumps(asked))
    assert (result.exit_code, len(answers(result))) == (0, 1)
    assert "line 1: from has the unknown key 'namespce'" in result.stderr
    assert "line 1: request has the unknown key 'hedaers'; known are method, host" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1"),
        ('{"request": {"host": "reviews"}}\nnonsense\n', "line 2"),
        ("[]", 'expected {"from"?'),
        ('{"host": "reviews"}', 'expected {"from"?'),
        ('{"from": "web", "request": {}}', 'expected {"from"?'),
        ('{"from": {"kind": "robot"}, "request": {}}', "robot"),
        ('{"request": {"port": "http"}}', "port"),
        ('{"request": {"headers": []}}', None),
        ("[" * 100_000, "line 1"),
        (b"\xff\xfe{", "line 1"),
    ],
    ids=["cut", "second", "list", "no-request", "from", "kind", "port", "no-headers", "deep", "bytes"],
)
def test_a_line_that_is_no_request_is_status_2(mesh: str, text: str | bytes, message: str | None) -> None:
    """The message names the line; answers before it are kept."""
    result = run("-f", mesh, text=text)
    assert result.exit_code == (0 if message is None else 2)
    assert (message or "") in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("GET",), "give either METHOD and URL, or --requests"),
        (("GET", "http://a/", "--requests", "-"), "give either METHOD and URL, or --requests"),
        (("GET", "reviews"), "absolute"),
        (("GET", "http://a/", "-H", "novalue"), "'novalue' is not of the form"),
        (("--requests", "no/such/file"), "no/such/file"),
        (("-f", "-"), "standard input cannot be both"),
        (("-o", "sarif"), "Invalid value for '--output'"),
    ],
    ids=["no-url", "both", "relative", "header", "file", "stdin", "format"],
)
def test_wrong_usage_is_status_2(mesh: str, arguments: tuple[str, ...], message: str) -> None:
    """Standard output stays empty, standard error names the mistake."""
    result = run("-f", mesh, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
