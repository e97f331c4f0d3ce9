"""`meshlib diff`: words, JSON, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from meshlib.cli.diff import diff
from tests.diff.test_compare import BASE, HOST


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(BASE, encoding="utf-8")
    new.write_text(BASE.replace("weight: 90", "weight: 30").replace("[GET]", "[GET, POST]"), encoding="utf-8")
    return str(old), str(new)


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(diff, arguments, input=text)


def test_words_by_host_and_workload(files: tuple[str, str]) -> None:
    """The first line is the result; then what changes for whom."""
    result = run(*files)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "1 change of traffic, 1 change of access",
        "",
        f"traffic: {HOST}",
        "  GET /: subset v1 90 %, subset v2 10 % → subset v1 75 %, subset v2 25 %",
        "",
        "access: workloads with app=reviews in shop",
        "  POST / from cluster.local/ns/web/sa/default: denied (403) → allowed",
    ]


def test_json_is_one_array(files: tuple[str, str]) -> None:
    """On standard output alone."""
    rows = json.loads(run(*files, "-o", "json").stdout)
    assert [(row["area"], row["field"]) for row in rows] == [("traffic", "destinations"), ("access", "decision")]


def test_the_exit_status_tells_of_changes_if_asked(files: tuple[str, str]) -> None:
    """As `diff` does, which is an error in most scripts."""
    old, new = files
    assert (run(old, new, "--exit-code").exit_code, run(old, old, "--exit-code").exit_code) == (1, 0)


def test_nothing_changed_is_said(files: tuple[str, str]) -> None:
    """And what that means."""
    assert run(files[0], files[0]).stdout == "no change for any request that was asked about\n"


def test_one_side_can_be_standard_input(files: tuple[str, str]) -> None:
    """As `git show HEAD:mesh.yaml | meshlib diff - mesh.yaml`."""
    assert run("-", files[0], text=BASE).stdout.startswith("no change")
    assert run("-", "-", text=BASE).exit_code == 2


def test_errors_are_told_and_fail(files: tuple[str, str]) -> None:
    """A resource that is not valid is not in force: what it changes is not what was meant."""
    result = run(files[0], "-", text=BASE.replace("timeout: 5s", "timeuot: 5s"))
    assert result.exit_code == 1
    assert "timeuot" in result.stderr
    assert "timeuot" not in result.stdout


def test_a_missing_file_is_a_usage_error(files: tuple[str, str], tmp_path: Path) -> None:
    """Status 2."""
    assert run(files[0], str(tmp_path / "none.yaml")).exit_code == 2
