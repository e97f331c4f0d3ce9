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
    assert run("--version").stdout == run("version").stdout
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
    assert run_without_click("--version").stdout == f"meshlib {meshlib.__version__}\n"
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


MESH = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {ports: [{port: 80}]}\n"


@pytest.mark.parametrize("command", ["explain", "authorize"])
def test_who_stops_reading_the_answers_gets_no_error(command: str, tmp_path: Path) -> None:
    """As with ``| head -1``."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "requests.jsonl").write_text('{"request": {"host": "reviews"}}\n' * 2000)
    arguments = ["-f", str(tmp_path / "mesh.yaml"), "--requests", str(tmp_path / "requests.jsonl")]
    with subprocess.Popen(
        [sys.executable, "-m", "meshlib", command, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_output_that_cannot_be_written_is_status_2() -> None:
    """With its cause in one line."""
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "meshlib", "fields", "-o", "json"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert result.returncode == 2
    assert result.stderr.startswith("Error: the output cannot be written: No space left")


def test_an_empty_path_is_not_the_directory_we_are_in() -> None:
    """It is what an unset variable leaves."""
    result = run("validate", "-f", "")
    assert (result.returncode, result.stdout) == (2, "")
    assert "the path is empty" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "-f", ".", "--requests", "no/such"),
        ("authorize", "-f", ".", "--requests", "no/such"),
        ("authorize", "-f", ".", "--jwks", "uri=no/such"),
        ("replay", "-f", ".", "no/such"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_a_remedy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """In the same words everywhere."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    result = run(*(str(tmp_path) if argument == "." else argument for argument in arguments))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "Error: no/such: cannot be read: No such file or directory; correct the path\n"
