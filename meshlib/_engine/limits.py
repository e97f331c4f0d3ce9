"""Caps of a cluster: how much may be on its way at once, and what an overflow answers (semantics 3.6, 4.10)."""

from __future__ import annotations

from meshlib._engine.commands import LocalReply
from meshlib._engine.local_replies import local_reply
from meshlib._http import RequestHead
from meshlib._snapshot.clusters import Cluster

__all__ = ["overflow_reply", "retry_limit"]


def retry_limit(cluster: Cluster, active: int) -> int:
    """How many retries may be outstanding to a cluster at once."""
    budget = cluster.policy.retry_budget
    if budget is None:
        return cluster.policy.connection_pool.max_retries
    return max(budget.minimum, int(budget.ratio * active))


def overflow_reply(request: RequestHead) -> LocalReply:
    """503 with ``x-envoy-overloaded``; never retried, ignored by outlier detection."""
    body = "upstream connect error or disconnect/reset before headers. reset reason: overflow"
    details = "upstream_reset_before_response_started{overflow}"
    return local_reply(request, 503, body, details, headers=(("x-envoy-overloaded", "true"),))
