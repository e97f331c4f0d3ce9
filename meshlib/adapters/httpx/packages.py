"""httpx or httpx2: the same API under two names. What the adapter needs of the one in use."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any, Final

from meshlib._outbound.packages import require
from meshlib._outbound.refusals import RefusalKinds
from meshlib.adapters.httpx.bodies import AsyncBody, Body
from meshlib.adapters.httpx.reserved import reserving_pool
from meshlib.errors import MeshError, RefusedError

__all__ = ["Package", "default_package", "package_of"]

_MINIMUM: Final = {"httpx": "0.28.0", "httpx2": "2.16.0"}
_CORE: Final = {"httpx": "httpcore", "httpx2": "httpcore2"}


class Package:
    """``api`` is httpx itself, ``core`` the package of connections under it; the rest are classes of its families."""

    def __init__(self, name: str) -> None:
        if name not in _MINIMUM:
            raise MeshError(f"package={name!r} is none that a client can be made of; it is 'httpx' or 'httpx2'")
        api: Any = require(name, _MINIMUM[name], extra=name, purpose=f"a governed {name} client")
        self.api = api
        self.core: Any = importlib.import_module(_CORE[name])
        self.core_errors: tuple[type[Exception], ...] = (
            self.core.TimeoutException,
            self.core.NetworkError,
            self.core.ProtocolError,
            self.core.ProxyError,
            self.core.UnsupportedProtocol,
        )
        self.kinds = RefusalKinds(
            _refusal("MeshResponseError", api.TransportError, "The mesh answered with an error status."),
            _refusal("MeshConnectionError", api.ConnectError, "No attempt got a response from the upstream."),
            _refusal("MeshTimeoutError", api.ReadTimeout, "A timeout of the route or of its attempts.", TimeoutError),
        )
        self.consumed: Any = _consumed(api.StreamConsumed)
        self.body: Any = type("MeshBody", (Body, api.SyncByteStream), {})
        self.async_body: Any = type("AsyncMeshBody", (AsyncBody, api.AsyncByteStream), {})
        # Those of httpcore2 reserve connections by themselves.
        self.async_pool: Any = reserving_pool(self.core) if name == "httpx" else self.core.AsyncConnectionPool

    def translate(self, error: Exception) -> Exception:
        """An error of the connections as the error of httpx that its users know."""
        if not isinstance(error, self.core_errors):
            return error
        found: Exception = getattr(self.api, type(error).__name__, self.api.TransportError)(str(error))
        found.__cause__ = error
        return found

    def __repr__(self) -> str:
        return f"<Package {self.api.__name__} {self.api.__version__}>"


def _consumed(family: type[Exception]) -> type[MeshError]:
    """The error for the body of a request that was read to its end before."""

    def begin(self: Exception, text: str) -> None:
        Exception.__init__(self, text)  # that of httpx has another text

    return type("ConsumedBodyError", (MeshError, family), {"__init__": begin, "__module__": "meshlib.adapters.httpx"})


def _refusal(name: str, family: type[Exception], text: str, *more: type[Exception]) -> type[RefusedError]:
    return type(
        name, (RefusedError, family, *more), {"__doc__": text, "__module__": "meshlib.adapters.httpx", **_NEITHER}
    )


# What httpx keeps on its errors; RefusedError's constructor does not run that of httpx.
_NEITHER: Final = {"_request": None}


@functools.cache
def package_of(name: str) -> Package:
    """The package of this name. Raises MissingExtraError or UnsupportedVersionError."""
    return Package(name)


def default_package() -> Package:
    """httpx; httpx2 where only that is installed."""
    name = "httpx2" if importlib.util.find_spec("httpx") is None and importlib.util.find_spec("httpx2") else "httpx"
    return package_of(name)
