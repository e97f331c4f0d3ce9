"""Refusals in the form in which Envoy sends its local replies."""

from __future__ import annotations

from typing import Final

from meshlib._engine.local_replies import GRPC_STATUS_OF_HTTP, grpc_reply, is_grpc
from meshlib._http import RequestHead
from meshlib._inbound.arrivals import Refused

__all__ = ["as_sent"]

_LENGTH: Final = "content-length"
_WITHOUT_BODY: Final = (204, 304)


def as_sent(refused: Refused, head: RequestHead) -> Refused:
    """What the client of a request gets: who speaks gRPC reads its status in a header, and the body as a message."""
    if is_grpc(head):
        kept = tuple(pair for pair in refused.headers if pair[0] not in (_LENGTH, "content-type"))
        status = GRPC_STATUS_OF_HTTP.get(refused.status, 2)
        reply = grpc_reply(status, refused.body.decode("utf-8", "replace"), "", kept)
        return Refused(status=reply.status, body=b"", headers=(*reply.headers, (_LENGTH, "0")))
    if refused.status in _WITHOUT_BODY:
        kept = tuple(pair for pair in refused.headers if pair[0] not in (_LENGTH, "content-type"))
        return Refused(status=refused.status, body=b"", headers=kept)
    return refused
