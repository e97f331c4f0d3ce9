"""A worker of Celery, which forks its pool from a process that has used its mesh."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lifecycle.processes import ROOT, Running, complaints, config, environment, service
from tests.patience import PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
pytest.importorskip("celery", reason="there is no Celery for this system")

COMMAND = ["-m", "celery", "-A", "tests.lifecycle.tasks", "worker", "--pool=prefork", "--concurrency=2"]
OPTIONS = ["--loglevel=WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
OWN = ("ignore:You're running the worker with superuser privileges",)  # as in a container


def test_tasks_in_forked_workers_make_calls_of_their_own(tmp_path: Path) -> None:
    """Through a client made before the fork, and one of the task: all arrive, no two with one id; an orderly end."""
    from tests.lifecycle.queues import queue

    with service() as backend:
        path = config(tmp_path, backend.server_port)
        app = queue(tmp_path)
        process = subprocess.Popen(
            [sys.executable, *COMMAND, *OPTIONS],
            cwd=ROOT,
            env=environment(path, quiet=OWN),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        worker = Running(process, 0)
        try:
            sent = [app.send_task("call", (number,)) for number in range(40)]
            answers = [task.get(timeout=PATIENCE, interval=0.02) for task in sent]
            status = worker.stop()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                worker.said = process.communicate()[0]
    ids = [name for _, name in answers]
    assert len(set(backend.seen)) == len(backend.seen) == 42
    assert set(ids) < set(backend.seen)
    assert process.pid not in {pid for pid, _ in answers}
    assert status == 0
    assert complaints(worker) == []
