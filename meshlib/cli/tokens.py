"""The flags of commands that judge tokens: whose keys, and at what time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshlib.cli.lines import unreadable
from meshlib.cli.options import UnreadableError

if TYPE_CHECKING:
    from meshlib._authorize import GivenKeys

__all__ = ["TokenInputs", "given_keys", "moment", "token_options"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInputs:
    """What the flags said, as written."""

    jwks: tuple[str, ...]
    now: str | None


def token_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add ``--jwks`` and ``--now``; the function gets them as ``tokens``."""

    @wraps(function)
    def command(jwks: tuple[str, ...], now: str | None, **others: Any) -> R:
        return function(tokens=TokenInputs(jwks=jwks, now=now), **others)

    command = click.option(
        "--now", metavar="RFC3339", help="The time at which tokens are judged; default: the present."
    )(command)
    return click.option("--jwks", multiple=True, metavar="URI=FILE", help="Keys to use for a jwksUri; repeatable.")(
        command
    )


def given_keys(tokens: TokenInputs) -> GivenKeys:
    """The key sets of ``--jwks``, besides those written in the rules."""
    from meshlib._authorize import GivenKeys
    from meshlib._engine.jwt_keys import KeySetError

    sets: dict[str, bytes] = {}
    for text in tokens.jwks:
        uri, equals, file = text.rpartition("=")
        if not equals or not uri:
            message = f"{text!r} is not of the form URI=FILE"
            raise click.BadParameter(message, param_hint="--jwks")
        try:
            sets[uri] = Path(file).read_bytes()
        except OSError as error:
            raise unreadable(file, error) from error
    try:
        return GivenKeys(sets)
    except KeySetError as error:
        raise UnreadableError(f"--jwks: {error}") from error


def moment(tokens: TokenInputs) -> float:
    """The time of ``--now`` as Unix time, else the present."""
    if tokens.now is None:
        return time.time()
    try:
        found = datetime.fromisoformat(tokens.now)
    except ValueError:
        message = f"{tokens.now!r} is not a time such as 2026-11-01T12:00:00Z"
        raise click.BadParameter(message, param_hint="--now") from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
