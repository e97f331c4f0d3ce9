"""The governed pool manager: every request is an exchange of the mesh, endpoints are picked for each attempt."""

# ruff: noqa: FBT001, FBT002 - the arguments are urllib3's

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self, cast

import urllib3
from urllib3._request_methods import RequestMethods
from urllib3.util import Retry, parse_url

from meshlib._drivers import govern
from meshlib._engine.commands import LocalReply
from meshlib._http import Response
from meshlib._outbound.mirrors import ThreadMirrors
from meshlib._outbound.refusals import RefusalKinds
from meshlib._outbound.tls import HasRuntime, originator
from meshlib._runtime import forked, runtime_of
from meshlib.adapters.urllib3.bodies import Body
from meshlib.adapters.urllib3.connections import MeshHTTPConnectionPool, MeshHTTPSConnectionPool
from meshlib.adapters.urllib3.errors import KINDS
from meshlib.adapters.urllib3.exchanges import Governed, attach, local_response
from meshlib.adapters.urllib3.tapes import start_tape

__all__ = ["MeshPoolManager"]

_POOLS = 1024  # each endpoint has one; urllib3's ten would be made anew all the time


class MeshPoolManager(urllib3.PoolManager):
    """A :class:`urllib3.PoolManager` governed by ``mesh``; every argument of PoolManager is accepted.

    A request that the mesh refuses gets the response that Envoy would send, as behind a
    sidecar; ``raise_on_refusal=True`` raises instead: an error that is both a
    :class:`meshlib.errors.RefusedError` and an urllib3 error.

    ``retries`` bounds redirects as in urllib3, but repeats nothing: that is for the
    mesh to decide. ``timeout`` holds for each attempt; the shorter one of it and of the
    mesh's wins. ``response.mesh`` tells how a response came about.
    """

    def __init__(
        self,
        mesh: HasRuntime,
        num_pools: int = _POOLS,
        headers: Mapping[str, str] | None = None,
        *,
        raise_on_refusal: bool = False,
        refusals: RefusalKinds = KINDS,
        **connection_pool_kw: Any,
    ) -> None:
        super().__init__(num_pools, headers, **connection_pool_kw)
        self._most = num_pools
        self._plain: dict[tuple[str, str, int], urllib3.HTTPConnectionPool] = {}
        self.pool_classes_by_scheme = {"http": MeshHTTPConnectionPool, "https": MeshHTTPSConnectionPool}
        self.runtime = runtime_of(mesh, type(self).__name__)
        self.originator = originator(mesh.runtime)
        self.raise_on_refusal = raise_on_refusal
        self.refusals = refusals
        self.mirrors = ThreadMirrors()
        self.identity = object()
        if hasattr(os, "register_at_fork"):
            forked.watch(self)

    def reset_after_fork(self) -> None:
        """For the process's fork hook: the child has no socket in common with its parent."""
        self._plain = {}
        inherited, self.pools = self.pools, type(self.pools)(self._most)
        inherited.lock = threading.RLock()
        for key in inherited.keys():  # noqa: SIM118 - it cannot be iterated
            idle = inherited[key].pool
            for connection in idle.queue if idle is not None else ():
                if connection is not None:
                    connection.close()
            if idle is not None:  # its lock may be held by a thread that is not there
                idle.__init__(idle.maxsize)  # type: ignore[misc]

    def connection_from_host(
        self,
        host: str | None,
        port: int | None = None,
        scheme: str | None = "http",
        pool_kwargs: dict[str, Any] | None = None,
    ) -> urllib3.HTTPConnectionPool:
        """What stands for all endpoints of a host: its ``urlopen`` is one exchange."""
        if not host:
            raise urllib3.exceptions.LocationValueError("No host specified.")
        known = scheme or "http"
        if known not in self.pool_classes_by_scheme:
            raise urllib3.exceptions.URLSchemeUnknown(known)
        return cast(
            "urllib3.HTTPConnectionPool",
            MeshHost(self, known, host, port or (443 if known == "https" else 80), pool_kwargs),
        )

    def endpoint_pool(
        self, address: str, port: int, scheme: str, pool_kwargs: dict[str, Any] | None
    ) -> urllib3.HTTPConnectionPool:
        """The connections to one endpoint under one identity."""
        if pool_kwargs is not None:
            known = len(self.pools)
            found = super().connection_from_host(address, port, scheme, pool_kwargs)
            if len(self.pools) > known:
                self._drop_renewed()
            return found
        # urllib3 makes a key of all its arguments for each request, which costs more than a pick.
        pool = self._plain.get((scheme, address, port))
        if pool is None or pool.pool is None:  # closed, as one too many
            pool = super().connection_from_host(address, port, scheme, None)
            if len(self._plain) >= self._most:
                self._plain.clear()
            self._plain[scheme, address, port] = pool
        return pool

    def _drop_renewed(self) -> None:
        """Let go of the pools of certificates that were renewed: they close once nothing is on its way in them."""
        with self.pools.lock:
            for key in self.pools.keys():  # noqa: SIM118 - it cannot be iterated
                if getattr(key.key_ssl_context, "is_renewed", False):
                    del self.pools[key]

    def clear(self) -> None:
        """Close the connections, and leave out mirrored copies that were not sent yet."""
        self.mirrors.close()
        self._plain.clear()
        with self.pools.lock:
            pools = [self.pools[key] for key in self.pools.keys()]  # noqa: SIM118 - it cannot be iterated
        super().clear()
        for pool in pools:
            _close_idle(pool)
        self.mirrors = ThreadMirrors()


def _close_idle(pool: urllib3.HTTPConnectionPool) -> None:
    """Close what is not in use.

    urllib3 does it when nobody has the pool any more. Its errors have it, round in a circle, until the collector comes.
    """
    idle, taken = pool.pool, []
    with suppress(queue.Empty, AttributeError):  # there is no more, or it is closed
        while True:
            taken.append(idle.get(block=False))  # type: ignore[union-attr]
    for connection in taken:
        if connection is not None:
            connection.close()
        with suppress(queue.Full, AttributeError):
            idle.put(None, block=False)  # type: ignore[union-attr]


class MeshHost(RequestMethods):
    """A host as the application calls it; takes the place of urllib3's pool of connections to it."""

    def __init__(
        self, manager: MeshPoolManager, scheme: str, host: str, port: int, pool_kwargs: dict[str, Any] | None
    ) -> None:
        super().__init__()
        self._manager = manager
        self._pool_kwargs = pool_kwargs
        self.scheme = scheme
        self.host = host
        self.port = port

    def __repr__(self) -> str:
        return f"MeshHost(host={self.host!r}, port={self.port!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be closed: the connections are the manager's."""

    def close(self) -> None:
        """Nothing is to be closed: the connections are the manager's."""

    def is_same_host(self, url: str) -> bool:
        """Whether a redirect stays on this host."""
        if url.startswith("/"):
            return True
        there = parse_url(url)
        scheme = there.scheme or "http"
        return (scheme, there.host, there.port or (443 if scheme == "https" else 80)) == (
            self.scheme, self.host, self.port,
        )  # fmt: skip

    def urlopen(  # type: ignore[override]  # that of urllib3's own pools has these arguments, too
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        retries: Retry | bool | int | None = None,
        redirect: bool = True,
        preload_content: bool = True,
        decode_content: bool = True,
        **arguments: Any,
    ) -> urllib3.HTTPResponse:
        """One exchange; arguments as those of :meth:`urllib3.HTTPConnectionPool.urlopen`, no redirect."""
        manager = self._manager
        for name in ("release_conn", "body_pos"):
            arguments.pop(name, None)
        arguments.update(retries=False, redirect=False, assert_same_host=False, preload_content=False)
        arguments["decode_content"] = decode_content
        governed = Governed(
            manager,
            method,
            (self.scheme, self.host, self.port),
            url,
            self.headers if headers is None else headers,
            Body(body),
            self._pool_kwargs,
            arguments,
        )
        governed.path = manager.runtime.plain_path(governed.path)  # urllib3 keeps escapes that need not be
        exchange = governed.exchange = manager.runtime.begin(governed, governed.headers, governed.can_replay)  # type: ignore[arg-type]
        reply = govern(exchange, governed)
        if type(reply) is Response or start_tape(reply):
            response: urllib3.HTTPResponse = reply.handle
            attach(response, exchange, governed.attempt)
            response.url = url
            if preload_content:
                response.read(decode_content=decode_content, cache_content=True)
                response.release_conn()
        else:
            assert isinstance(reply, LocalReply)
            if manager.raise_on_refusal and reply.refusal:
                raise manager.refusals.error(exchange, reply) from reply.error
            response = local_response(reply, exchange, path=url, preload=preload_content, decode=decode_content)
        own = manager.connection_pool_kw.get("retries")
        response.retries = Retry.from_int(retries, redirect=redirect, default=own)
        return response
