"""The flags that commands share, and the errors of wrong ones."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import click

__all__ = ["Amount", "Inputs", "UnreadableError", "config_options", "label_option", "output_option", "paint"]

P = ParamSpec("P")
R = TypeVar("R")

_COLOURS: Final = {"error": "red", "warning": "yellow", "info": "cyan", "good": "green"}


class UnreadableError(click.ClickException):
    """Input that cannot be read; exit status 2, as for wrong usage."""

    exit_code = 2


class Amount(click.FloatRange):
    """A number in a range; click lets ``nan`` through, which no comparison stops."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the shared flags said: where the configuration is, and for which workload it is looked at.

    An empty ``namespace`` or ``service_account`` was not given.
    """

    paths: tuple[str, ...]
    strict: bool
    namespace: str
    labels: Mapping[str, str]
    service_account: str
    mesh_config: str | None


def output_option(*formats: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """``-o`` with these formats; the first is the default."""
    return click.option(
        "--output", "-o", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print."
    )


def config_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add the flags that say what to read and who asks; the function gets them as ``inputs``."""

    @wraps(function)
    def command(
        config: tuple[str, ...],
        strict: bool,
        namespace: str,
        label: Mapping[str, str],
        service_account: str,
        mesh_config: str | None,
        **others: Any,
    ) -> R:
        inputs = Inputs(
            paths=config,
            strict=strict,
            namespace=namespace,
            labels=label,
            service_account=service_account,
            mesh_config=mesh_config,
        )
        return function(inputs=inputs, **others)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _labels(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            message = f"{value!r} is not of the form key=value"
            raise click.BadParameter(message)
        labels[name] = text
    return labels


label_option: Final = click.option(
    "--label", multiple=True, callback=_labels, metavar="K=V", help="Label of the workload; repeatable."
)
"""``--label``, for a parameter ``label`` that is a mapping."""

_OPTIONS: Final = (
    click.option(
        "--config",
        "-f",
        multiple=True,
        required=True,
        metavar="PATH",
        help="File, directory or pattern to read, or - for standard input; repeatable.",
    ),
    click.option("--strict", is_flag=True, help="Fields that meshlib does not apply are errors, not warnings."),
    click.option(
        "--namespace", "-n", default="", metavar="NAME", help="Namespace of the workload, and of resources without one."
    ),
    label_option,
    click.option("--service-account", default="", metavar="NAME", help="Service account of the workload."),
    click.option("--mesh-config", type=click.Path(), metavar="FILE", help="Mesh configuration (MeshConfig) to use."),
)


def paint(text: str, style: str) -> str:
    """Colour for a terminal; click removes it again where there is none. ``NO_COLOR`` is obeyed."""
    if os.environ.get("NO_COLOR"):
        return text
    if style in _COLOURS:
        return click.style(text, fg=_COLOURS[style], bold=style == "error")
    return click.style(text, bold=style == "strong", dim=style == "dim")
