"""The verbs that make governed clients: one for each client library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshlib.errors import MeshClosedError

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from httpx import AsyncClient, Client
    from requests import Session

    from meshlib._runtime import Runtime
    from meshlib.adapters.urllib3 import MeshPoolManager

__all__ = ["Clients"]


class Clients:
    """What a mesh makes. Each client goes on working when the mesh is closed; none is made then."""

    runtime: Runtime
    _is_closed = False

    def aiohttp(self, *, raise_on_refusal: bool = False, **arguments: Any) -> ClientSession:
        """A governed :class:`aiohttp.ClientSession`; every argument of ClientSession is accepted.

        A request that the mesh refuses gets the response that Envoy would send, as behind
        a sidecar. ``raise_on_refusal=True`` raises instead: an error that is both a
        :class:`meshlib.errors.RefusedError` and an aiohttp error.
        """
        from meshlib.adapters.aiohttp import governed_session

        return governed_session(self._open().runtime, raise_on_refusal=raise_on_refusal, **arguments)

    def httpx(self, *, raise_on_refusal: bool = False, **arguments: Any) -> Client:
        """A governed :class:`httpx.Client`; every argument of Client is accepted.

        httpx2 where only that is installed; ``package="httpx2"`` asks for it. Refusals as
        in :meth:`aiohttp`; ``response.extensions["mesh"]`` tells how a response came about.
        Needs the extra ``httpx`` or ``httpx2``.
        """
        from meshlib.adapters.httpx import governed_client

        return governed_client(self._open(), raise_on_refusal=raise_on_refusal, **arguments)

    def httpx_async(self, *, raise_on_refusal: bool = False, **arguments: Any) -> AsyncClient:
        """A governed :class:`httpx.AsyncClient`, on asyncio; as :meth:`httpx`."""
        from meshlib.adapters.httpx import governed_async_client

        return governed_async_client(self._open(), raise_on_refusal=raise_on_refusal, **arguments)

    def requests(self, *, raise_on_refusal: bool = False, **arguments: Any) -> Session:
        """A governed :class:`requests.Session`; ``arguments`` are those of its adapter, ``pool_maxsize`` for one.

        Refusals as in :meth:`aiohttp`; ``response.mesh`` tells how a response came about.
        Needs the extra ``requests``.
        """
        from meshlib.adapters.requests import governed_session

        return governed_session(self._open(), raise_on_refusal=raise_on_refusal, **arguments)

    def urllib3(self, *, raise_on_refusal: bool = False, **arguments: Any) -> MeshPoolManager:
        """A governed :class:`urllib3.PoolManager`; every argument of PoolManager is accepted.

        Refusals as in :meth:`aiohttp`; ``response.mesh`` tells how a response came about.
        Needs the extra ``requests``, which brings urllib3.
        """
        from meshlib.adapters.urllib3 import MeshPoolManager

        return MeshPoolManager(self._open(), raise_on_refusal=raise_on_refusal, **arguments)

    def _open(self) -> Clients:
        if self._is_closed:
            raise MeshClosedError
        return self
