"""The façade in a simulation: whatever client it makes, what would be a network is the simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshlib.mesh import Mesh

if TYPE_CHECKING:
    import aiohttp
    import requests
    from httpx import AsyncClient, Client

    from meshlib.adapters.urllib3 import MeshPoolManager
    from meshlib.testing.service import Service

__all__ = ["SimulatedMesh"]


class SimulatedMesh(Mesh):
    """A :class:`meshlib.Mesh` for code under test, which need not know that there is no network."""

    service: Service

    def as_seen_by(self, service: Service) -> SimulatedMesh:
        """The same configuration for another workload."""
        made = SimulatedMesh(self._loaded, self._config, service.workload, service.runtime, strict=self._strict)
        made.service = service
        return made

    def aiohttp(self, *, raise_on_refusal: bool = False, **arguments: Any) -> aiohttp.ClientSession:
        """As :meth:`meshlib.Mesh.aiohttp`; make and use it in a coroutine on virtual time."""
        from meshlib.testing.memory_aiohttp import simulated_session

        return simulated_session(self.service, raise_on_refusal=raise_on_refusal, **arguments)

    def httpx(self, *, raise_on_refusal: bool = False, **arguments: Any) -> Client:
        """As :meth:`meshlib.Mesh.httpx`."""
        from meshlib.testing.memory_httpx import simulated_client

        return simulated_client(self, raise_on_refusal=raise_on_refusal, **arguments)

    def httpx_async(self, *, raise_on_refusal: bool = False, **arguments: Any) -> AsyncClient:
        """As :meth:`meshlib.Mesh.httpx_async`; use it in a coroutine on virtual time."""
        from meshlib.testing.memory_httpx import simulated_async_client

        return simulated_async_client(self, raise_on_refusal=raise_on_refusal, **arguments)

    def requests(self, *, raise_on_refusal: bool = False, **arguments: Any) -> requests.Session:
        """As :meth:`meshlib.Mesh.requests`."""
        from meshlib.testing.memory_requests import simulated_session

        return simulated_session(self, raise_on_refusal=raise_on_refusal, **arguments)

    def urllib3(self, *, raise_on_refusal: bool = False, **arguments: Any) -> MeshPoolManager:
        """As :meth:`meshlib.Mesh.urllib3`."""
        from meshlib.testing.memory_requests import simulated_manager

        return simulated_manager(self, raise_on_refusal=raise_on_refusal, **arguments)
