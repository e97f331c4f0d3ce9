"""aiohttp: a governed :class:`aiohttp.ClientSession`."""

from meshlib.adapters.aiohttp.errors import MeshConnectionError, MeshResponseError, MeshTimeoutError
from meshlib.adapters.aiohttp.session import governed_session

__all__ = ["MeshConnectionError", "MeshResponseError", "MeshTimeoutError", "governed_session"]
