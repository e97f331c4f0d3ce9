"""The group of all commands."""

from __future__ import annotations

import platform

import click

import meshlib
from meshlib.cli.analyze import analyze
from meshlib.cli.authorize import authorize
from meshlib.cli.ca import ca
from meshlib.cli.dashboard import dashboard
from meshlib.cli.demo.command import demo
from meshlib.cli.diff import diff
from meshlib.cli.explain import explain
from meshlib.cli.fields import fields
from meshlib.cli.gateway import gateway
from meshlib.cli.replay import replay
from meshlib.cli.serve import serve
from meshlib.cli.validate import validate
from meshlib.cli.version import version

__all__ = ["app"]


class _InOrder(click.Group):
    """Lists its commands in the order of a user's day, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(meshlib.__version__, message=f"meshlib %(version)s on Python {platform.python_version()}")
def app() -> None:
    """The same Istio YAML, applied inside a Python process.

    Exit status: 0 fine, 1 findings of level error, 2 usage or unreadable input.
    """


for command in (
    validate, analyze, explain, authorize, diff, replay, fields,
    demo, dashboard, serve, gateway, ca, version,
):  # fmt: skip
    app.add_command(command)
