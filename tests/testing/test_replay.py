"""Decisions of a running mesh are recorded, and other YAML is tried on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from meshlib import Mesh, MeshError
from meshlib._compile import Config
from meshlib._config.load import load
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.cli.app import app
from meshlib.sources import SourceText
from meshlib.testing import Recording, Simulation, replay
from tests.security.remembering import scope_of
from tests.testing.meshes import CANARY, TOKENS

URL = "http://reviews:9080/"
TEAPOT = "http://teapot.default.svc.cluster.local/"


def _config(*texts: str) -> Config:
    return Config(load([SourceText(f"{number}.yaml", text) for number, text in enumerate(texts)]).resources)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Calls by a canary's YAML: some of jason, one with secrets."""
    path = tmp_path / "decisions.jsonl"
    with Simulation(CANARY, seed=1) as sim:
        for version in ("v1", "v2"):
            sim.deploy("reviews", version=version, port=9080)
        with Recording(sim.mesh, path) as recording:
            sim.send("GET", URL, times=50)
            sim.send("GET", URL, times=5, headers={"end-user": "jason", "authorization": "Bearer abc", "x-other": "1"})
            sim.get(f"{URL}search?q=mine&token=secret", headers={"cookie": "session=secret"})
            assert recording.dropped == 0
        sim.get(f"{URL}after")
    return path


def test_a_recording_has_each_decision_once_and_no_secret(recorded: Path) -> None:
    """Only headers that a rule looks at; values of query parameters are left out."""
    first, *lines = _lines(recorded)
    assert first["workload"]["namespace"] == "default"
    assert [line["request"]["path"] for line in lines] == ["/", "/", "/search?q=<redacted>&token=<redacted>"]
    assert lines[1]["request"]["headers"] == {"end-user": "jason"}
    assert lines[0]["decided"]["route"] == "split"
    text = recorded.read_text(encoding="utf-8")
    assert not any(word in text for word in ("secret", "abc", "mine", "x-other", "after"))


def test_the_same_yaml_changes_nothing(recorded: Path) -> None:
    """Neither compared with what was recorded nor with itself."""
    with recorded.open(encoding="utf-8") as lines:
        assert replay(lines, _config(CANARY, _services())).changes == []
    with recorded.open(encoding="utf-8") as lines:
        assert replay(lines, _config(CANARY), _config(CANARY)).changes == []


def _services() -> str:
    parts = [f"{{address: 10.0.0.{number}, labels: {{version: v{number}}}}}" for number in (1, 2)]
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews.default.svc.cluster.local]
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{", ".join(parts)}]
"""


def test_other_weights_and_routes_are_reported(recorded: Path) -> None:
    """With what was decided before, and what would be."""
    other = CANARY.replace("weight: 90", "weight: 50").replace("weight: 10", "weight: 50").replace("jason", "anna")
    with recorded.open(encoding="utf-8") as lines:
        result = replay(lines, _config(other, _services()))
    assert result.requests == 3
    assert [(change.line, change.what) for change in result.changes] == [
        (2, "destinations"),
        (3, "route"),
        (3, "destinations"),
        (4, "destinations"),
    ]
    assert "v1" in str(result.changes[0])
    assert str(result.changes[1]) == "GET reviews:9080/: route for-jason → split"


def test_a_service_that_the_yaml_lacks_is_named(recorded: Path) -> None:
    """Once for each request: nothing of its route is comparable then."""
    with recorded.open(encoding="utf-8") as lines:
        found = replay(lines, _config(CANARY))
    reasons = [change.reason for change in found.changes if change.reason]
    assert reasons == ["the YAML has no service reviews.default.svc.cluster.local"] * 3


def test_access_that_would_be_lost_is_reported(tmp_path: Path) -> None:
    """Requests that were served are judged by the other policies; what is not recorded is not guessed at."""
    path = tmp_path / "decisions.jsonl"
    with Simulation(seed=1) as sim:
        sim.deploy("web")
        mesh = sim.mesh_of(sim.service("web"))
        application = Starlette(routes=[Route("/{path:path}", lambda _: PlainTextResponse("hello"))])
        application.add_middleware(MeshMiddleware, mesh=mesh)  # type: ignore[arg-type]
        sim.app("web", application)
        with Recording(mesh, path):
            assert sim.get("http://web/").status == 200
            assert sim.get("http://web/admin").status == 200
    locked = """
    apiVersion: security.istio.io/v1
    kind: AuthorizationPolicy
    metadata: {name: no-admin, namespace: default}
    spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}
    """
    with path.open(encoding="utf-8") as lines:
        result = replay(lines, _config(locked))
    assert [(change.request, change.before, change.after) for change in result.changes] == [
        ("GET web/admin", "allow", "deny")
    ]
    with path.open(encoding="utf-8") as lines:
        assert len(replay(lines, _config(TOKENS)).changes) == 2
    claims = locked.replace(
        "to: [{operation: {paths: [/admin]}}]", "when: [{key: 'request.auth.claims[a]', values: [b]}]"
    )
    with path.open(encoding="utf-8") as lines:
        assert len(replay(lines, _config(claims)).unknown) == 2


@pytest.mark.parametrize("has_metrics", [False, True])
async def test_requests_that_are_let_in_again_are_recorded(tmp_path: Path, *, has_metrics: bool) -> None:
    """However quickly the middleware serves what it knows."""
    mesh = Mesh.load([])
    if has_metrics:
        mesh.metrics(CollectorRegistry())

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ignore(*_: Any) -> Any: ...

    middleware = MeshMiddleware(application, mesh)
    for _ in range(3):
        await middleware(scope_of("/a"), ignore, ignore)
    with Recording(mesh, tmp_path / "decisions.jsonl"):
        for _ in range(4):
            await middleware(scope_of("/a"), ignore, ignore)
    await middleware(scope_of("/a"), ignore, ignore)
    (line,) = _lines(tmp_path / "decisions.jsonl")[1:]
    assert (line["kind"], line["request"]["path"]) == ("inbound", "/a")
    if has_metrics:
        assert mesh.metrics().value("istio_requests_total") == 8


def test_a_recording_never_grows_beyond_its_limit(tmp_path: Path) -> None:
    """What does not fit is counted; the mesh has its own recorder back afterwards."""
    path = tmp_path / "decisions.jsonl"
    with Simulation() as sim:
        before = sim.mesh.runtime.recorder
        recording = Recording(sim.mesh, path, max_bytes=3000)
        with pytest.raises(MeshError, match="already"):
            Recording(sim.mesh, tmp_path / "other.jsonl")
        sim.send("GET", lambda number: f"http://x.example.com/{number}", times=100)
        recording.close()
        recording.close()
        assert recording.dropped > 50
        assert path.stat().st_size <= 3000
        assert sim.mesh.runtime.recorder is before


@pytest.mark.parametrize(
    ("text", "message"),
    [("nonsense", "line 1"), ('{"kind": "outbound"}', "begins with its workload"), ("[]", "expected a JSON object")],
)
def test_what_is_no_recording_is_refused(text: str, message: str) -> None:
    """With the line."""
    with pytest.raises(ValueError, match=message):
        replay([text], _config(CANARY))


def test_the_command_tells_what_would_change(recorded: Path, tmp_path: Path) -> None:
    """Status 1 if anything would; as text and as JSON; 2 for what cannot be read."""
    new, now = tmp_path / "new.yaml", tmp_path / "now.yaml"
    now.write_text(f"{CANARY}---{_services()}", encoding="utf-8")
    new.write_text(now.read_text(encoding="utf-8").replace("jason", "anna"), encoding="utf-8")
    run = CliRunner().invoke
    same = run(app, ["replay", "-f", str(now), str(recorded)])
    assert (same.exit_code, same.stdout) == (0, "0 of 3 requests would change\n")
    other = run(app, ["replay", "-f", str(new), "--against", str(now), str(recorded)])
    assert other.exit_code == 1
    assert "1 of 3 requests would change" in other.stdout
    lines = run(app, ["replay", "-f", str(new), "-o", "json", str(recorded)])
    assert json.loads(lines.stdout.splitlines()[0])["what"] == "route"
    assert run(app, ["replay", "-f", str(new), str(tmp_path / "nothing")]).exit_code == 2


async def test_a_mesh_in_production_is_recorded_without_waiting(tmp_path: Path) -> None:
    """On the system's clock: the file is written by a thread of its own."""
    path = tmp_path / "decisions.jsonl"
    spec = {"hosts": ["teapot.default.svc.cluster.local"], "http": [{"directResponse": {"status": 418}}]}
    meta = {"name": "teapot", "namespace": "default"}
    mesh = Mesh.load({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec})
    with Recording(mesh, path):
        async with mesh.aiohttp() as session, session.get(TEAPOT) as response:
            assert response.status == 418
    assert _lines(path)[1]["decided"]["status"] == 418
