"""The façade: load, reload, watch, publish, report, explain."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meshlib import ConfigError, Mesh, MeshError, SourceError, Workload
from meshlib.errors import MeshClosedError
from meshlib.events import ConfigPublished, ConfigRejected, EndpointEjected, Event
from tests.adapters.servers import upstream
from tests.mesh_builders import AT_REST, counters
from tests.patience import PATIENCE


def service(*ports: int, extra: str = "") -> str:
    endpoints = ", ".join(f"{{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in ports)
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  endpoints: [{endpoints}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews.default.svc.cluster.local]
  http:
  - name: all
    route: [{{destination: {{host: reviews.default.svc.cluster.local}}}}]
{extra}
"""


URL = "http://reviews.default.svc.cluster.local:9080/"
EJECTING = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews.default.svc.cluster.local
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, baseEjectionTime: 3600s}
"""
BROKEN = service(1).replace("route:", "rout:")


async def test_ten_lines_of_yaml_govern_a_call() -> None:
    """From Istio YAML to a governed call."""
    async with upstream(name="v1") as server:
        mesh = Mesh.load(service(server.port))
        async with mesh.aiohttp() as session, session.get(URL) as reply:
            assert (reply.status, (await reply.json())["server"]) == (200, "v1")


def test_threads_that_load_at_once_do_not_crash_the_process() -> None:
    """The first use of a model by two threads at once was a segmentation fault inside msgspec."""
    code = (
        "import sys, threading\nfrom meshlib import Mesh\nsys.setswitchinterval(1e-6)\n"
        f"text = {service(1) + EJECTING!r}\ngate = threading.Barrier(8)\n"
        "def load():\n    gate.wait()\n    Mesh.load(text)\n    loaded.append(1)\n"
        "loaded = []\nthreads = [threading.Thread(target=load) for _ in range(8)]\n"
        "[one.start() for one in threads]\n[one.join() for one in threads]\nprint(len(loaded))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "8"), done.stderr


def test_all_errors_of_all_files_are_raised_at_once(tmp_path: Path) -> None:
    """Each with file, line and remedy."""
    (tmp_path / "a.yaml").write_text(BROKEN)
    (tmp_path / "b.yaml").write_text(service(1).replace("resolution: STATIC", "resolution: STATICAL"))
    with pytest.raises(ConfigError) as error:
        Mesh.load(tmp_path)
    errors = [finding for finding in error.value.findings if finding.level == "error"]
    assert {Path(finding.file).name for finding in errors} == {"a.yaml", "b.yaml"}
    assert all(finding.line and finding.hint for finding in errors)
    assert "route" in str(error.value)


def test_a_missing_path_is_a_source_error(tmp_path: Path) -> None:
    """It names the path and what to do."""
    with pytest.raises(SourceError, match="nowhere"):
        Mesh.load(tmp_path / "nowhere")


def test_strict_turns_a_field_without_effect_into_an_error() -> None:
    """By default it is a warning; neither is silent."""
    text = service(1) + EJECTING.replace(
        "outlierDetection: {", "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}\n    outlierDetection: {"
    )
    mesh = Mesh.load(text)
    assert any(finding.level == "warning" and "h2UpgradePolicy" in finding.field for finding in mesh.findings)
    with pytest.raises(ConfigError, match="h2UpgradePolicy"):
        Mesh.load(text, strict=True)


def test_a_bad_update_keeps_the_last_good_configuration(tmp_path: Path) -> None:
    """It is raised to the caller, reported to observers, and changes nothing."""
    path = tmp_path / "mesh.yaml"
    path.write_text(service(1))
    mesh = Mesh.load(path)
    before = mesh.snapshot
    seen: list[Event] = []
    mesh.observe(seen.append, ConfigPublished, ConfigRejected)
    for bad in (BROKEN, "{[", "\x00"):
        path.write_text(bad)
        with pytest.raises(ConfigError):
            mesh.reload()
    path.unlink()
    with pytest.raises(MeshError):
        mesh.reload()
    assert mesh.snapshot is before
    assert [type(event) for event in seen] == [ConfigRejected] * 4
    path.write_text(service(1, 2))
    mesh.reload()
    assert type(seen[-1]) is ConfigPublished
    assert mesh.snapshot is not before


async def test_ejections_survive_a_reload() -> None:
    """State is keyed by identity, not by configuration."""
    async with upstream(503, 503) as bad, upstream() as good:
        mesh = Mesh.load(service(bad.port, good.port) + EJECTING)
        ejected: list[Event] = []
        mesh.observe(ejected.append, EndpointEjected)
        async with mesh.aiohttp() as session:
            while not ejected:
                async with session.get(URL):
                    pass
            mesh.publish(service(good.port, bad.port, extra="    timeout: 5s") + EJECTING)
            for _ in range(20):
                async with session.get(URL) as reply:
                    assert reply.status == 200
        assert len(bad.seen) == 1


async def test_reloading_during_ten_thousand_calls_loses_none() -> None:
    """Sixteen tasks call while the configuration changes under them."""
    async with upstream(name="a") as one, upstream(name="b") as two:
        texts = [
            service(one.port, two.port),
            service(one.port, extra="    timeout: 30s") + EJECTING,
            service(two.port, extra="    retries: {attempts: 2, retryOn: '5xx,reset,connect-failure'}"),
        ]
        mesh = Mesh.load(texts[0])
        left = 10_000
        statuses: dict[int, int] = {}

        async def call() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                async with session.get(URL) as reply:
                    statuses[reply.status] = statuses.get(reply.status, 0) + 1
                    await reply.read()

        async def reload() -> None:
            while left > 0:
                for text in texts:
                    mesh.publish(text)
                    await asyncio.sleep(0)

        async with mesh.aiohttp() as session:
            await asyncio.gather(reload(), *(call() for _ in range(16)))
        assert statuses == {200: 10_000}
        assert counters(mesh.runtime) == AT_REST


def test_a_closed_mesh_watches_nothing(tmp_path: Path) -> None:
    """It would start a thread that nobody ends."""
    (tmp_path / "mesh.yaml").write_text(service(1))
    mesh = Mesh.load(tmp_path)
    mesh.close()
    with pytest.raises(MeshClosedError, match="watches no files"):
        mesh.watch()


def test_a_watch_needs_a_period() -> None:
    """Of none it would never rest."""
    with Mesh.load(service(1)) as mesh, pytest.raises(ValueError, match="more than 0 seconds"):
        mesh.watch(interval=-1.0)


def test_watching_picks_up_a_change_and_survives_a_bad_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a background thread; closing stops it."""
    path = tmp_path / "mesh.yaml"
    path.write_text(service(1))
    mesh = Mesh.load(tmp_path)
    rejected, published = threading.Event(), threading.Event()
    mesh.observe(lambda event: rejected.set(), ConfigRejected)
    mesh.observe(lambda event: published.set(), ConfigPublished)
    with mesh:
        mesh.watch(interval=0.02)
        path.write_text(BROKEN)
        assert rejected.wait(PATIENCE)
        path.write_text(service(1, 2))
        assert published.wait(PATIENCE)
    assert "stays in force" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "meshlib-watch"]


def test_explain_tells_what_would_happen() -> None:
    """Nothing is sent."""
    mesh = Mesh.load(service(1))
    explanation = mesh.explain("GET", URL, headers={"end-user": "jason"})
    answer = explanation.to_json()
    assert (answer["outcome"], answer["route"]) == ("route", "all")
    assert answer["destination"] == {"host": "reviews.default.svc.cluster.local", "port": 9080}
    assert "VirtualService default/reviews" in str(explanation)
    with pytest.raises(ValueError, match="absolute"):
        mesh.explain("GET", "/reviews")


def test_explain_can_ask_for_another_client() -> None:
    """The rules are those of its namespace."""
    mesh = Mesh.load(service(1, extra="    match: [{sourceNamespace: shop}]"))
    assert mesh.explain("GET", URL).to_json()["outcome"] != mesh.explain(
        "GET", URL, workload=Workload(namespace="shop")
    ).to_json().get("route")


def test_report_names_every_field_that_is_not_fully_applied() -> None:
    """And what was skipped."""
    text = service(1) + EJECTING.replace(
        "outlierDetection: {", "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}\n    outlierDetection: {"
    )
    mesh = Mesh.load(text + "---\napiVersion: v1\nkind: Lease\nmetadata: {name: x}\n")
    assert "spec.trafficPolicy.connectionPool.http.h2UpgradePolicy" in str(mesh.report())
    assert [skipped.kind for skipped in mesh.skipped] == ["Lease"]


def test_repr_shows_the_counts() -> None:
    """What a debugger wants to see."""
    assert repr(Mesh.load(service(1))).startswith("<Mesh default resources=2 <Snapshot")


async def test_a_redirect_of_the_mesh_is_followed_and_governed_again() -> None:
    """As an application behind a sidecar would see it: a 301, then the other path."""
    async with upstream(name="v1") as server:
        text = service(server.port).replace(
            "  http:\n", "  http:\n  - match: [{uri: {exact: /old}}]\n    redirect: {uri: /new}\n"
        )
        mesh = Mesh.load(text)
        async with mesh.aiohttp() as session:
            async with session.get(f"{URL}old?a=1") as reply:
                assert ((await reply.json())["path"], reply.status) == ("/new?a=1", 200)
                assert [one.status for one in reply.history] == [301]
            async with session.get(f"{URL}old", allow_redirects=False) as reply:
                assert (reply.status, reply.headers["location"]) == (301, f"{URL.removesuffix('/')}/new")
        assert counters(mesh.runtime) == AT_REST


async def test_a_rewrite_changes_the_path_and_the_host_for_the_upstream_only() -> None:
    """The application keeps the URL that it called."""
    async with upstream(name="v1") as server:
        text = service(server.port).replace(
            "  - name: all\n", "  - name: all\n    rewrite: {uri: /v2, authority: other.example.com}\n"
        )
        mesh = Mesh.load(text.replace("    route:", "    match: [{uri: {prefix: /v1}}]\n    route:"))
        async with mesh.aiohttp() as session, session.get(f"{URL}v1/items?a=1") as reply:
            facts = await reply.json()
        assert (facts["path"], facts["host"]) == ("/v2/items?a=1", "other.example.com")
        assert facts["headers"]["x-envoy-original-path"] == "/v1/items?a=1"
        assert str(reply.url) == f"{URL}v1/items?a=1"


def test_a_reload_of_what_changed_equals_a_load(tmp_path: Path) -> None:
    """Through edits, new, moved and deleted documents the mesh is as if it had been loaded anew."""
    rules = {name: service(1, 2).replace("reviews", name) for name in ("one", "two", "three")}
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text("---\n".join(rules.values()))
    mesh = Mesh.load(tmp_path)
    edits = [
        lambda: other.write_text(rules["one"] + "    timeout: 3s\n"),  # replaces the one before: a finding
        lambda: file.write_text("---\n".join([rules["two"], rules["three"] + "    timeout: 7s\n"])),
        lambda: file.write_text("---\n".join([rules["three"] + "    timeout: 7s\n", rules["two"]])),
        other.unlink,
    ]
    for edit in edits:
        edit()
        mesh.reload()
        fresh = Mesh.load(tmp_path)
        assert (mesh.findings, mesh.skipped) == (fresh.findings, fresh.skipped)
        assert mesh.snapshot.version == fresh.snapshot.version
        assert mesh.snapshot.clusters == fresh.snapshot.clusters
        for name in rules:
            url = f"http://{name}:9080/"
            assert str(mesh.explain("GET", url)) == str(fresh.explain("GET", url))
