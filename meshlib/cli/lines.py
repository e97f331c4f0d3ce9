"""Requests as lines of JSON: where they come from, and what is odd about them."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, Final

import click

from meshlib.cli.options import UnreadableError

__all__ = ["STDIN", "parsed_line", "read_lines", "tell_unknown", "unreadable"]

STDIN: Final = "-"


def read_lines(source: str) -> Iterator[tuple[str, bytes]]:
    """The place and the bytes of each line of a file, or of standard input, that is not empty."""
    try:
        with _opened(source) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{source}: line {number}", line
    except OSError as error:
        raise unreadable(source, error) from error


def unreadable(path: str, error: OSError) -> UnreadableError:
    """The error of a file that cannot be read."""
    return UnreadableError(f"{path}: cannot be read: {error.strerror or error}; correct the path")


def parsed_line(line: bytes) -> object:
    """What a line of JSON holds. Raises ValueError."""
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def tell_unknown(place: str, what: str, given: Mapping[str, object], known: Collection[str]) -> None:
    """Say on standard error which keys were not looked at: one that is misspelt asks another question."""
    for key in given:
        if key not in known:
            click.echo(f"{place}: {what} has the unknown key {key!r}; known are {', '.join(known)}", err=True)


def _opened(source: str) -> AbstractContextManager[BinaryIO]:
    if source != STDIN:
        return Path(source).open("rb")
    if sys.stdin is None:  # the process was started without one
        raise UnreadableError("-: standard input is closed; name a file with --requests")
    return nullcontext(sys.stdin.buffer)
