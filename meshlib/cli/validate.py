"""``meshlib validate``: what is wrong in a configuration, with file, line and column."""

from __future__ import annotations

import sys

import click

from meshlib.cli.findings import findings_json, findings_text, is_failure
from meshlib.cli.inputs import load_config, subject
from meshlib.cli.options import Inputs, config_options, output_option, paint

__all__ = ["validate"]


@click.command(short_help="Report what is wrong, with file, line and column.")
@config_options
@output_option("text", "json", "sarif")
def validate(inputs: Inputs, output: str) -> None:
    """Report what is wrong in a configuration, with file, line and column.

    An error is what Istio would reject. Status 1 if there is one.
    """
    config = load_config(inputs)
    findings = config.findings
    if output == "json":
        click.echo(findings_json(findings))
    elif output == "sarif":
        from meshlib.cli.sarif import findings_sarif

        click.echo(findings_sarif(findings))
    else:
        for line in findings_text(findings, subject(config), paint=paint):
            click.echo(line)
    sys.exit(1 if is_failure(findings) else 0)
