"""The command ``meshlib``: validate, explain and show what the library does with Istio YAML."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from io import TextIOWrapper
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 fine, 1 findings of level error, 2 usage or unreadable input.

    ``arguments`` None takes those of the process. Without the extra ``cli`` only
    ``validate`` and ``version`` work; every other command names what to install.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character shows a question mark, not a traceback.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    if find_spec("click") is None or find_spec("rich") is None:
        from meshlib.cli.fallback import run

        sys.exit(run(arguments))
    from meshlib.cli.app import app

    try:
        app.main(args=arguments, prog_name="meshlib")
    except OSError as error:  # click ends by itself where nobody reads any more; this is a full disk, for example
        print(f"Error: the output cannot be written: {error.strerror or error}", file=sys.stderr)
    sys.exit(2)
