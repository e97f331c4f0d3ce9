"""What the demo shows: a picture, lines, a summary."""

from __future__ import annotations

import asyncio
import io

import pytest
from rich.console import Console

from meshlib.cli.demo.ledger import EVERYONE, JASON, Call
from meshlib.cli.demo.plain import PlainView
from meshlib.cli.demo.screen import Screen
from meshlib.cli.demo.stage import Stage
from meshlib.cli.demo.summary import print_summary
from meshlib.events import EndpointEjected
from tests.cli.demo.test_claims import make_expected, make_ledger

EJECTED = EndpointEjected(cluster="c", endpoint="127.0.0.1:1", reason="consecutive5xxErrors", seconds=1.0)


class Replay(Stage):
    """A stage on which everything has happened already."""

    def __init__(self) -> None:
        super().__init__(seconds=5, interrupted=asyncio.Event())
        self.ledger = make_ledger()
        self.expected = make_expected()

    @property
    def elapsed(self) -> float:
        return self.ledger.now()


@pytest.fixture
async def stage() -> Replay:
    return Replay()


@pytest.fixture
def paper() -> Console:
    return Console(file=io.StringIO(), width=80, height=24)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_the_picture_fits_a_small_terminal(stage: Replay, paper: Console) -> None:
    """80 × 24, with a line to spare for the cursor, even with a full feed and a wide note."""
    for number in range(50):
        stage.ledger.note(f"note {number} " + "x" * 100)
    paper.print(Screen(paper, stage).picture())
    lines = printed(paper).splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert "note 49" in lines[-1]


async def test_the_picture_shows_shares_and_ejections(stage: Replay, paper: Console) -> None:
    """Observed and configured side by side, and a mark for a server that is out."""
    screen = Screen(paper, stage)
    paper.print(screen.picture())
    before = printed(paper)
    assert "80.0%  rule: 80%" in before
    assert before.count("○") == 1  # the legend
    stage.servers[4].port = 1
    stage.ledger.observe(EJECTED)
    paper.print(screen.picture())
    assert printed(paper)[len(before) :].count("○") == 2


async def test_lines_are_written_once(stage: Replay) -> None:
    """Each event has one line, and the figures come once a second."""
    out = io.StringIO()
    stage.ledger.note("reviews-v1-1 breaks")
    view = PlainView(out, stage)
    view.update()
    view.update()
    first, second = out.getvalue().splitlines()
    assert first.endswith("reviews-v1-1 breaks")
    assert second.endswith("600 pages | everyone: v1 80% v2 20% | jason: v3 100% | 5 retries, 0 ejected")


async def test_the_summary_tells_a_good_run(stage: Replay, paper: Console) -> None:
    """The first line is the result."""
    assert print_summary(paper, stage)
    assert printed(paper).startswith("ok: 6 of 6 claims kept in 5.0 s, 1400 governed calls\n")


async def test_the_summary_names_what_failed(stage: Replay, paper: Console) -> None:
    """A broken claim is said in words, with both sides."""
    stage.ledger.calls[Call("details", EVERYONE, 503)] = 1
    stage.ledger.versions[JASON, "v1"] = 1
    assert not print_summary(paper, stage)
    text = printed(paper)
    assert text.startswith("FAILED: 4 of 6 claims kept")
    assert "broken: errors only where injected: the configuration says 25 errors, observed 26 errors" in text
    assert "broken: reviews v3 for jason: the configuration says 100%, observed 99.0% of 101" in text
