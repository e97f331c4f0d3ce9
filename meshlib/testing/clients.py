"""The real client libraries of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp
    import requests
    from httpx import AsyncClient, Client

    from meshlib.testing.mesh import SimulatedMesh

__all__ = ["SimulatedClients"]


class SimulatedClients:
    """What a simulation makes of the clients of its own workload."""

    mesh: SimulatedMesh

    def aiohttp(self, **arguments: Any) -> aiohttp.ClientSession:
        """As :meth:`meshlib.Mesh.aiohttp`, with the simulation behind it, for coroutines given to :meth:`run`."""
        return self.mesh.aiohttp(**arguments)

    def httpx(self, **arguments: Any) -> Client:
        """As :meth:`meshlib.Mesh.httpx`, with the simulation behind it."""
        return self.mesh.httpx(**arguments)

    def httpx_async(self, **arguments: Any) -> AsyncClient:
        """As :meth:`meshlib.Mesh.httpx_async`: use it in a coroutine given to :meth:`run`."""
        return self.mesh.httpx_async(**arguments)

    def requests(self, **arguments: Any) -> requests.Session:
        """As :meth:`meshlib.Mesh.requests`, with the simulation behind it."""
        return self.mesh.requests(**arguments)
