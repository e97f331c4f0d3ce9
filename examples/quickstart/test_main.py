"""The quickstart says what it promises."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

MAIN = Path(__file__).with_name("main.py")


def test_all_calls_are_answered_and_the_broken_server_is_ejected(capsys: pytest.CaptureFixture[str]) -> None:
    """The story runs as a script and ends well."""
    runpy.run_path(str(MAIN), run_name="__main__")
    everyone, beta, broken, _, explanation = capsys.readouterr().out.split("\n", maxsplit=4)
    assert everyone.startswith("everyone:   {'v1': ")
    assert beta == "beta users: {'v2': 20} of 20 calls; the rule says v2"
    assert broken == "one server answered nothing but 503: 3 retries, then it was ejected"
    assert "greetings" in explanation
