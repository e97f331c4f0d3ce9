"""The roll-out says what it promises."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

MAIN = Path(__file__).with_name("main.py")


def test_every_step_takes_effect_and_the_bad_one_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Shares follow the weights, the misspelt update is refused, nothing is lost."""
    runpy.run_path(str(MAIN), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    shares = {int(line.split()[0]): int(line.split()[-3].rstrip("%")) for line in lines if line.endswith("to v3")}
    assert shares.keys() == {0, 20, 50, 100}
    assert all(abs(share - wanted) <= 20 for wanted, share in shares.items())
    assert [line for line in lines if line.startswith('  80 %  refused: unknown field "wieght", did you mean weight?')]
    assert lines[-1] == "no call failed"
