"""``meshlib version``."""

from __future__ import annotations

import json
import platform

import click

import meshlib
from meshlib.cli.options import output_option

__all__ = ["version"]


@click.command(short_help="Print the version.")
@output_option("text", "json")
def version(output: str) -> None:
    """Print the version of meshlib and of the Python it runs on."""
    if output == "json":
        click.echo(json.dumps({"version": meshlib.__version__, "python": platform.python_version()}))
    else:
        click.echo(f"meshlib {meshlib.__version__} on Python {platform.python_version()}")
