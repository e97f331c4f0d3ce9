"""A real Prometheus scrapes a mesh at work, and the demo; every query of the dashboard has an answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from meshlib import Mesh, Workload
from meshlib._http import Headers, RequestHead
from meshlib.cli.demo import stage as demo_stage
from meshlib.cli.demo.stage import Stage
from tests.telemetry.calls import REVIEWS, URL, call, serve

PROMETHEUS = os.environ.get("MESHLIB_PROMETHEUS") or shutil.which("prometheus")
DASHBOARD = Path(__file__).parents[2] / "examples" / "grafana" / "dashboard.json"
SECONDS = 180.0
"""After which something is wrong, however busy the machine is."""
SCRAPES = {"scrape_interval": "2s", "scrape_timeout": "2s"}
WINDOW = "1m"
"""Of rates: they need two scrapes that came in time."""
CONFIG = (
    REVIEWS.replace(
        "  - name: default-route\n",
        "  - name: broken\n    match: [{uri: {prefix: /broken}}]\n"
        "    fault: {abort: {percentage: {value: 100}, httpStatus: 500}}\n"
        f"    route: [{{destination: {{host: {URL}}}}}]\n  - name: default-route\n",
    )
    + """\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews.shop.svc.cluster.local
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 1}}
    outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 1s, maxEjectionPercent: 100}
---
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: reviews, namespace: shop}
spec: {hosts: [reviews], circuitBreaker: {consecutiveFailures: 1000, openFor: 1s}}
"""
)

TRAFFIC = Path(demo_stage.__file__).with_name("bookinfo") / "traffic"
BREAKER = """\
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: ratings}
spec: {hosts: [ratings], circuitBreaker: {consecutiveFailures: 1000, openFor: 1s}}
"""
CALLS = {("client", "productpage"), ("productpage", "details"), ("productpage", "reviews"), ("reviews", "ratings")}
EDGES = 'sum by (source_app, destination_service_name) (istio_requests_total{reporter="source"})'

LISTENING = re.compile(r'msg="Listening on" address=\S*:([0-9]+)')

pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="no Prometheus server: install it, or name it in MESHLIB_PROMETHEUS"
)


def traffic(mesh: Mesh, ended: threading.Event) -> None:
    """A little of everything, until it is enough."""
    while not ended.wait(0.02):
        call(mesh, 200)
        call(mesh, 503, 503, 200)
        call(mesh, 200, path="/broken")
        headers = Headers()
        steps = mesh.runtime.begin(RequestHead("GET", "http", URL, "/", headers, port=80), headers, bool).steps()
        next(steps, None)
        call(mesh, 200)  # one too many
        steps.close()
        serve(mesh)


@contextmanager
def prometheus(directory: Path, *jobs: dict[str, Any]) -> Iterator[int]:
    """A server that scrapes all the time; the port that it found for itself."""
    config = directory / "prometheus.yml"
    config.write_text(json.dumps({"global": SCRAPES, "scrape_configs": jobs}), encoding="utf-8")
    assert PROMETHEUS is not None
    process = subprocess.Popen(
        [
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        found = LISTENING.search(line)
        if found is not None:
            break
    else:
        raise AssertionError("".join(said))
    rest = threading.Thread(target=process.stderr.read)  # so that it never waits for a reader
    rest.start()
    try:
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()
        rest.join()
        process.stderr.close()


def job(name: str, target: str, **settings: Any) -> dict[str, Any]:
    return {"job_name": name, "static_configs": [{"targets": [target]}], **settings}


def ask(port: int, query: str) -> list[Any]:
    """The samples that a query gives now; none while the server is not there yet."""
    address = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            found: list[Any] = json.load(response)["data"]["result"]
            return found
    except urllib.error.HTTPError as error:
        if error.code == 503:  # it is not ready yet, or too busy to answer in time
            return []
        raise AssertionError(f"{query}: {error.read().decode()}") from error
    except OSError:
        return []


def wait_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.2)
    return True


def scraped(port: int, query: str) -> float:
    """The one value that a query gives, as soon as it gives any."""
    found: list[Any] = []

    def is_there() -> bool:
        found.extend(ask(port, query))
        return bool(found)

    assert wait_for(is_there), query
    return float(found[0]["value"][1])


def queries() -> set[str]:
    """Those of the dashboard, as Grafana would fill them in for all services."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    written = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return {
        query.replace("$__rate_interval", WINDOW).replace('"$source"', '".*"').replace('"$destination"', '".*"')
        for query in written
    }


def unanswered(port: int) -> set[str]:
    """The queries of the dashboard that never had an answer, however long one waits."""
    left = queries()

    def are_answered() -> bool:
        left.difference_update([query for query in left if ask(port, query)])
        return not left

    wait_for(are_answered)
    return left


def test_every_query_of_the_dashboard_has_an_answer(tmp_path: Path) -> None:
    """Scraped under load: calls, retries, an ejection, an overflow, a fault, served requests, a reload."""
    mesh = Mesh.load(CONFIG, workload=Workload(namespace="shop", labels={"app": "web"}))
    registry = CollectorRegistry()
    metrics = mesh.metrics(registry)
    mesh.reload()
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    ended = threading.Event()
    worker = threading.Thread(target=traffic, args=(mesh, ended))
    worker.start()
    try:
        with prometheus(tmp_path, job("mesh", f"127.0.0.1:{server.server_port}")) as port:
            assert unanswered(port) == set()
            total = scraped(port, "sum(istio_requests_total)")
    finally:
        ended.set()
        worker.join()
        server.shutdown()
        server.server_close()
        thread.join()
    assert 0 < total <= metrics.value("istio_requests_total")


def edges(port: int) -> set[tuple[str, str]]:
    """Who calls whom, as far as it was scraped."""
    return {(one["metric"]["source_app"], one["metric"]["destination_service_name"]) for one in ask(port, EDGES)}


async def test_the_demo_fills_the_dashboard(tmp_path: Path) -> None:
    """Each of its workloads scraped at the live page; a breaker, which its own rules do not have, is added to them."""
    rules = tmp_path / "rules"
    shutil.copytree(TRAFFIC, rules)
    (rules / "breaker.yaml").write_text(BREAKER, encoding="utf-8")
    interrupted = asyncio.Event()
    stage = Stage(seconds=0, interrupted=interrupted, config=rules, seed=288)
    run = asyncio.create_task(stage.run())
    try:
        while not stage.page:
            done, _ = await asyncio.wait({run}, timeout=0.05)
            assert not done, run.exception()
        place = urllib.parse.urlsplit(stage.page).netloc
        members = ("client.default", "productpage.default", "reviews.default")
        jobs = [job(name, place, metrics_path="/stats/prometheus", params={"member": [name]}) for name in members]
        with prometheus(tmp_path, *jobs) as port:
            assert await asyncio.to_thread(unanswered, port) == set()
            assert await asyncio.to_thread(wait_for, lambda: edges(port) >= CALLS), edges(port)
    finally:
        interrupted.set()
        await run
