"""``meshlib dashboard``: the live page of running processes, or of a configuration without traffic."""

from __future__ import annotations

import asyncio
import signal
import webbrowser
from typing import TYPE_CHECKING, Any, Final

import click

from meshlib.cli.inputs import workload_of
from meshlib.cli.options import Inputs, UnreadableError, config_options
from meshlib.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from meshlib.admin.asgi import Interface

__all__ = ["dashboard"]

_HELP: Final = """Show the live page: who calls whom, routes, endpoints, findings, and what becomes of a request.

\b
  meshlib dashboard http://127.0.0.1:8000/mesh/ http://127.0.0.1:8001/mesh/
  meshlib dashboard -f mesh/

With URLs, of running processes that serve `mesh.admin_app()` there, all together. With --config, of a configuration:
its routes, its findings and the explainer, and a change of the files takes effect at once. Only this machine is
answered.
"""


@click.command(help=_HELP, short_help="Show the live page of running processes, or of a configuration.")
@click.argument("urls", metavar="[URL]...", nargs=-1)
@config_options
@click.option("--port", "-p", type=click.IntRange(0, 65535), default=9901, show_default=True, help="0: any free one.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option("--allow-control", is_flag=True, help="Let the page set faults (running processes must allow it, too).")
def dashboard(urls: tuple[str, ...], inputs: Inputs, port: int, opens: bool, allow_control: bool) -> None:
    """Serve the page until Ctrl-C; the help text is for the user."""
    if bool(urls) is bool(inputs.paths):
        raise click.UsageError("give the URLs of running processes, or a configuration with --config")
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{url!r} is not an http:// URL", param_hint="URL")
    asyncio.run(_serve(_app(urls, inputs, allow_control=allow_control), port, opens=opens))


for _parameter in dashboard.params:
    if _parameter.name == "config":
        _parameter.required = False  # URLs can stand in its place


def _app(urls: tuple[str, ...], inputs: Inputs, *, allow_control: bool) -> Interface:
    if urls:
        from meshlib.admin.gathering import Gathering

        return Gathering(urls, allow_control=allow_control)
    from meshlib.mesh import Mesh

    paths: list[Any] = [*inputs.paths, *([inputs.mesh_config] if inputs.mesh_config else [])]
    try:
        mesh = Mesh.load(paths, workload=workload_of(inputs), strict=inputs.strict)
    except SourceError as error:
        raise UnreadableError(str(error)) from error
    except ConfigError as error:
        raise click.ClickException(f"the configuration is not usable:\n{error}") from error
    mesh.watch()
    return mesh.admin_app(allow_control=allow_control)


async def _serve(app: Interface, port: int, *, opens: bool) -> None:
    from meshlib.admin.server import serve_admin

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stopped.set)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt, which ends the command as well
            break
    try:
        async with app.running(), serve_admin(app, port=port) as url:
            click.echo(f"the live page: {url}  (Ctrl-C ends it)")
            if opens:
                await asyncio.to_thread(webbrowser.open, url)
            await stopped.wait()
    except OSError as error:
        raise UnreadableError(
            f"port {port} cannot be used: {error.strerror or error}; choose another with --port"
        ) from error
