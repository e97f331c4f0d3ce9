"""aiohttp: a governed :class:`aiohttp.ClientSession`."""

from meshlib._outbound.packages import require

# 3.14.0 and older reuse a TLS connection for another server name.
require("aiohttp", "3.14.1", extra="", purpose="a governed aiohttp session")

from meshlib.adapters.aiohttp.errors import (  # noqa: E402 - a package that is too old is named by our error
    MeshConnectionError,
    MeshResponseError,
    MeshTimeoutError,
)
from meshlib.adapters.aiohttp.session import governed_session  # noqa: E402

__all__ = ["MeshConnectionError", "MeshResponseError", "MeshTimeoutError", "governed_session"]
