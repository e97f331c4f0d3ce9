"""``meshlib serve``: an ASGI application behind the policies of the mesh, with mutual TLS, in one command."""

from __future__ import annotations

import importlib
import os
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshlib.cli.inputs import workload_of
from meshlib.cli.options import Inputs, UnreadableError, config_options
from meshlib.errors import ConfigError, MeshError, MissingExtraError, SourceError

if TYPE_CHECKING:
    from meshlib.mesh import Mesh

__all__ = ["serve"]


@click.command(short_help="Serve an ASGI application behind the mesh's policies.")
@click.argument("app", metavar="MODULE:APP")
@config_options
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Where to listen; default: bind of the Sidecar's ingress listener, else 127.0.0.1.",
)
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    metavar="NUMBER",
    help="Where to listen; default: the first ingress listener of the Sidecar, else 8000.",
)
@click.option(
    "--certificates",
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="The workload's certificates, in the layout of Istio's mounts; speaks TLS.",
)
@click.option("--trusted-proxy", multiple=True, metavar="CIDR", help="Believe its forwarded headers; repeatable.")
@click.option("--health-path", multiple=True, metavar="PATH", help="Let probes through to it; repeatable.")
def serve(
    app: str,
    inputs: Inputs,
    host: str | None,
    port: int | None,
    certificates: str | None,
    trusted_proxy: tuple[str, ...],
    health_path: tuple[str, ...],
) -> None:
    """Serve MODULE:APP with uvicorn, behind the authentication and authorization that the YAML asks for.

    With --certificates, clients must show a certificate of the same root where
    PeerAuthentication says STRICT, and may show one elsewhere. The configuration is
    watched: a change takes effect without a restart.
    """
    try:
        import uvicorn
    except ImportError:
        missing = MissingExtraError("uvicorn", "serve", "meshlib serve")
        raise UnreadableError(str(missing)) from None
    from meshlib.adapters.asgi import MeshMiddleware
    from meshlib.cli.stopping import Server

    mesh = _load(inputs, certificates)
    application = _application(app)
    try:
        governed = MeshMiddleware(application, mesh, trusted_proxies=trusted_proxy, health_paths=health_path)
    except MeshError as error:
        raise click.UsageError(str(error)) from error
    address, number = _place(mesh, host, port)
    # By itself uvicorn believes whoever calls from this machine.
    believed = ",".join(trusted_proxy)
    config = uvicorn.Config(governed, host=address, port=number, lifespan="auto", forwarded_allow_ips=believed)
    config.load()
    context = _context(mesh, certificates, number, has_probes=bool(health_path))
    if context is not None:
        config.ssl = context
    with mesh:
        mesh.watch()
        try:
            Server(config).run()
        except SystemExit as error:  # uvicorn's way to say that it did not start
            message = (
                f"not served at {address} port {number}, for the reason above; --host and --port choose another place"
            )
            raise UnreadableError(message) from error


def _load(inputs: Inputs, certificates: str | None) -> Mesh:
    from meshlib.mesh import Mesh

    paths: list[Any] = [*inputs.paths, *([inputs.mesh_config] if inputs.mesh_config else [])]
    try:
        return Mesh.load(paths, workload=workload_of(inputs), certificates=certificates, strict=inputs.strict)
    except SourceError as error:
        raise UnreadableError(str(error)) from error
    except ConfigError as error:
        raise click.ClickException(f"the configuration is not usable:\n{error}") from error


def _application(name: str) -> Any:
    module, _, attributes = name.partition(":")
    if not attributes or not all(part.isidentifier() for part in module.split(".")):
        message = f"{name!r} is not of the form module:app"
        raise click.BadParameter(message, param_hint="MODULE:APP")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # something that the application itself imports: its traceback tells
        message = f"there is no module {module!r} in {os.getcwd()}"  # noqa: PTH109 - for a message
        raise UnreadableError(message) from None
    for attribute in attributes.split("."):
        found = getattr(found, attribute, None)
        if found is None:
            message = f"the module {module!r} has no {attributes!r}"
            raise UnreadableError(message)
    if not callable(found):
        message = f"{name} is no ASGI application, but {type(found).__name__}; name what answers requests"
        raise UnreadableError(message)
    return found


def _place(mesh: Mesh, host: str | None, port: int | None) -> tuple[str, int]:
    """Address and port to listen on: as asked for, else as the Sidecar of the workload says."""
    inbound = mesh.snapshot.inbound
    listeners = inbound.listeners if inbound is not None else ()
    listener = next((one for one in listeners if port in (None, one.port)), None)
    if listener is None:
        return host or "127.0.0.1", 8000 if port is None else port
    return host or listener.bind or "127.0.0.1", listener.port


def _context(mesh: Mesh, certificates: str | None, port: int, *, has_probes: bool) -> ssl.SSLContext | None:
    # As in Istio, an ingress listener ends TLS of its own only where the mesh has none.
    if mesh.snapshot.listeners.tls.get(port) and mesh.snapshot.security.mode_of(port) == "DISABLE":
        from meshlib.adapters.gateway import gateway_context

        try:
            return gateway_context(mesh.runtime, port, certificates=certificates)
        except MeshError as error:
            raise UnreadableError(str(error)) from error
    mode = mesh.snapshot.security.mode_of(port)
    if certificates is None:
        if mode == "STRICT":
            refused = "without --certificates every request is refused that no --trusted-proxy vouches for"
            click.echo(f"PeerAuthentication says STRICT for port {port}: {refused}", err=True)
        return None
    if mode == "DISABLE":
        click.echo(f"PeerAuthentication says DISABLE for port {port}: it is served without TLS", err=True)
        return None
    from meshlib.security import server_context

    try:
        # Probes of Kubernetes show no certificate; all that is not for a health path is refused by the middleware.
        return server_context(mesh, port=port, is_peer_required=False if has_probes else None)
    except (SourceError, ssl.SSLError) as error:
        raise UnreadableError(str(error)) from error
