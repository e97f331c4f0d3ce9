"""``meshlib analyze``: what is wrong between resources, as ``istioctl analyze`` says it, and hazards beyond."""

from __future__ import annotations

import sys
from typing import Final

import click

from meshlib._analyze.analysis import Analysis
from meshlib._analyze.analysis import analyze as run_analysis
from meshlib._analyze.hazards.scene import PRODUCTION, HazardSettings
from meshlib._analyze.messages import MESSAGES
from meshlib._analyze.suppression import Suppression
from meshlib._config.codes import CODES
from meshlib.cli.findings import findings_json, findings_text
from meshlib.cli.inputs import made_strict, read_inputs, shown_progress, subject
from meshlib.cli.options import Inputs, config_options, output_option, paint
from meshlib.diagnostics import Finding

__all__ = ["analyze"]

_LEVELS: Final = ("info", "warning", "error")


def _suppressions(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[Suppression, ...]:
    found = []
    for value in values:
        try:
            suppression = Suppression.parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        if suppression.code not in CODES and suppression.code not in MESSAGES:
            click.echo(f"meshlib analyze: nothing has the code {suppression.code}", err=True)
        found.append(suppression)
    return tuple(found)


def _names(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


@click.command(short_help="Report what is wrong between resources, and hazards.")
@config_options
@output_option("text", "json", "sarif")
@click.option(
    "--suppress",
    "-S",
    multiple=True,
    callback=_suppressions,
    metavar="CODE=RESOURCE",
    help="Leave out a code for a resource (Kind name.namespace, * for any text); repeatable.",
)
@click.option(
    "--failure-threshold",
    type=click.Choice(_LEVELS),
    default="error",
    show_default=True,
    help="The least level of a finding that makes the status 1.",
)
@click.option(
    "--output-threshold",
    type=click.Choice(_LEVELS),
    default="info",
    show_default=True,
    help="The least level of findings to print.",
)
@click.option("--color/--no-color", default=None, help="Colours, also where there is no terminal; or none at all.")
@click.option("--recursive", "-R", is_flag=True, help="Accepted as istioctl does: directories are always read whole.")
@click.option(
    "--chain",
    default="",
    callback=_names,
    metavar="HOST,HOST…",
    help="Hosts that call one another in this order; their retries multiply.",
)
@click.option(
    "--production",
    default=",".join(PRODUCTION),
    callback=_names,
    metavar="PATTERN,…",
    show_default=True,
    help="Namespaces where faults must not be injected.",
)
def analyze(
    inputs: Inputs,
    output: str,
    suppress: tuple[Suppression, ...],
    failure_threshold: str,
    output_threshold: str,
    color: bool | None,
    recursive: bool,
    chain: tuple[str, ...],
    production: tuple[str, ...],
) -> None:
    """Report what is wrong between resources, without a cluster.

    Messages that Istio has are given with its codes and words (IST0101 …); hazards that it
    does not look for have codes of ours (MESH135 …). An object can leave codes out by the
    annotation galley.istio.io/analyze-suppress.
    """
    texts = read_inputs(inputs)
    with shown_progress() as progress:
        analysis = run_analysis(
            texts,
            namespace=inputs.namespace,
            suppressions=suppress,
            settings=HazardSettings(chain=chain, production=production),
            progress=progress,
        )
    findings = made_strict(analysis.findings) if inputs.strict else analysis.findings
    shown = [finding for finding in findings if _reaches(finding, output_threshold)]
    _print(analysis, shown, output, color=color)
    sys.exit(1 if any(_reaches(finding, failure_threshold) for finding in findings) else 0)


def _reaches(finding: Finding, threshold: str) -> bool:
    return _LEVELS.index(finding.level) >= _LEVELS.index(threshold)


def _print(analysis: Analysis, findings: list[Finding], output: str, *, color: bool | None) -> None:
    if output == "json":
        click.echo(findings_json(findings))
    elif output == "sarif":
        from meshlib.cli.sarif import findings_sarif

        click.echo(findings_sarif(findings))
    else:
        about = subject(analysis.config)
        if analysis.suppressed:
            about += f", {analysis.suppressed} finding{'s' if analysis.suppressed != 1 else ''} suppressed"
        for line in findings_text(findings, about, paint=paint):
            click.echo(line, color=color)
