"""``meshlib dashboard``: the live page of a configuration or of running processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from meshlib.cli.app import app
from tests.admin.bookshop import load, rules, served
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]


@contextmanager
def running(*arguments: str) -> Iterator[str]:
    """The command in a process of its own; gives the URL that it prints."""
    command = [sys.executable, "-m", "meshlib", "dashboard", "--port", "0", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/", line)
            assert found, line or process.communicate()
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")


def get(url: str, path: str) -> dict[str, object]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request("GET", f"/{path}")
        found: dict[str, object] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")


def test_a_configuration_is_shown_without_traffic(tmp_path: Path) -> None:
    """Its routes and the explainer, for the workload of the flags; Ctrl-C ends it in order."""
    (tmp_path / "mesh.yaml").write_text(rules(), encoding="utf-8")
    with running("-f", str(tmp_path), "-n", "shop", "--label", "app=web") as url:
        routes = get(url, "routes?filter=VirtualService")["routes"]
        assert isinstance(routes, list)
        assert {row["member"] for row in routes} == {"web.shop"}
        assert get(url, "explain?url=http://reviews:9080/gone")["status"] == 410


def test_running_processes_are_shown_together() -> None:
    """By the URLs of their admin interfaces."""
    with served(load().admin_app()) as process, running(process) as url:
        live = get(url, "live")
        assert isinstance(live["members"], list)
        assert [member["name"] for member in live["members"]] == ["web.shop"]
        assert live["control"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the URLs of running processes"),
        (["http://127.0.0.1:1/", "-f", "mesh.yaml"], "give the URLs of running processes"),
        (["127.0.0.1:80"], "is not an http:// URL"),
        (["-f", "missing.yaml"], "missing.yaml"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], message: str) -> None:
    """Exit status 2."""
    result = CliRunner().invoke(app, ["dashboard", "--port", "0", *arguments])
    assert result.exit_code == 2
    assert message in result.output
