"""Which endpoint an attempt goes to: by hash or balancer, for a retry away from what was tried (semantics 3.2)."""

from __future__ import annotations

from typing import Final

from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._http import RequestHead
from meshlib._snapshot.clusters import Cluster, Discovery, Endpoint
from meshlib._snapshot.routes import RetryPolicy
from meshlib._snapshot.snapshot import bare_host

__all__ = ["named_endpoint", "pick_locked"]

_PICKS: Final = 5  # how often a retry looks for a host that was not tried yet (host_selection_retry_max_attempts)
_UPDATES: Final = 2  # after so many attempts each, retryRemoteLocalities leaves out the tiers they went to


def pick_locked(
    live: LiveCluster, value: int | None, retry: RetryPolicy | None = None, tried: tuple[EndpointState, ...] = ()
) -> EndpointState | None:
    """The endpoint of an attempt, ``value`` being the request's hash; a retry may avoid what was ``tried``."""
    if not tried or retry is None:
        return _pick(live, value, None, 0)
    beyond = _tiers_left_out(live, tried) if retry.remote_localities and live.table is None else None
    host = _pick(live, value, beyond, 0)
    if retry.avoid_previous_hosts:
        for again in range(1, _PICKS + 1):
            if host not in tried:
                break
            host = _pick(live, value, beyond, again)
    return host


def named_endpoint(cluster: Cluster, request: RequestHead) -> Endpoint | None:
    """Where a cluster without endpoints sends: the name in the Host header if it resolves that, else None: as dialled.

    A Host header without a port means the dialled one.
    """
    if cluster.discovery is not Discovery.DYNAMIC:
        return None
    name = bare_host(request.authority)
    port = request.authority[len(name) :].removeprefix(":")
    return Endpoint(address=name.strip("[]"), port=int(port) if port.isdigit() else request.port)


def _tiers_left_out(live: LiveCluster, tried: tuple[EndpointState, ...]) -> frozenset[int] | None:
    """The tiers of the attempts up to the last full pair of them (Envoy's previous_priorities, update_frequency 2)."""
    settled = len(tried) - len(tried) % _UPDATES
    if not settled or live.tiers is None:
        return None
    return frozenset(host.endpoint.priority for host in tried[:settled])


def _pick(live: LiveCluster, value: int | None, beyond: frozenset[int] | None, again: int) -> EndpointState | None:
    if beyond is not None and live.tiers is not None:
        return live.tiers.pick_beyond(beyond)
    table = live.table
    return live.balancer.pick() if table is None or value is None else table.pick_by(value, again)
