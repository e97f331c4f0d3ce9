"""The pytest plugin, run in pytests of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import meshlib
import meshlib.testing.memory_aiohttp
import meshlib.testing.memory_requests
import meshlib.testing.simulation  # here, since pytester forgets what is imported within it, and half of it would stay
from meshlib._context import Carried, serving
from tests.testing.meshes import RETRIES

pytest_plugins = ["pytester"]

PREAMBLE = """
def deployed(sim):
    sim.deploy("reviews", replicas=[f"10.0.0.{n}" for n in range(1, 11)], port=9080)
    return sim
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory with YAML and an empty configuration of pytest."""
    monkeypatch.setenv("PYTHONPATH", str(Path(meshlib.__file__).parents[1]))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # this test's own, if it runs in one
    (pytester.path / "mesh").mkdir()
    (pytester.path / "mesh" / "reviews.yaml").write_text(RETRIES)
    pytester.makeini("[pytest]\naddopts = -p meshlib.testing.plugin -p no:anyio -p no:cacheprovider --strict-markers\n")
    return pytester


def test_the_fixture_makes_simulations_of_the_yaml_beside_the_test(project: pytest.Pytester) -> None:
    """By a path, by a mark, by text; they are closed after the test."""
    project.makepyfile(
        PREAMBLE
        + """
import pytest

kept = []

def test_by_path(mesh_sim, mesh_clock):
    sim = deployed(mesh_sim("mesh/"))
    kept.append(sim)
    assert sim.clock is mesh_clock
    assert sim.get("http://reviews:9080/").status == 200
    assert sim.explain("GET", "http://reviews:9080/").retries.attempts == 3

@pytest.mark.mesh("mesh/reviews.yaml", namespace="default", seed=5)
def test_by_mark(mesh_sim, mesh_seed):
    sim = deployed(mesh_sim())
    assert kept[0]._closed
    assert sim.seed == mesh_seed == 5
    assert sim.explain("GET", "http://reviews:9080/").retries.attempts == 3

def test_without_any(mesh_sim):
    assert mesh_sim(namespace="shop").client.workload.namespace == "shop"

@pytest.mark.mesh("mesh/")
async def test_on_virtual_time(mesh_sim, mesh_clock):
    import asyncio
    sim = deployed(mesh_sim())
    await asyncio.sleep(3 * 3600)
    async with sim.aiohttp() as session, session.get("http://reviews:9080/") as response:
        assert response.status == 200
    assert mesh_clock.monotonic() >= 3 * 3600
"""
    )
    project.runpytest().assert_outcomes(passed=4)


def test_what_fails_shows_seed_and_timeline(project: pytest.Pytester) -> None:
    """So that it can be read and repeated."""
    project.makepyfile(
        PREAMBLE
        + """
def test_it(mesh_sim):
    sim = deployed(mesh_sim("mesh/"))
    sim.upstream("reviews").respond(503)
    assert sim.send("GET", "http://reviews:9080/", times=2, every=1).statuses == {200: 2}
"""
    )
    result = project.runpytest("--mesh-seed=11")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*mesh, seed 11*", "*attempt 4 *", "*GET reviews:9080 → 503 after 4 attempts*"])
    result.stdout.fnmatch_lines(["to repeat it: --mesh-seed=11"])


def test_seeds_are_stable_and_can_be_given(project: pytest.Pytester) -> None:
    """The same for a test in every run and order, another for another test."""
    project.makepyfile(
        """
import pathlib

def write(name, seed):
    with pathlib.Path("seeds.txt").open("a") as file:
        file.write(f"{name} {seed}\\n")

def test_a(mesh_seed):
    write("a", mesh_seed)

def test_b(mesh_seed):
    write("b", mesh_seed)
"""
    )
    seeds = project.path / "seeds.txt"

    def run(*arguments: str) -> set[str]:
        seeds.unlink(missing_ok=True)
        project.runpytest(*arguments).assert_outcomes(passed=2)
        return set(seeds.read_text().splitlines())

    first = run()
    assert first == run()
    assert len({line.split()[1] for line in first}) == 2
    assert run("--mesh-seed=9") == {"a 9", "b 9"}
    assert run("--mesh-seed=random") != first


COVERED = (
    PREAMBLE
    + """
import os
import pathlib

def test_route(mesh_sim):
    assert deployed(mesh_sim("mesh/")).get("http://reviews:9080/").status == 200

def test_retry(mesh_sim):
    sim = deployed(mesh_sim("mesh/"))
    sim.upstream("reviews").respond(500, times=1)
    assert sim.get("http://reviews:9080/").status == 200
    pathlib.Path(f"timeline-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')[:2]}").write_text(str(sim.timeline))
"""
)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_policy_coverage_is_that_of_all_tests_together(project: pytest.Pytester, workers: tuple[str, ...]) -> None:
    """As text and as JSON, and below a threshold the run fails; workers of xdist are added up."""
    project.makepyfile(COVERED)
    report = project.path / "mesh.json"
    result = project.runpytest(*workers, f"--mesh-report={report}", "--mesh-fail-under=80")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["policy coverage: 50 %, written to*", "*below --mesh-fail-under=80*"])
    found = json.loads(report.read_text())
    assert {one["what"]: one["times"] for one in found["items"]} == {
        "an endpoint is ejected": 0,
        "the route is taken": 2,
        "an attempt is retried": 1,
        "the timeout ends it": 0,
    }


def test_a_test_is_the_same_alone_in_any_order_and_under_xdist(project: pytest.Pytester) -> None:
    """The same seed, so the same back-off to the bit, whatever tests before left behind."""
    project.makepyfile(COVERED)
    token = serving.set(Carried({"x-request-id": "of-a-request-that-was-never-left"}))
    texts = set()
    for arguments in ((), ("-k", "retry"), ("-n", "1")):
        project.runpytest(*arguments)
        texts |= {path.read_bytes() for path in project.path.glob("timeline-*")}
    serving.reset(token)
    assert len(texts) == 1
    assert len(list(project.path.glob("timeline-*"))) == 2


def test_policy_coverage_is_printed(project: pytest.Pytester) -> None:
    """With the lines that no request has touched; enough of it is enough."""
    project.makepyfile(COVERED)
    result = project.runpytest("--mesh-report", "--mesh-fail-under=40")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*never: spec.http?0? (line 8): the timeout ends it"])


def test_a_run_that_does_not_use_it_pays_nothing() -> None:
    """Neither the engine nor any client library is imported."""
    code = (
        "import sys, meshlib.testing.plugin; "
        "print([name for name in sys.modules if name.startswith(('meshlib.', 'aiohttp', 'msgspec', 'multidict'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = result.stdout.strip()
    assert found == "['meshlib.testing', 'meshlib.testing.watching', 'meshlib.testing.plugin']"


BOOKINFO = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {clusterIP: 10.255.0.7, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: default, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints:
"""
ENDPOINTS = "".join(f"- addresses: [10.0.0.{number}]\n" for number in range(1, 11))


def test_the_first_example_that_anybody_sees_runs_as_it_stands(project: pytest.Pytester) -> None:
    """With YAML that has the service and its endpoints, as an export of a cluster would."""
    (project.path / "mesh" / "services.yaml").write_text(BOOKINFO + ENDPOINTS)
    project.makepyfile(
        """
def test_reviews_survives_one_bad_endpoint(mesh_sim):              # fixture of the shipped pytest plugin
    sim = mesh_sim("mesh/", seed=7)                                 # production YAML (retryOn 5xx, eject after 7), virtual clock, no sockets
    sim.upstream("reviews").endpoint("10.0.0.1:9080").respond(503)  # one of ten endpoints is broken from now on
    calls = sim.send("GET", "http://reviews/", times=1000, every=0.1)
    assert calls.statuses == {200: 1000} and calls.ejected == ["10.0.0.1:9080"]
    sim.advance(30)                                                 # base ejection time
"""  # noqa: E501 - verbatim
    )
    project.runpytest().assert_outcomes(passed=1)


def test_a_coroutine_that_asks_for_a_simulation_runs_on_its_time(project: pytest.Pytester) -> None:
    """Without the mark, and with what it gives to threads."""
    project.makepyfile(
        """
import asyncio
import time

async def test_it(mesh_sim):
    sim = mesh_sim("mesh/")
    sim.deploy("reviews", port=9080)

    def blocking(seconds):
        time.sleep(seconds)
        with sim.requests() as session:
            return session.get("http://reviews:9080/").status_code

    waits = (asyncio.to_thread(blocking, seconds) for seconds in (3, 1, 2))
    assert await asyncio.gather(*waits) == [200, 200, 200]
    assert 3 < sim.now < 3.1
    assert (await sim.client.call("GET", "http://reviews:9080/")).status == 200
"""
    )
    project.runpytest().assert_outcomes(passed=1)


def test_a_coroutine_shares_the_time_of_the_simulations_that_its_fixtures_made(project: pytest.Pytester) -> None:
    """Of one test, or of all; it once ran on a loop of its own, where their clients refused to work."""
    project.makepyfile(
        PREAMBLE
        + """
import asyncio
import pytest
from meshlib.testing import Simulation

URL = "http://reviews:9080/"

@pytest.fixture
def sim(mesh_sim):
    return deployed(mesh_sim("mesh/"))

@pytest.fixture(scope="module")
def shared():
    with Simulation() as sim:
        yield deployed(sim)

async def ask(sim):
    began = sim.now
    await asyncio.sleep(60)
    async with sim.aiohttp() as session, session.get(URL) as response:
        assert response.status == 200
    async with sim.httpx_async() as client:
        assert (await client.get(URL)).status_code == 200
    assert (await sim.client.call("GET", URL)).status == 200
    assert 60 < sim.now - began < 61

async def test_one(sim):
    await ask(sim)

@pytest.mark.mesh
async def test_all(shared):
    await ask(shared)

@pytest.mark.mesh
async def test_all_again(shared):
    await ask(shared)
"""
    )
    project.runpytest().assert_outcomes(passed=3)


def test_a_coroutine_may_be_marked_for_another_plugin(project: pytest.Pytester) -> None:
    """As pytest-asyncio does with each in its mode ``auto``: it awaits what comes back, which once was nothing."""
    project.makeconftest(
        """
import asyncio
import pytest

class Awaits:
    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem):
        names = pyfuncitem._fixtureinfo.argnames
        asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True

def pytest_configure(config):
    config.addinivalue_line("markers", "asyncio")
    config.pluginmanager.register(Awaits(), "asyncio")
"""
    )
    project.makepyfile(
        """
import asyncio
import pytest

@pytest.mark.asyncio
async def test_it(mesh_sim):
    sim = mesh_sim("mesh/")
    await asyncio.sleep(3600)
    assert sim.now >= 3600
"""
    )
    project.runpytest("-p", "meshlib.testing.plugin").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--mesh-seed=seven", "--mesh-seed: 'seven' is neither a number nor 'random'"),
        ("--mesh-report=no/such/report.json", "--mesh-report: there is no directory no/such"),
    ],
)
def test_wrong_options_end_the_run_before_it_begins(project: pytest.Pytester, option: str, message: str) -> None:
    """In one line."""
    project.makepyfile("def test_it(): pass")
    result = project.runpytest_subprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


def test_a_slip_in_the_mark_is_told(project: pytest.Pytester) -> None:
    """A namespace that nobody reads is none."""
    project.makepyfile(
        """
import pytest

@pytest.mark.mesh("mesh/", nmespace="shop")
def test_it(mesh_sim):
    mesh_sim()
"""
    )
    result = project.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the mark mesh has no argument 'nmespace'; it has namespace, seed*"])


def test_slips_in_names_are_told_instead_of_ignored(project: pytest.Pytester) -> None:
    """A script that nothing obeys would make a test pass."""
    project.makepyfile(
        PREAMBLE
        + """
import pytest
from meshlib import MeshError

def test_it(mesh_sim):
    sim = deployed(mesh_sim("mesh/"))
    reviews = sim.upstream("reviews")
    with pytest.raises(MeshError, match=r"no endpoint '10.0.0.99:9080'; it has 10.0.0.10:9080, 10.0.0.1:9080"):
        reviews.endpoint("10.0.0.99:9080")
    with pytest.raises(MeshError, match="no subset 'v9'; it has none"):
        reviews.subset("v9")
    with pytest.raises(TypeError, match="no argument 'time'; it has times, after, lasting, probability, latency"):
        reviews.respond(503, time=3)
    with pytest.raises(ValueError, match="probability is 50, it is to be from 0 to 1"):
        reviews.respond(503, probability=50)
    with pytest.raises(ValueError, match="'ok' is no status of an answer"):
        reviews.respond("ok")
    nobody = sim.get("http://ratings:9080/")
    assert nobody.status == 503
    assert nobody.text.endswith("no service ratings:9080 in the simulation, see sim.deploy()")
    assert sim.get("https://api.example.com/").status == 200
"""
    )
    project.runpytest().assert_outcomes(passed=1)


def test_nothing_but_the_plugin_needs_pytest() -> None:
    """Those who use unittest have it all."""
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from meshlib.testing import *\n"
        "with Simulation() as sim:\n"
        "    sim.deploy('web')\n"
        "    sim.send('GET', 'http://web/', times=3).check(statuses={200: 3})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
