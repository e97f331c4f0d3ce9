"""``meshlib replay``: which recorded requests other YAML would treat otherwise."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meshlib.cli.findings import findings_text, is_failure
from meshlib.cli.inputs import load_config, subject
from meshlib.cli.lines import unreadable
from meshlib.cli.options import Inputs, UnreadableError, config_options, output_option, paint

if TYPE_CHECKING:
    from meshlib._compile import Config
    from meshlib.testing.replaying import Replay

__all__ = ["replay"]

_HELP: Final = """Say which recorded requests would change their route, their outcome or their access under other YAML.

\b
  meshlib replay -f mesh-new/ decisions.jsonl
  meshlib replay -f mesh-new/ --against mesh-now/ decisions.jsonl

A recording is written by meshlib.testing.Recording in a running process. Without --against, what was decided then
is compared. Status 1 if anything would change.
"""


@click.command(help=_HELP, short_help="Try other YAML on recorded requests.")
@click.argument("recording")
@config_options
@click.option("--against", multiple=True, metavar="PATH", help="Compare with this YAML; repeatable.")
@output_option("text", "json")
def replay(inputs: Inputs, recording: str, against: tuple[str, ...], output: str) -> None:
    """Answer for each line; the help text is for the user."""
    from meshlib.testing.replaying import replay as try_on

    config = _compiled(inputs)
    before = _compiled(_other(inputs, against)) if against else None
    try:
        with Path(recording).open(encoding="utf-8") as lines:
            result = try_on(lines, config, before)
    except OSError as error:
        raise unreadable(recording, error) from error
    except ValueError as error:
        raise UnreadableError(f"{recording}: {error}") from error
    if output == "json":
        for change in result.changes:
            click.echo(json.dumps(change.to_json(), ensure_ascii=False))
    else:
        _print(result)
    sys.exit(1 if result.changes else 0)


def _other(inputs: Inputs, paths: tuple[str, ...]) -> Inputs:
    from dataclasses import replace

    return replace(inputs, paths=paths)


def _compiled(inputs: Inputs) -> Config:
    """The configuration; ends with status 1 if it has errors, as what it would do is not known."""
    from meshlib._compile import Config

    loaded = load_config(inputs)
    errors = [finding for finding in loaded.findings if finding.level == "error"]
    if is_failure(errors):
        for line in findings_text(errors, subject(loaded), paint=paint):
            click.echo(line, err=True)
        sys.exit(1)
    return Config(loaded.resources)


def _print(result: Replay) -> None:
    changed = len({change.line for change in result.changes})
    word = paint(f"{changed} of {result.requests} requests would change", "error" if changed else "good")
    click.echo(word)
    for change in result.changes:
        click.echo(f"  {change}")
    for text in result.unknown:
        click.echo(f"  not known: {text}", err=True)
