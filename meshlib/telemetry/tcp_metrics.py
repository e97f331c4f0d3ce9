"""Istio's metrics of connections that carry no HTTP, counted from their events (semantics 7.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from meshlib._engine.published import Published
from meshlib._http import NO_HEADERS, RequestHead
from meshlib._snapshot.telemetry import MetricRules
from meshlib.events import ConnectionClosed, ConnectionOpened, Event
from meshlib.telemetry.counters import Labels, Store
from meshlib.telemetry.expressions import Evaluate, UnsupportedError, compile_expression, to_text
from meshlib.telemetry.facts import Facts
from meshlib.telemetry.labels import endpoint_peer, is_mutual, service, standard_labels
from meshlib.telemetry.peers import UNKNOWN, own_peer
from meshlib.workload import Workload

__all__ = ["CONNECTION_EVENTS", "TcpMetrics"]

CONNECTION_EVENTS: Final[tuple[type[Event], ...]] = (ConnectionOpened, ConnectionClosed)
"""The events that :class:`TcpMetrics` listens to."""

_HTTP_ONLY: Final = ("response_code", "grpc_response_status")


class TcpMetrics:
    """An observer that counts into ``store``."""

    def __init__(self, store: Store, workload: Workload, published: Callable[[], Published]) -> None:
        self._store = store
        self._published = published
        self._own = own_peer(workload, has_identity=False)
        self._identity = workload.spiffe_id

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case ConnectionOpened():
                self._add(event, {"tcp_connections_opened_total": 1})
            case ConnectionClosed():
                counts = {"tcp_sent_bytes_total": event.received, "tcp_received_bytes_total": event.sent}
                self._add(event, {"tcp_connections_closed_total": 1, **counts})
            case _:
                pass

    def _add(self, event: ConnectionOpened | ConnectionClosed, counts: dict[str, int]) -> None:
        published = self._published()
        rules = published.snapshot.telemetry.client_metrics
        if not rules.enabled:
            return
        standard = self._labels(event, published)
        shard = self._store.shard
        for name, value in counts.items():
            labels = _changed(rules, name, standard, event)
            if labels is not None:
                shard.counter(f"istio_{name}", labels).value += value

    def _labels(self, event: ConnectionOpened | ConnectionClosed, published: Published) -> dict[str, str]:
        live = published.clusters.get(event.cluster)
        cluster = live.cluster if live is not None else None
        found = live.state.endpoints.get(event.endpoint) if live is not None else None
        endpoint = found.endpoint if found is not None else None
        # A connection has no Host header that could stand in for a service, in Istio's proxy neither.
        named, name, namespace = service(cluster, UNKNOWN, "block_all" if event.flag == "UH" else "")
        peer, own = endpoint_peer(endpoint, namespace, self._own.cluster), self._own
        if cluster is not None and is_mutual(cluster, endpoint):
            own = own._replace(principal=self._identity)
        else:
            peer = peer._replace(principal=UNKNOWN)
        labels = standard_labels(
            "source",
            (own, peer),
            service=(named, name, namespace if namespace != UNKNOWN else peer.namespace),
            protocol="tcp",
            code="",
            grpc="",
            flags=event.flag or "-",
            policy=UNKNOWN,
        )
        return {name: value for name, value in labels.items() if name not in _HTTP_ONLY}


def _changed(
    rules: MetricRules, name: str, standard: dict[str, str], event: ConnectionOpened | ConnectionClosed
) -> Labels | None:
    """The labels as overrides have them; None if the metric is off."""
    change = rules.change(name)
    if change.disabled:
        return None
    if not change.tags:
        return tuple(standard.items())
    facts = Facts(RequestHead("", "tcp", event.host, "", NO_HEADERS, port=0), NO_HEADERS, is_outbound=True)
    facts.cluster, facts.upstream = event.cluster, event.endpoint
    facts.flags = (event.flag,) if event.flag else ()
    labels = dict(standard)
    for tag, expression in change.tags.items():
        if expression is None:
            labels.pop(tag, None)
        else:
            labels[tag] = _value(expression, facts)
    return tuple(labels.items())


def _value(expression: str, facts: Facts) -> str:
    evaluate = _prepared(expression)
    return UNKNOWN if evaluate is None else to_text(evaluate, facts)


@lru_cache(maxsize=256)
def _prepared(expression: str) -> Evaluate | None:
    """An expression that cannot be evaluated here (the load says so) has the value ``unknown``."""
    try:
        return compile_expression(expression)
    except UnsupportedError:
        return None
