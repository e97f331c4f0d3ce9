"""One process and its forks, its loops, its end: scripts that run with every warning an error."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.lifecycle.processes import ROOT, Service, config, environment, service
from tests.patience import PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

START = """
import asyncio, os, pathlib, sys, threading
from meshlib import Mesh

mesh = Mesh.load([os.environ["MESH"]])

async def call(session=None):
    if session is None:
        async with mesh.aiohttp() as session:
            return await call(session)
    async with session.get("http://backend.test/") as response:
        assert response.status == 200, await response.text()
        return (await response.json())["x-request-id"]
"""


def run(script: str, path: Path) -> str:
    """Run a script to its end; what it printed. It must say nothing else, and end by itself."""
    done = subprocess.run(
        [sys.executable, "-c", START + script],
        cwd=ROOT,
        env=environment(path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


FORKS = """
def in_children(count, work):
    children = []
    for _ in range(count):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            status = 1
            try:
                os.write(writing, "\\n".join(work()).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        children.append((child, reading))
    said = []
    for child, reading in children:
        with os.fdopen(reading) as file:
            said.append(file.read().split())
        assert os.waitpid(child, 0)[1] == 0
    return said
"""


@pytest.fixture
def backend() -> object:
    with service() as server:
        yield server


def test_children_of_a_used_mesh_make_calls_of_their_own(backend: Service, tmp_path: Path) -> None:
    """As Celery forks: no id is given twice, not by the parent either, and no connection is shared."""
    script = (
        FORKS
        + """
async def several():
    async with mesh.aiohttp() as session:
        return [await call(session) for _ in range(5)]

ids = asyncio.run(several())
for said in in_children(4, lambda: asyncio.run(several())):
    ids += said
ids += asyncio.run(several())
print(len(ids), len(set(ids)), len({name[9:18] for name in ids}))
"""
    )
    assert run(script, config(tmp_path, backend.server_port)) == "30 30 5\n"
    assert len(backend.connections) >= 6


@pytest.mark.parametrize("client", ["requests", "httpx", "urllib3"])
def test_children_open_connections_of_their_own(backend: Service, tmp_path: Path, client: str) -> None:
    """A synchronous client that was used before the fork: no child writes to the socket of its parent."""
    get = {
        "requests": "client.get(url).json()",
        "httpx": "client.get(url).json()",
        "urllib3": "client.request('GET', url).json()",
    }
    script = (
        FORKS
        + f"""
client = mesh.{client}()
url = "http://backend.test/"
def several():
    return [{get[client]}["x-request-id"] for _ in range(10)]
ids = several()
for said in in_children(4, several):
    ids += said
ids += several()
print(len(ids), len(set(ids)))
client.{"clear" if client == "urllib3" else "close"}()
"""
    )
    assert run(script, config(tmp_path, backend.server_port)) == "60 60\n"
    assert len(backend.connections) >= 5  # more where one was idle for long, as on a busy machine


def test_a_seeded_mesh_stays_as_it_was_seeded(backend: Service, tmp_path: Path) -> None:
    """Whoever hands in chance wants the same draws again, in a child too."""
    script = (
        FORKS
        + """
from meshlib._random import system_chance
mesh = Mesh.load([os.environ["MESH"]], chance=system_chance(7))
first, second = in_children(2, lambda: [asyncio.run(call())])
print(first == second)
"""
    )
    assert run(script, config(tmp_path, backend.server_port)) == "True\n"


def test_a_fork_in_the_middle_of_everything_leaves_no_lock_behind(backend: Service, tmp_path: Path) -> None:
    """Threads call, publish and watch while the process forks again and again; each child calls and publishes."""
    script = (
        FORKS
        + """
text = pathlib.Path(os.environ["MESH"]).read_text()
asyncio.run(call())  # a lock of an import that is under way is CPython's own affair
over = threading.Event()
def busy(work):
    while not over.is_set():
        work()
threads = [
    threading.Thread(target=busy, args=(lambda: asyncio.run(call()),)),
    threading.Thread(target=busy, args=(lambda: asyncio.run(call()),)),
    threading.Thread(target=busy, args=(lambda: mesh.publish(text),)),
]
mesh.watch(interval=0.01)
for thread in threads:
    thread.start()
def in_child():
    live = mesh.runtime.clusters()["outbound|80||backend.test"]
    assert live.state.active == 0, live.state.active
    mesh.publish(text)
    found = [asyncio.run(call())]
    mesh.close()
    return found
ids = []
for _ in range(15):
    ids += [name for said in in_children(1, in_child) for name in said]
over.set()
for thread in threads:
    thread.join()
mesh.close()
print(len(set(ids)), mesh.runtime.clusters()["outbound|80||backend.test"].state.active)
"""
    )
    assert run(script, config(tmp_path, backend.server_port)) == "15 0\n"


CHANGE = """
from meshlib.events import ConfigPublished
mesh.watch(interval=0.02)
def wait_for_change():
    seen = threading.Event()
    mesh.observe(lambda event: seen.set(), ConfigPublished)
    path = pathlib.Path(os.environ["MESH"])
    new = path.with_suffix(".new")
    new.write_text(path.read_text() + "\\n# changed by %d\\n" % os.getpid())
    new.replace(path)
    assert seen.wait(60)
    names = [thread.name for thread in threading.enumerate()]
    return [str(names.count("meshlib-watch"))]
"""


def test_a_child_watches_for_itself(backend: Service, tmp_path: Path) -> None:
    """The parent's watch goes on in the child, and ends where the child closes it."""
    script = """
def in_child():
    return [*wait_for_change(), str(mesh.close())]
print(in_children(1, in_child), wait_for_change())
mesh.close()
"""
    assert run(FORKS + CHANGE + script, config(tmp_path, backend.server_port)) == "[['1', 'None']] ['1']\n"


@pytest.mark.skipif(find_spec("watchfiles") is None, reason="nothing notifies of changes")
def test_a_child_does_not_rely_on_notifications(backend: Service, tmp_path: Path) -> None:
    """Native code that waits for them has threads, which a fork cuts off: now and then it waited for ever."""
    script = """
import watchfiles
print(wait_for_change())
watchfiles.watch = lambda *_, **__: iter(threading.Event().wait, None)
print(in_children(1, wait_for_change))
mesh.close()
"""
    assert run(FORKS + CHANGE + script, config(tmp_path, backend.server_port)) == "['1']\n[['1']]\n"


def test_multiprocessing_forks_and_spawns(backend: Service, tmp_path: Path) -> None:
    """Pools of both kinds end by themselves."""
    (tmp_path / "work.py").write_text(
        START.replace("import asyncio", "import asyncio, multiprocessing")
        + """
def work(_):
    return asyncio.run(call())

if __name__ == "__main__":
    asyncio.run(call())
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(len(set(pool.map(work, range(6)))))
            pool.close()
            pool.join()
"""
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "work.py")],
        env=environment(config(tmp_path, backend.server_port)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "6\n6\n", "")


def test_several_loops_share_one_mesh(backend: Service, tmp_path: Path) -> None:
    """Loops in threads at once, each with its session; one limit holds for all of them together."""
    script = """
text = pathlib.Path(os.environ["MESH"]).read_text()
mesh.publish(text + '''
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: backend, namespace: default}
spec:
  host: backend.test
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}
''')
live = mesh.runtime.clusters()["outbound|80||backend.test"]
most = []
async def several():
    async with mesh.aiohttp() as session:
        async def one():
            found = await call(session)
            most.append(live.state.active)
            return found
        return await asyncio.gather(*(one() for _ in range(10)))
found = []
threads = [threading.Thread(target=lambda: found.extend(asyncio.run(several()))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(set(found)), max(most) <= 1, live.state.active, live.state.pending)
"""
    assert run(script, config(tmp_path, backend.server_port)) == "40 True 0 0\n"


def test_loops_one_after_the_other_leave_nothing(backend: Service, tmp_path: Path) -> None:
    """As synchronous code and tests do it: a loop for each call."""
    script = """
print(len({asyncio.run(call()) for _ in range(20)}), threading.active_count())
"""
    assert run(script, config(tmp_path, backend.server_port)) == "20 1\n"


@pytest.mark.parametrize(
    "last",
    [
        "mesh.watch(interval=0.01)",  # never closed
        "mesh.watch(); asyncio.run(call()); mesh.close(); mesh.close()",
        "global keep; keep = asyncio.run(call())",
        # daemon threads in the middle of calls and publishes, when the interpreter ends
        (
            "busy = lambda: [asyncio.run(call()) for _ in iter(int, 1)]\n"
            "[threading.Thread(target=busy, daemon=True).start() for _ in range(2)]; asyncio.run(call())"
        ),
        "import atexit; atexit.register(lambda: asyncio.run(call()))",
        "sys.exit(0)",
        # clients that were never closed
        "session = mesh.requests(); assert session.get('http://backend.test/').ok",
        "manager = mesh.urllib3(); assert manager.request('GET', 'http://backend.test/').status == 200",
    ],
)
def test_the_interpreter_ends_at_once_and_silently(backend: Service, tmp_path: Path, last: str) -> None:
    """Whatever still runs: no hanging thread, no traceback, no warning."""
    script = "async def used():\n    await call()\nasyncio.run(used())\nprint('end', flush=True)\n" + last + "\n"
    assert run(script.replace("global keep; ", ""), config(tmp_path, backend.server_port)) == "end\n"


def test_a_cancelled_process_has_nothing_to_say(backend: Service, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a call: KeyboardInterrupt, counters at rest."""
    script = """
import _thread
live = mesh.runtime.clusters()["outbound|80||backend.test"]
async def interrupted():
    async with mesh.aiohttp() as session:
        await call(session)
        asyncio.get_running_loop().call_later(0.05, _thread.interrupt_main)
        while True:
            await call(session)
try:
    asyncio.run(interrupted())
except KeyboardInterrupt:
    print("interrupted", live.state.active, live.state.retries)
"""
    assert run(script, config(tmp_path, backend.server_port)) == "interrupted 0 0\n"


def test_workers_of_pytest_xdist_use_a_mesh_each(backend: Service, tmp_path: Path) -> None:
    """Two workers, twenty tests, a fixture for the session; every warning is an error."""
    (tmp_path / "test_shop.py").write_text(
        "import pytest\n"
        + START
        + """
@pytest.mark.parametrize("number", range(20))
def test_call(number):
    assert asyncio.run(call())
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**environment(config(tmp_path, backend.server_port)), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert "20 passed" in done.stdout, done.stdout + done.stderr
    assert len(set(backend.seen)) == 20
