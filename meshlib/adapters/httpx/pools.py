"""Connection pools: one for each endpoint and identity, so that no connection serves another name than its own."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from meshlib._outbound.tls import Handshake
from meshlib._runtime import forked
from meshlib.adapters.httpx.connections import AsyncioBackend
from meshlib.adapters.httpx.network import AsyncBackend, SyncBackend
from meshlib.adapters.httpx.packages import Package
from meshlib.errors import MeshError

__all__ = ["Pools", "Target"]

_MOST = 1024  # pools kept; dialled addresses would be without end


class Target(NamedTuple):
    """Where connections of a pool lead, and as whom: ``handshake`` of the mesh, or ``server_name`` of an https URL."""

    scheme: str
    address: str
    port: int
    handshake: Handshake | None
    server_name: str | None


class Pools:
    """The pools of one transport, made as they are needed from the arguments that httpx's transport takes."""

    def __init__(
        self,
        package: Package,
        *,
        is_async: bool,
        verify: Any = True,
        cert: Any = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Any = None,
        proxy: Any = None,
        uds: str | None = None,
        local_address: str | None = None,
        retries: int = 0,
        socket_options: Any = None,
    ) -> None:
        if retries:
            raise MeshError(
                f"retries={retries!r} would repeat what the mesh repeats; "
                "leave it out and write spec.http[].retries in a VirtualService"
            )
        api = package.api
        limits = limits or api.Limits(max_connections=100, max_keepalive_connections=20)
        self._package = package
        self._is_async = is_async
        self._identity = {"verify": verify, "cert": cert, "trust_env": trust_env}
        self._arguments: dict[str, Any] = {
            "proxy": _core_proxy(package, proxy),
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "http1": http1,
            "http2": http2,
            "uds": uds,
            "local_address": local_address,
            "socket_options": socket_options,
        }
        self._pools: OrderedDict[Target, Any] = OrderedDict()
        self._context: Any = None
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork") and not is_async:
            forked.watch(self)

    def reset_after_fork(self) -> None:
        """For the process's fork hook: the child has no socket in common with its parent."""
        self._lock = threading.Lock()
        inherited = list(self._pools.values())
        self._pools.clear()
        for pool in inherited:
            for connection in pool.connections:
                connection.close()

    def get(self, target: Target) -> tuple[Any, Sequence[Any]]:
        """The pool for a target, and those that are not kept any more and have to be closed."""
        with self._lock:
            pool = self._pools.get(target)
            if pool is not None:
                self._pools.move_to_end(target)
                return pool, ()
            spare = self._spare()
            pool = self._pools[target] = self._make(target)
            return pool, spare

    def take_all(self) -> list[Any]:
        """All pools, to be closed; none is kept."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        return pools

    def _spare(self) -> list[Any]:
        """Pools with nothing on their way: those of certificates that were renewed, which nobody will ask for again.

        Of too many also that which was not used for longest.
        """
        targets = [target for target in self._pools if target.handshake and target.handshake.context.is_renewed]
        spare = [self._pools.pop(target) for target in targets if _is_idle(self._pools[target])]
        if len(self._pools) >= _MOST:
            oldest = next((target for target, pool in self._pools.items() if _is_idle(pool)), None)
            if oldest is not None:
                spare.append(self._pools.pop(oldest))
        return spare

    def _make(self, target: Target) -> Any:
        core, arguments = self._package.core, dict(self._arguments)
        if target.address.startswith("unix://"):
            arguments["uds"] = target.address.removeprefix("unix://")
        if target.handshake is not None:
            arguments.update(ssl_context=target.handshake.context, http1=True, http2=False)
        elif target.scheme == "https":
            if self._context is None:
                self._context = self._package.api.create_ssl_context(**self._identity)
            arguments["ssl_context"] = self._context
        if self._is_async:
            backend: Any = AsyncBackend(AsyncioBackend(core), core, target.handshake)
            make = core.AsyncConnectionPool if arguments["http2"] else self._package.async_pool
            return make(network_backend=backend, **arguments)
        return core.ConnectionPool(network_backend=SyncBackend(core.SyncBackend(), core, target.handshake), **arguments)


def _is_idle(pool: Any) -> bool:
    return all(connection.is_idle() for connection in pool.connections)


def _core_proxy(package: Package, proxy: Any) -> Any:
    if proxy is None:
        return None
    api = package.api
    known = api.Proxy(url=proxy) if isinstance(proxy, (str, api.URL)) else proxy
    return package.core.Proxy(
        url=str(known.url), auth=known.raw_auth, headers=known.headers.raw, ssl_context=known.ssl_context
    )
