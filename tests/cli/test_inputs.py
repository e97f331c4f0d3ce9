"""Progress while a configuration is read."""

from __future__ import annotations

import io

from meshlib.cli.inputs import shown_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_when_the_work_takes_its_time() -> None:
    """Bytes and resources so far."""
    terminal = Terminal()
    with shown_progress(terminal, patience=0.0) as progress:
        assert progress is not None
        progress(500_000, 1_000_000, 120)
    assert "0.5/1.0 MB" in terminal.getvalue()
    assert "120 resources" in terminal.getvalue()


def test_quick_work_shows_nothing() -> None:
    """A bar that comes and goes at once would only flicker."""
    terminal = Terminal()
    with shown_progress(terminal, patience=3600.0) as progress:
        assert progress is not None
        progress(1, 1, 1)
    assert terminal.getvalue() == ""


def test_no_terminal_no_progress() -> None:
    """A log file or a pipe gets nothing."""
    file = io.StringIO()
    with shown_progress(file, patience=0.0) as progress:
        assert progress is None
    assert file.getvalue() == ""
