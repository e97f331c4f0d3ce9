"""``meshlib diff``: what another configuration changes for traffic and access."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import click

from meshlib._diff import Change, compare
from meshlib.cli.findings import findings_text, is_failure
from meshlib.cli.inputs import load_config, subject, workload_of
from meshlib.cli.options import Inputs, label_option, output_option, paint

__all__ = ["diff"]


@click.command(short_help="Say what another configuration changes for requests.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@output_option("text", "json")
@click.option(
    "--namespace", "-n", default="", metavar="NAME", help="Namespace of the client, and of resources without one."
)
@label_option
@click.option("--service-account", default="", metavar="NAME", help="Service account of the client.")
@click.option("--mesh-config", type=click.Path(), metavar="FILE", help="Mesh configuration for both.")
@click.option("--exit-code", is_flag=True, help="Status 1 if there is a change, as of diff.")
def diff(
    old: str,
    new: str,
    output: str,
    namespace: str,
    label: Mapping[str, str],
    service_account: str,
    mesh_config: str | None,
    exit_code: bool,
) -> None:
    """Say what NEW changes for traffic and access, compared with OLD: not lines, but what becomes of requests.

    OLD and NEW are files, directories or patterns; one of them may be - for standard
    input. Both are asked about the same requests, made from the conditions of their rules.
    """
    if old == new == "-":
        raise click.UsageError("only one of OLD and NEW can be standard input")
    inputs = [
        Inputs(
            paths=(path,),
            strict=False,
            namespace=namespace,
            labels=label,
            service_account=service_account,
            mesh_config=mesh_config,
        )
        for path in (old, new)
    ]
    configs = [load_config(each) for each in inputs]
    changes = compare(configs[0].resources, configs[1].resources, workload_of(inputs[0]))
    if output == "json":
        click.echo(json.dumps([change.to_json() for change in changes], indent=2, ensure_ascii=False))
    else:
        for line in _lines(changes):
            click.echo(line)
    failed = False
    for config in configs:
        errors = [finding for finding in config.findings if finding.level == "error"]
        failed = failed or is_failure(errors)
        for line in findings_text(errors, subject(config), paint=paint) if errors else ():
            click.echo(line, err=True)
    sys.exit(1 if failed or (exit_code and changes) else 0)


def _lines(changes: Sequence[Change]) -> Iterator[str]:
    yield paint(_summary(changes), "strong" if changes else "good")
    for (area, about), rows in groupby(changes, key=lambda change: (change.area, change.subject)):
        yield ""
        yield paint(f"{area}: {about}", "strong")
        for change in rows:
            yield f"  {change.words}"


def _summary(changes: Sequence[Change]) -> str:
    counts = {area: sum(change.area == area for change in changes) for area in ("traffic", "access")}
    parts = [f"{count} change{'s' if count != 1 else ''} of {area}" for area, count in counts.items() if count]
    return ", ".join(parts) if parts else "no change for any request that was asked about"
