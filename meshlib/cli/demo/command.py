"""``meshlib demo``: Bookinfo on loopback, governed by its Istio YAML, live."""

from __future__ import annotations

import asyncio
import signal
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from meshlib.cli.options import Amount, UnreadableError
from meshlib.errors import ConfigError, SourceError

__all__ = ["demo"]

_SECONDS: Final = 15.0
_FRAME: Final = 0.125
"""Seconds between two pictures."""
_SEED: Final = 288
"""Runs look alike with one seed, and a share within 3σ does not fail its claim once in 300 runs."""


@click.command(short_help="Run Bookinfo on loopback and watch the mesh.")
@click.option(
    "--seconds",
    type=Amount(min=0),
    default=None,
    metavar="N",
    help="End after N seconds, at least 3; 0: run until Ctrl-C. Default: 15, with --dashboard 0.",
)
@click.option("--dashboard", is_flag=True, help="Open the live page in the browser; its URL is always shown.")
@click.option("--no-ui", is_flag=True, help="Plain lines in place of the live view (always so without a terminal).")
@click.option(
    "--config",
    "-f",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="Other traffic rules for the same servers: a file or a directory of Istio YAML.",
)
@click.option("--seed", type=int, default=_SEED, show_default=True, metavar="N", help="Decides every draw of the mesh.")
def demo(seconds: float | None, dashboard: bool, no_ui: bool, config: Path | None, seed: int) -> None:
    """Run Bookinfo as real servers on loopback, governed by Istio YAML, and watch what the mesh does.

    Drives traffic through governed clients and checks at the end that what was observed is what
    the YAML says: shares, the route of one user, faults, retries, ejection. Status 1 if not.
    """
    if seconds is None:
        seconds = 0.0 if dashboard else _SECONDS
    if 0 < seconds < 3:
        raise click.BadParameter("an ejection and its end need at least 3 seconds", param_hint="--seconds")
    sys.exit(asyncio.run(_run(seconds=seconds, config=config, seed=seed, is_plain=no_ui, opens_page=dashboard)))


async def _run(*, seconds: float, config: Path | None, seed: int, is_plain: bool, opens_page: bool) -> int:
    interrupted = asyncio.Event()
    _on_interrupt(interrupted.set)
    from rich.console import Console

    from meshlib.cli.demo.plain import PlainView
    from meshlib.cli.demo.screen import Screen
    from meshlib.cli.demo.stage import Stage
    from meshlib.cli.demo.summary import print_summary

    console = Console(highlight=False)
    stage = Stage(seconds=seconds, interrupted=interrupted, config=config, seed=seed)
    run = asyncio.create_task(stage.run())
    is_live = not is_plain and sys.stdout.isatty() and not console.is_dumb_terminal
    with Screen(console, stage) if is_live else PlainView(sys.stdout, stage) as view:
        while not run.done():
            view.update()
            if opens_page and stage.page:
                opens_page = False
                await asyncio.to_thread(webbrowser.open, stage.page)
            await asyncio.wait({run}, timeout=_FRAME)
    try:
        await run
    except SourceError as error:
        raise UnreadableError(str(error)) from error
    except ConfigError as error:
        raise click.ClickException(f"the configuration is not usable:\n{error}") from error
    return 0 if print_summary(console, stage) else 1


def _on_interrupt(interrupt: Callable[[], None]) -> None:
    """The first Ctrl-C ends the run in order; a second one ends it at once."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        interrupt()

    try:
        loop.add_signal_handler(signal.SIGINT, on_signal)
    except NotImplementedError:  # Windows: the loop cannot be told
        signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(interrupt))
