"""Servers that fork and reload: every worker makes governed calls of its own, and all end in order."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.processes import ask, complaints, config, running, service
from tests.patience import wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

OWN = ("ignore::DeprecationWarning:uvicorn.workers",)

WORKERS = {
    "sync": ["-k", "sync", "tests.lifecycle.services:web"],
    "gthread": ["-k", "gthread", "--threads", "3", "tests.lifecycle.services:web"],
    "uvicorn": ["-k", "uvicorn.workers.UvicornWorker", "tests.lifecycle.services:asgi"],
}


@pytest.mark.parametrize("worker", WORKERS)
def test_gunicorn_workers_do_not_share_what_is_theirs(
    worker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers, forked from a process that has used its mesh: all calls arrive, no two with one request id."""
    monkeypatch.setenv("USED_BEFORE", "1")
    with service() as backend:
        path = config(tmp_path, backend.server_port)
        command = [
            "-m",
            "gunicorn",
            "-w",
            "3",
            "-b",
            "127.0.0.1:PORT",
            "--graceful-timeout",
            "60",
            "--preload",
            *WORKERS[worker],
        ]
        with running(command, path, quiet=OWN) as server:
            answers: list[dict[str, Any]] = []

            def are_of_several() -> bool:
                answers.extend(pool.map(lambda _: ask(server.port, "/call"), range(60)))
                return len({answer["pid"] for answer in answers}) > 1

            with ThreadPoolExecutor(6) as pool:
                wait_until(are_of_several)  # a busy machine may start the others when the first has done it all
            status = server.stop()
    assert {answer["status"] for answer in answers} == {200}
    ids = [answer["seen"]["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert len({name[9:18] for name in ids}) > 1  # each process draws for itself
    assert status == 0
    assert complaints(server) == []


@pytest.mark.parametrize("worker", ["sync", "uvicorn"])
def test_forked_workers_see_a_new_configuration(worker: str, tmp_path: Path) -> None:
    """The watch of the parent goes on in every child."""
    with service() as old, service() as new:
        path = config(tmp_path, old.server_port)
        command = ["-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:PORT", "--preload", *WORKERS[worker]]
        with running(command, path, quiet=OWN) as server:
            ask(server.port, "/call")
            config(tmp_path, new.server_port)

            def is_everywhere() -> bool:
                before = len(old.seen)
                for _ in range(10):
                    ask(server.port, "/call")
                return len(old.seen) == before

            wait_until(is_everywhere)
            assert server.stop() == 0
    assert complaints(server) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_uvicorn_reloads_the_application(number: signal.Signals, tmp_path: Path) -> None:
    """A change of the code brings a new process, whose mesh works; the end says nothing."""
    with service() as backend:
        path = config(tmp_path, backend.server_port)
        (tmp_path / "shop.py").write_text("from tests.lifecycle.services import asgi as app\n")
        command = ["-m", "uvicorn", "shop:app", "--port", "PORT", "--reload", "--app-dir", str(tmp_path)]
        command += ["--reload-dir", str(tmp_path)]
        with running(command, path, cwd=tmp_path) as server:
            before = ask(server.port, "/call")["pid"]
            (tmp_path / "shop.py").write_text("from tests.lifecycle.services import asgi as app\nVERSION = 2\n")

            def is_new() -> bool:
                try:
                    return bool(ask(server.port, "/call")["pid"] != before)
                except OSError:
                    return False

            wait_until(is_new)
            assert server.stop(number) in (0, -number)
    assert complaints(server) == []


def test_flask_serves_and_reloads(tmp_path: Path) -> None:
    """The development server with its threads and its reloader."""
    with service() as backend:
        path = config(tmp_path, backend.server_port)
        (tmp_path / "shop.py").write_text("from tests.lifecycle.services import web\n")
        command = ["-m", "flask", "--app", "shop:web", "run", "--port", "PORT", "--reload"]
        own = ("ignore:subprocess:ResourceWarning",)  # of the reloader, about its child
        with running(command, path, cwd=tmp_path, quiet=own) as server:
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda _: ask(server.port, "/call"), range(12)))
            assert len({answer["seen"]["x-request-id"] for answer in answers}) == 12
            before = answers[0]["pid"]
            (tmp_path / "shop.py").write_text("from tests.lifecycle.services import web\nVERSION = 2\n")

            def is_new() -> bool:
                try:
                    return bool(ask(server.port, "/call")["pid"] != before)
                except OSError:
                    return False

            wait_until(is_new)
            server.stop(signal.SIGINT)
    assert complaints(server) == []
