"""A request of a real client arrives at an address of the simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib._engine.exchange import Exchange
from meshlib._http import Failure, FailureKind
from meshlib._outbound.attempt import current_attempt
from meshlib.testing.messages import UpstreamRequest
from meshlib.testing.transport import Answer

if TYPE_CHECKING:
    from meshlib.testing.service import Service
    from meshlib.testing.upstreams import Plan, Site

__all__ = ["arrive", "current_exchange", "meet"]


def current_exchange() -> Exchange | None:
    """That of the attempt which the calling client is sending."""
    attempt = current_attempt.get()
    return attempt.exchange if attempt is not None else None


def meet(service: Service, exchange: Exchange | None, address: str, port: int) -> tuple[Site, Plan, str]:
    """Where a request goes, what is to become of it, and the identity that the caller shows there."""
    cluster = exchange.live.cluster if exchange is not None and exchange.live is not None else None
    world = service.world
    key = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    site = world.site(key, address, port, address)
    is_endpoint = cluster is not None and exchange is not None and exchange.endpoint is not None
    host = cluster.host if cluster is not None and is_endpoint else site.host
    return site, world.plan(site, host), world.peer(service, cluster)


async def arrive(
    service: Service, exchange: Exchange | None, address: str, port: int, request: UpstreamRequest
) -> Answer | Failure:
    """What comes of a request."""
    if exchange is not None and not exchange.connecting():
        return Failure(FailureKind.OVERFLOW, sent=False)
    site, plan, peer = meet(service, exchange, address, port)
    seconds = 10.0
    if exchange is not None and exchange.live is not None:
        seconds = exchange.live.cluster.policy.connection_pool.connect_timeout
    await service.world.connect(exchange, plan, seconds)
    if plan.breaks_connection:
        return plan.failure
    attempt = current_attempt.get()
    if attempt is not None:
        attempt.is_sent = True
    return await service.world.answer(site, plan, request, peer)
