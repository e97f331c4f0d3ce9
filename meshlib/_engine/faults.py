"""Injected delays and aborts (semantics 2.11): above routing, so never retried and never timed."""

from __future__ import annotations

from meshlib._engine.commands import LocalReply
from meshlib._engine.local_replies import grpc_reply, is_grpc, local_reply
from meshlib._http import RequestHead
from meshlib._random import Chance
from meshlib._snapshot.routes import Fault

__all__ = ["abort_reply", "draw_delay"]

_BODY = "fault filter abort"
_DETAILS = "fault_filter_abort"


def draw_delay(fault: Fault, chance: Chance) -> float:
    """Seconds to wait before the request goes on; 0.0 if the draw spares it."""
    delay = fault.delay
    return delay.seconds if delay is not None and _hit(delay.ratio, chance) else 0.0


def abort_reply(fault: Fault, request: RequestHead, chance: Chance) -> LocalReply | None:
    """The reply in place of the upstream's; None if the draw spares the request."""
    abort = fault.abort
    if abort is None or not _hit(abort.ratio, chance):
        return None
    if abort.grpc_status is not None:
        # To a request that is not gRPC, Envoy answers a plain 200 with the body alone (observed on 1.39.3).
        return (
            grpc_reply(abort.grpc_status, _BODY, _DETAILS)
            if is_grpc(request)
            else local_reply(request, 200, _BODY, _DETAILS)
        )
    assert abort.http_status is not None
    return local_reply(request, abort.http_status, _BODY, _DETAILS)


def _hit(ratio: float, chance: Chance) -> bool:
    # No draw where the answer is certain, so that a seed means the same with or without such a fault.
    return ratio >= 1.0 or (ratio > 0.0 and chance.random() < ratio)
