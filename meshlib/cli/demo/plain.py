"""The demo as plain lines: one a second, and one for each event."""

from __future__ import annotations

from itertools import islice
from typing import TextIO

from meshlib.cli.demo.expectations import USERS
from meshlib.cli.demo.stage import Stage

__all__ = ["PlainView"]


class PlainView:
    """Writes lines to ``out``; ``update()`` a few times a second."""

    def __init__(self, out: TextIO, stage: Stage) -> None:
        self._out = out
        self._stage = stage
        self._next = 1.0
        self._printed = 0
        self._has_page = False

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        self.update()

    def update(self) -> None:
        """Write the events since the last update and, once a second, the figures."""
        if self._stage.page and not self._has_page:
            self._has_page = True
            self._write(self._stage.elapsed, f"the live page: {self._stage.page}")
        ledger = self._stage.ledger
        fresh = min(ledger.noted - self._printed, len(ledger.notes))
        self._printed = ledger.noted
        for note in islice(ledger.notes, len(ledger.notes) - fresh, None):
            self._write(note.at, note.text)
        elapsed = self._stage.elapsed
        if elapsed >= self._next:
            self._next = elapsed // 1 + 1.0
            self._write(elapsed, self._figures())

    def _figures(self) -> str:
        ledger = self._stage.ledger
        parts = [f"{ledger.sent} pages"]
        for user in USERS:
            seen = ledger.reviewed(user)
            shares = " ".join(f"{version} {count / sum(seen.values()):.0%}" for version, count in seen.items())
            parts.append(f"{user}: {shares or '-'}")
        parts.append(f"{ledger.retries.total()} retries, {len(ledger.ejected)} ejected")
        return " | ".join(parts)

    def _write(self, at: float, text: str) -> None:
        print(f"{at:5.1f} s  {text}", file=self._out, flush=True)
