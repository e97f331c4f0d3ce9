"""``/stats``: gauges and counters under Envoy's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshlib._engine.limits import retry_limit
from meshlib._engine.state import LiveCluster
from meshlib.admin.member import Member
from meshlib.admin.messages import Streamed
from meshlib.admin.tally import Calls, Counts

__all__ = ["stats_text", "stats_view"]


def stats_view(members: Iterable[Member], now: float, *, wanted: str = "") -> Streamed:
    """``stats``: ``name`` and ``value`` each, those whose name has ``wanted`` in it."""
    return {
        "stats": (
            {"member": member.name, "name": name, "value": value}
            for member in members
            for name, value in _stats(member, now)
            if wanted in name
        )
    }


def stats_text(members: Iterable[Member], now: float, *, wanted: str = "") -> str:
    """``name: value`` lines, as Envoy prints them, one member after the other."""
    lines = [f"{name}: {value}" for member in members for name, value in _stats(member, now) if wanted in name]
    return "\n".join(lines) + "\n"


def _stats(member: Member, now: float) -> Iterator[tuple[str, int]]:
    counts, published = member.tally.read(), member.runtime.published
    yield "server.live", 1
    yield "server.uptime", int(now - member.started)
    totals: dict[str, Calls] = {}
    for (cluster, _, _), calls in counts.exchanges.items():
        totals.setdefault(cluster, Calls()).merge(calls)
    for name, live in published.clusters.items():
        yield from _cluster(f"cluster.{name}", live, totals.get(name))
    yield from _served(counts)


def _cluster(prefix: str, live: LiveCluster, calls: Calls | None) -> Iterator[tuple[str, int]]:
    state, pool = live.state, live.cluster.policy.connection_pool
    ejected = sum(one.is_ejected for one in live.endpoints)
    yield f"{prefix}.membership_total", len(live.endpoints)
    yield f"{prefix}.membership_healthy", sum(one.endpoint.healthy and not one.is_ejected for one in live.endpoints)
    yield f"{prefix}.outlier_detection.ejections_active", ejected
    yield f"{prefix}.upstream_rq_active", state.active
    yield f"{prefix}.upstream_rq_pending_active", state.pending
    yield f"{prefix}.circuit_breakers.default.rq_open", int(state.active >= pool.max_requests)
    yield f"{prefix}.circuit_breakers.default.rq_pending_open", int(state.pending >= pool.max_pending_requests)
    yield f"{prefix}.circuit_breakers.default.rq_retry_open", int(state.retries >= retry_limit(live))
    yield f"{prefix}.circuit_breakers.default.remaining_retries", max(0, retry_limit(live) - state.retries)
    if calls is not None:
        yield f"{prefix}.upstream_rq_total", calls.requests + calls.retries
        yield f"{prefix}.upstream_rq_completed", calls.requests
        yield f"{prefix}.upstream_rq_5xx", calls.failed
        yield f"{prefix}.upstream_rq_4xx", calls.rejected
        yield f"{prefix}.upstream_rq_retry", calls.retries


def _served(counts: Counts) -> Iterator[tuple[str, int]]:
    yield "http.inbound.downstream_rq_total", sum(calls.requests for calls in counts.served.values())
    yield "http.inbound.downstream_rq_5xx", sum(calls.failed for calls in counts.served.values())
    yield "http.inbound.downstream_rq_4xx", sum(calls.rejected for calls in counts.served.values())
    yield "http.inbound.rbac.denied", sum(counts.denied.values())
    yield "http.outbound.fault.delays_injected", counts.faults.get("delay", 0)
    yield "http.outbound.fault.aborts_injected", counts.faults.get("abort", 0)
