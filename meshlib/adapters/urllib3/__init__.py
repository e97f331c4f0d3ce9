"""urllib3: a governed :class:`urllib3.PoolManager`."""

from meshlib._outbound.packages import require

require("urllib3", "2.2.0", extra="requests", purpose="a governed urllib3 pool manager")

from meshlib.adapters.urllib3.errors import (  # noqa: E402 - a package that is missing is named by our error
    ConsumedBodyError,
    MeshConnectionError,
    MeshResponseError,
    MeshTimeoutError,
)
from meshlib.adapters.urllib3.manager import MeshPoolManager  # noqa: E402

__all__ = ["ConsumedBodyError", "MeshConnectionError", "MeshPoolManager", "MeshResponseError", "MeshTimeoutError"]
