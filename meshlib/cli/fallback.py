"""The command line without the extra ``cli``: ``validate`` and ``version`` by argparse, plain text or JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import meshlib
from meshlib.cli.findings import findings_json, findings_text, is_failure
from meshlib.cli.texts import read_texts
from meshlib.errors import MissingExtraError, SourceError

__all__ = ["run"]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options, unknown = _parser().parse_known_args(given)
    is_plain = not unknown and options.output in ("text", "json")
    if (options.command == "version" and is_plain) or given == ["--version"]:
        print(f"meshlib {meshlib.__version__}")
        return 0
    if options.command == "validate" and is_plain:
        return _validate(options.config, output=options.output)
    print(MissingExtraError("click", "cli", f"meshlib {' '.join(given)}"), file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="meshlib", add_help=False, allow_abbrev=False)
    parser.add_argument("command", nargs="?")
    parser.add_argument("--config", "-f", action="append", default=[])
    parser.add_argument("--output", "-o", default="text")
    return parser


def _validate(paths: Sequence[str], *, output: str) -> int:
    from meshlib._config.load import load

    if not paths:
        print("meshlib validate: name what to read with --config", file=sys.stderr)
        return 2
    try:
        texts = read_texts(paths)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    config = load(texts)
    if output == "json":
        print(findings_json(config.findings))
    else:
        print("\n".join(findings_text(config.findings, f"{len(config.resources)} usable resources")))
    return 1 if is_failure(config.findings) else 0
