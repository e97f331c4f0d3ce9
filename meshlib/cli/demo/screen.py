"""The demo as a picture that moves: shares, servers, faults and events on 80 × 24 characters."""

from __future__ import annotations

from collections import deque
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from meshlib.cli.demo.expectations import USERS, Promise
from meshlib.cli.demo.ledger import EVERYONE, Note
from meshlib.cli.demo.servers import Server
from meshlib.cli.demo.stage import Stage

__all__ = ["Screen"]

_BAR: Final = 26
_WINDOW: Final = 2.0
"""Seconds over which the rate of pages is measured."""
_FIXED_LINES: Final = 6
"""Head, faults, three rules, and the line below the picture where the cursor stands."""


class Screen:
    """Draws the stage on a terminal; ``update()`` a few times a second."""

    def __init__(self, console: Console, stage: Stage) -> None:
        self._console = console
        self._stage = stage
        self._samples: deque[tuple[float, int]] = deque()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self) -> None:
        """Draw what is so now."""
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """The whole picture, at most as high as the terminal."""
        shares, servers = self._shares(), self._servers()
        room = max(3, self._console.size.height - _FIXED_LINES - shares.row_count - servers.row_count)
        notes = list(self._stage.ledger.notes)[-room:]
        return Group(
            self._header(),
            self._faults(),
            Rule("who gets which reviews", align="left", style="dim"),
            shares,
            Rule("servers: ● up  ✖ broken  ○ ejected", align="left", style="dim"),
            servers,
            Rule("events", align="left", style="dim"),
            *map(_note_line, notes),
            *[Text()] * (room - len(notes)),
        )

    def _header(self) -> Text:
        stage = self._stage
        seconds = f" of {stage.seconds:g}" if stage.seconds else ""
        pages = f"{stage.ledger.sent} pages, {self._rate():.0f} a second"
        return _line(("meshlib demo", "bold"), f"  {stage.elapsed:.1f}{seconds} s  {pages}  {stage.page}")

    def _faults(self) -> Text:
        ledger = self._stage.ledger
        faults = f"faults by rule: {ledger.aborts.total()} failed, {ledger.delays.total()} late"
        errors = ledger.count(matches=lambda status: status >= 400) - ledger.injected_errors
        lost = f"retries: {ledger.retries.total()}  other errors: "
        return _line(f"{faults}  {lost}", (str(max(0, errors)), "red" if errors > 0 else "green"))

    def _rate(self) -> float:
        now, sent = self._stage.elapsed, self._stage.ledger.sent
        self._samples.append((now, sent))
        while now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        return (sent - before) / (now - then) if now > then else 0.0

    def _shares(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        for user in USERS:
            promise = self._stage.expected.get(("reviews", user))
            if promise is not None:
                self._add_shares(table, promise)
        return table

    def _add_shares(self, table: Table, promise: Promise) -> None:
        seen = self._stage.ledger.reviewed(promise.user)
        total = sum(seen.values())
        for share in promise.shares:
            ratio = sum(seen.get(version, 0) for version in share.versions) / total if total else 0.0
            table.add_row(
                promise.user,
                share.name,
                _bar(ratio, share.ratio, "green" if promise.user == EVERYONE else "cyan"),
                f"{ratio:6.1%}",
                Text(f"rule: {share.ratio:.0%}", style="dim"),
            )

    def _servers(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column()
        table.add_column()
        table.add_column(justify="right", style="dim")
        groups: dict[str, list[Server]] = {}
        for server in self._stage.servers:
            groups.setdefault(f"{server.service} {server.version}", []).append(server)
        for name, servers in groups.items():
            cells = [self._cell(server) for server in servers]
            table.add_row(name, Text("  ").join(cells), f"{sum(server.served for server in servers)} requests")
        return table

    def _cell(self, server: Server) -> Text:
        is_ejected = server.address in self._stage.ledger.ejected
        if server.is_broken:
            return Text(f"✖ {server.port}", style="bold red" if not is_ejected else "red dim")
        return Text(f"○ {server.port}", style="yellow") if is_ejected else Text(f"● {server.port}", style="green")


def _bar(ratio: float, wanted: float, style: str) -> Text:
    """A bar of the observed share with a mark where the rule wants it to end."""
    filled, mark = round(ratio * _BAR), min(_BAR - 1, round(wanted * _BAR))
    cells = ["█" if index < filled else "░" for index in range(_BAR)]
    bar = Text("".join(cells), style=style)
    bar.stylize("bold white", mark, mark + 1)
    return bar


def _note_line(note: Note) -> Text:
    return _line((f"{note.at:6.1f} s  ", "dim"), (note.text, "red" if note.is_bad else "green"))


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
