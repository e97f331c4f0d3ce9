"""``meshlib gateway``: the Gateways and VirtualServices of the YAML as an ingress, in one command."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from meshlib._outbound.packages import require
from meshlib.cli.inputs import workload_of
from meshlib.cli.options import Inputs, UnreadableError, config_options
from meshlib.errors import ConfigError, MeshError, SourceError

if TYPE_CHECKING:
    import uvicorn

    from meshlib.mesh import Mesh
    from meshlib.workload import Workload

__all__ = ["gateway"]

_UNPRIVILEGED: Final = 1024
_SHIFT: Final = 8000
"""Where a port below 1024 is listened on without --port: 80 on 8080, 443 on 8443."""


@dataclass(frozen=True, slots=True)
class _Listener:
    """``listen`` is the port of this process, ``server`` the one that the Gateway names."""

    listen: int
    server: int
    has_tls: bool
    host: str = "127.0.0.1"


@click.command(short_help="Run the YAML's Gateways as an ingress.")
@config_options
@click.option("--host", metavar="ADDRESS", help="Where to listen; default: bind of the server, else 127.0.0.1.")
@click.option(
    "--port",
    "-p",
    multiple=True,
    metavar="PORT[:SERVER]",
    help="Where to listen, and for which port of the Gateways; repeatable. Default: all, 80 on 8080, 443 on 8443.",
)
@click.option(
    "--certificates",
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="The gateway's own certificates, in the layout of Istio's mounts, for servers with ISTIO_MUTUAL.",
)
def gateway(inputs: Inputs, host: str | None, port: tuple[str, ...], certificates: str | None) -> None:
    """Listen as the Gateways say and pass requests on as their VirtualServices say.

    --label says which Gateways: those whose selector it has. Without it, the one
    selector of all Gateways is used. The configuration is watched: a change takes
    effect without a restart, but for new ports.
    """
    try:
        uvicorn = require("uvicorn", "0.35.0", extra="serve", purpose="meshlib gateway")
    except ImportError as error:  # missing, or too old
        raise UnreadableError(str(error)) from None
    mesh = _load(inputs)
    listeners = _placed(_listeners(mesh, port), mesh, host)
    with mesh:
        servers = [(_server(uvicorn, mesh, one, certificates), _bound(one.host, one.listen)) for one in listeners]
        for listener in listeners:
            scheme = "https" if listener.has_tls else "http"
            click.echo(
                f"{scheme}://{listener.host}:{listener.listen} serves port {listener.server} of the Gateways", err=True
            )
        mesh.watch()
        asyncio.run(_run(servers))


def _load(inputs: Inputs) -> Mesh:
    from meshlib.mesh import Mesh

    paths: list[Any] = [*inputs.paths, *([inputs.mesh_config] if inputs.mesh_config else [])]
    try:
        return Mesh.load(paths, workload=_workload(inputs), strict=inputs.strict)
    except SourceError as error:
        raise UnreadableError(str(error)) from error
    except ConfigError as error:
        raise click.ClickException(f"the configuration is not usable:\n{error}") from error


def _workload(inputs: Inputs) -> Workload:
    """The gateway: labels as told, else those that all Gateways select."""
    from meshlib.cli.inputs import load_config
    from meshlib.model.gateway import GatewaySpec

    workload = replace(workload_of(inputs), gateway=True)
    if inputs.labels:
        return workload
    gateways = [one for one in load_config(inputs).resources if isinstance(one.spec, GatewaySpec)]
    selectors: dict[str, Mapping[str, str]] = {}
    for one in gateways:
        if isinstance(one.spec, GatewaySpec) and one.spec.selector:
            selectors[" ".join(f"--label {name}={value}" for name, value in sorted(one.spec.selector.items()))] = (
                one.spec.selector
            )
    if not gateways:
        raise UnreadableError("there is no Gateway in the configuration; add one, or name its file with --config")
    if len(selectors) > 1:
        choices = "\n  ".join(sorted(selectors))
        raise UnreadableError(f"the Gateways select different workloads; say which one this is:\n  {choices}")
    # The namespace of the Gateway is where Istio's documentation has the workload and its Secrets.
    namespace = inputs.namespace or gateways[0].metadata.namespace
    return replace(workload, labels=next(iter(selectors.values()), workload.labels), namespace=namespace)


def _listeners(mesh: Mesh, ports: tuple[str, ...]) -> list[_Listener]:
    listeners = mesh.snapshot.listeners
    known = dict.fromkeys(listeners.plain, False) | dict.fromkeys(listeners.tls, True)
    if not known:
        labels = ", ".join(f"{name}={value}" for name, value in mesh.workload.labels.items()) or "none"
        raise UnreadableError(
            f"no Gateway has a server that can be served for a workload with these labels: {labels}; "
            "give those of a Gateway's selector with --label"
        )
    if not ports:
        return [
            _Listener(number + (_SHIFT if number < _UNPRIVILEGED else 0), number, has_tls)
            for number, has_tls in sorted(known.items())
        ]
    found = []
    for text in ports:
        listen, server = _numbers(text, known)
        found.append(_Listener(listen, server, known[server]))
    return found


def _placed(listeners: list[_Listener], mesh: Mesh, host: str | None) -> list[_Listener]:
    """The listeners with their addresses: as asked for, else as their servers say."""
    binds = mesh.snapshot.listeners.binds
    for one in listeners if not host else ():
        bind = binds.get(one.server, "")
        if bind.startswith("unix://"):
            message = f"a server binds to {bind}, and meshlib gateway listens at addresses only"
            raise UnreadableError(f"{message}; say where with --host ADDRESS --port PORT:{one.server}")
    return [replace(one, host=host or binds.get(one.server) or one.host) for one in listeners]


def _numbers(text: str, known: Mapping[int, bool]) -> tuple[int, int]:
    """``8080:80``, or ``8080`` for the server of that port, else for the only one, else for the only plain one."""
    listen, _, server = text.partition(":")
    numbers = [part for part in (listen, server) if part]
    if not all(part.isdecimal() and int(part) < 65536 for part in numbers) or not listen:
        message = f"{text!r} is not of the form PORT or PORT:SERVER"
        raise click.BadParameter(message, param_hint="--port")
    plain = [number for number, has_tls in known.items() if not has_tls]
    shown = ", ".join(map(str, sorted(known)))
    if server:
        wanted = int(server)
    elif int(listen) in known or len(known) == 1 or len(plain) == 1:
        wanted = int(listen) if int(listen) in known else next(iter(known if len(known) == 1 else plain))
    else:
        message = f"the Gateways have the ports {shown}; say which one {listen} stands for: {listen}:{min(known)}"
        raise click.BadParameter(message, param_hint="--port")
    if wanted not in known:
        message = f"no Gateway has a server at port {wanted}; there are {shown}"
        raise click.BadParameter(message, param_hint="--port")
    return int(listen), wanted


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        message = f"cannot listen on {host} port {port}: {error.strerror}; choose another with --port PORT:SERVER"
        raise UnreadableError(message) from error


def _server(module: Any, mesh: Mesh, listener: _Listener, certificates: str | None) -> uvicorn.Server:
    from meshlib.adapters.gateway import MeshGateway, gateway_context

    config = module.Config(
        MeshGateway(mesh, port=listener.server),
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    config.load()
    if listener.has_tls:
        try:
            config.ssl = gateway_context(mesh.runtime, listener.server, certificates=certificates)
        except (MeshError, OSError) as error:
            raise UnreadableError(str(error)) from error
    server: uvicorn.Server = module.Server(config)
    return server


async def _run(servers: Sequence[tuple[uvicorn.Server, socket.socket]]) -> None:
    """Serve until a signal comes, which all servers obey."""

    def stop() -> None:
        for server, _ in servers:
            server.force_exit = server.should_exit  # the second time at once
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C ends the loop instead
            loop.add_signal_handler(number, stop)
    for server, _ in servers:
        server.capture_signals = nullcontext  # type: ignore[assignment,method-assign]
    tasks = [asyncio.ensure_future(server.serve(sockets=[listening])) for server, listening in servers]
    try:
        await asyncio.gather(*tasks)
    finally:
        stop()
        await asyncio.gather(*tasks, return_exceptions=True)
