"""httpx and httpx2: governed clients, and transports for clients of your own."""

from meshlib.adapters.httpx.async_transports import AsyncMeshTransport
from meshlib.adapters.httpx.clients import governed_async_client, governed_client
from meshlib.adapters.httpx.packages import default_package
from meshlib.adapters.httpx.transports import MeshTransport

__all__ = [
    "AsyncMeshTransport",
    "MeshConnectionError",
    "MeshResponseError",
    "MeshTimeoutError",
    "MeshTransport",
    "governed_async_client",
    "governed_client",
]

MeshResponseError = default_package().kinds.response
MeshConnectionError = default_package().kinds.connection
MeshTimeoutError = default_package().kinds.timeout
