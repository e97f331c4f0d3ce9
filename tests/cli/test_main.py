"""The command as a process: `python -m meshlib`, with and without the extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import meshlib
from tests.patience import PATIENCE

ROOT = Path(meshlib.__file__).parents[1]
HIDE_CLICK = "import sys; sys.modules['click'] = None\nfrom meshlib.cli import main\nmain(sys.argv[1:])"


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meshlib", *arguments]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False, timeout=PATIENCE)


def run_without_click(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE_CLICK, *arguments]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_help_lists_the_commands() -> None:
    """Nothing else is needed to begin."""
    done = run("--help")
    commands = [line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line]
    assert {"validate", "explain", "fields", "demo", "ca", "version"} <= set(commands)


def test_version_is_printed_for_people_and_programs() -> None:
    """The version of the distribution."""
    assert run("version").stdout.startswith(f"meshlib {meshlib.__version__} ")
    assert json.loads(run("version", "-o", "json").stdout)["version"] == meshlib.__version__


def test_validate_reads_standard_input() -> None:
    """JSON alone on standard output."""
    done = run("validate", "-f", "-", "-o", "json", text="a: [")
    assert done.returncode == 1
    assert [finding["level"] for finding in json.loads(done.stdout)] == ["error"]


@pytest.mark.parametrize("arguments", [("validate",), ("nonsense",), ("validate", "-f", "no/such/file")])
def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    """With a message on standard error, and nothing on standard output."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_without_the_extra_version_and_validate_work() -> None:
    """argparse does for the two commands of every day."""
    assert run_without_click("version").stdout == f"meshlib {meshlib.__version__}\n"
    done = run_without_click("validate", "-f", "-", "-o", "json", text="a: [")
    assert done.returncode == 1
    assert json.loads(done.stdout)
    assert run_without_click("validate", "-f", "-", text="").stdout == "ok: nothing wrong; 0 usable resources\n"


@pytest.mark.parametrize(
    "arguments", [("demo",), ("explain", "-f", "mesh/"), ("validate", "-f", "-", "-o", "sarif"), ()]
)
def test_without_the_extra_the_rest_names_it(arguments: tuple[str, ...]) -> None:
    """The message is the command to run."""
    done = run_without_click(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'proxyless-mesh[cli]'" in done.stderr


@pytest.mark.parametrize("arguments", [("validate",), ("validate", "-f", "no/such/file")])
def test_without_the_extra_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    """The same status as with it."""
    done = run_without_click(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
