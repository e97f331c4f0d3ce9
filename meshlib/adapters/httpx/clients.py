"""Governed clients of httpx and httpx2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from meshlib._outbound.tls import HasRuntime
from meshlib.adapters.httpx.async_transports import AsyncMeshTransport
from meshlib.adapters.httpx.packages import Package, default_package, package_of
from meshlib.adapters.httpx.transports import MeshTransport

if TYPE_CHECKING:
    import httpx

__all__ = ["governed_async_client", "governed_client"]

_TRANSPORT_ARGUMENTS: Final = ("verify", "cert", "trust_env", "http1", "http2", "limits", "proxy")


def governed_client(
    mesh: HasRuntime, *, package: str | None = None, raise_on_refusal: bool = False, **arguments: Any
) -> httpx.Client:
    """A :class:`httpx.Client` governed by ``mesh``; every argument of Client is accepted.

    ``package`` is ``httpx`` or ``httpx2`` (default: httpx, httpx2 where only that is
    installed). ``transport=`` and ``mounts=`` carry the attempts of the mesh.
    """
    known = default_package() if package is None else package_of(package)
    client: httpx.Client = known.api.Client(**_arguments(MeshTransport, mesh, known, arguments, raise_on_refusal))
    return client


def governed_async_client(
    mesh: HasRuntime, *, package: str | None = None, raise_on_refusal: bool = False, **arguments: Any
) -> httpx.AsyncClient:
    """A :class:`httpx.AsyncClient` governed by ``mesh``; as :func:`governed_client`, on asyncio."""
    known = default_package() if package is None else package_of(package)
    arguments = _arguments(AsyncMeshTransport, mesh, known, arguments, raise_on_refusal)
    client: httpx.AsyncClient = known.api.AsyncClient(**arguments)
    return client


def _arguments(
    make: type[MeshTransport] | type[AsyncMeshTransport],
    mesh: HasRuntime,
    package: Package,
    arguments: Mapping[str, Any],
    raise_on_refusal: bool,  # noqa: FBT001
) -> dict[str, Any]:
    """The arguments of a client with governed transports in place of those it would make."""
    options = {name: arguments[name] for name in _TRANSPORT_ARGUMENTS if name in arguments}
    left = {name: value for name, value in arguments.items() if name != "proxy"}

    def govern(wrapped: Any) -> Any:
        return make(mesh, wrapped, package=package, raise_on_refusal=raise_on_refusal, **options)

    left["transport"] = govern(arguments.get("transport"))
    if arguments.get("mounts"):
        left["mounts"] = {
            pattern: None if wrapped is None else govern(wrapped) for pattern, wrapped in arguments["mounts"].items()
        }
    return left
