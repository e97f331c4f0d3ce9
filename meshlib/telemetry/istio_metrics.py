"""Istio's standard metrics, counted from exchanges and served requests (semantics 7.1, 7.2).

What decides the labels of a request (cluster, endpoint, status, flags, …) is the key of a
cache that leads to its counters; labels are made once for each such key. The number of
series is bounded: hosts that no service is known for are named up to a limit, and above
``max_series`` of them all further label values become ``unknown``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from multidict import istr

from meshlib._engine.exchange import Exchange
from meshlib._engine.local_replies import is_grpc
from meshlib._engine.recording import Served
from meshlib._snapshot.snapshot import bare_host
from meshlib._snapshot.telemetry import MetricRules, Telemetry
from meshlib.telemetry.counters import Labels, Shard, Store
from meshlib.telemetry.expressions import Evaluate, UnsupportedError, compile_expression, to_text
from meshlib.telemetry.facts import Facts, exchange_facts, grpc_status, served_facts, served_flags
from meshlib.telemetry.fields import as_headers, body_length, head_size
from meshlib.telemetry.labels import caller, endpoint_peer, is_mutual, service, standard_labels
from meshlib.telemetry.peers import UNKNOWN, own_peer
from meshlib.telemetry.propagated_peer import peer_of_text
from meshlib.telemetry.targets import RequestTally, Targets
from meshlib.telemetry.texts import writable
from meshlib.workload import Workload

if TYPE_CHECKING:
    from meshlib.telemetry.meter import Instruments

__all__ = ["HTTP_METRICS", "IstioMetrics", "TooMany"]

HTTP_METRICS: Final = ("requests_total", "request_duration_milliseconds", "request_bytes", "response_bytes")
"""The metrics of HTTP requests, without their prefix; in the order of :class:`Targets`."""

_CONTENT_TYPE, _CONTENT_LENGTH = istr("content-type"), istr("content-length")
_CACHED: Final = 20_000
_TALLIES: Final = 1024  # those of a thread, of at most _PUT_DOWN calls each
_PUT_DOWN: Final = 128
_LONGEST_LABEL: Final = 256
_NO_TAGS: Final[tuple[str, ...]] = ()


class TooMany:
    """Hosts without a service, as label values: the first ``limit`` by their names, all others as ``unknown``."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[str, str] = {}

    def __call__(self, host: str) -> str:
        """The label value for a host."""
        known = self._known.get(host)
        if known is not None:
            return known
        if len(self._known) >= self._limit or len(host) > _LONGEST_LABEL:
            return UNKNOWN
        return self._known.setdefault(host, host)


class _Side:
    """The rules of one side, prepared: what is off, what is removed, what is set, and to what."""

    __slots__ = ("changes", "enabled", "evaluate", "names")

    def __init__(self, rules: MetricRules) -> None:
        self.enabled = rules.enabled
        self.changes = {name: rules.change(name) for name in HTTP_METRICS}
        expressions: dict[str, Evaluate] = {}
        for change in self.changes.values():
            for expression in change.tags.values():
                if expression is not None and expression not in expressions:
                    expressions[expression] = _prepare(expression)
        self.names = {text: place for place, text in enumerate(expressions)}
        self.evaluate: tuple[Evaluate, ...] = tuple(expressions.values())

    def labels(self, metric: str, standard: Mapping[str, str], values: tuple[str, ...]) -> Labels | None:
        """The labels of a metric; None if it is off."""
        change = self.changes[metric]
        if change.disabled or not self.enabled:
            return None
        if not change.tags:
            return tuple((name, writable(value)) for name, value in standard.items())
        labels = dict(standard)
        for tag, expression in change.tags.items():
            if expression is None:
                labels.pop(tag, None)
            else:
                labels[tag] = values[self.names[expression]]
        return tuple((name, writable(value)) for name, value in labels.items())


def _prepare(expression: str) -> Evaluate:
    """An expression that cannot be evaluated here (the load says so) has the value ``unknown``."""
    try:
        return compile_expression(expression)
    except UnsupportedError:
        return lambda _facts: UNKNOWN


class _Prepared:
    """The telemetry of one snapshot, prepared for both sides."""

    __slots__ = ("client", "server", "services")

    def __init__(self, telemetry: Telemetry) -> None:
        self.client = _Side(telemetry.client_metrics)
        self.server = _Side(telemetry.server_metrics)
        self.services = telemetry.services


class IstioMetrics:
    """Counts into ``store``. ``max_series`` bounds the series of a thread, ``max_hosts`` the hosts without a service.

    ``overflowed`` is how many keys were counted under ``unknown`` because there were too many.
    """

    def __init__(
        self,
        store: Store,
        workload: Workload,
        now: Callable[[], float],
        *,
        max_series: int = 10_000,
        max_hosts: int = 100,
    ) -> None:
        self.store = store
        self.overflowed = 0
        self._own = own_peer(workload, has_identity=False)
        self._identity = workload.spiffe_id
        self._now = now
        self._max_series = max_series
        self.host_label = TooMany(max_hosts)
        self._known: list[tuple[Telemetry, _Prepared]] = []
        self._instruments: Instruments | None = None

    def use(self, instruments: Instruments) -> None:
        """Record each request there as well."""
        self._instruments = instruments

    def _enter(self, shard: Shard, telemetry: Telemetry) -> None:
        """Prepare a shard for another snapshot: what it knew of endpoints and rules may not hold any more."""
        prepared = next((one for known, one in self._known if known is telemetry), None)
        if prepared is None:
            prepared = _Prepared(telemetry)
            self._known = [*self._known[-1:], (telemetry, prepared)]
        self._forget(shard)
        shard.prepared = prepared
        shard.context = telemetry

    @staticmethod
    def _forget(shard: Shard) -> None:
        shard.drop_tallies()
        shard.cache.clear()

    # -- calls made --------------------------------------------------------------------------------------

    def exchanged(self, exchange: Exchange) -> None:
        """An exchange is over."""
        try:
            shard: Shard = self.store.local.shard
        except AttributeError:
            shard = self.store.open()
        telemetry = exchange.published.snapshot.telemetry
        if shard.context is not telemetry:
            self._enter(shard, telemetry)
        key = (exchange.live, exchange.endpoint, exchange.status)
        tally: RequestTally | None = shard.tallies.get(key) if exchange.is_usual else None
        if tally is None or self._instruments is not None:
            self._count_exchange(shard, key, exchange)
            return
        tally.seconds.append(self._now() - exchange.started)
        response = exchange.response_headers
        text = None if isinstance(response, tuple) else response.get(_CONTENT_LENGTH)
        lengths = tally.lengths
        lengths.append(exchange.received if text is None else text)
        if len(lengths) >= _PUT_DOWN:
            with shard.lock:
                tally.count()

    def _count_exchange(self, shard: Shard, key: tuple[object, ...], exchange: Exchange) -> None:
        """Count an exchange of which there may be more to tell, and have those like it put down only."""
        headers, response = exchange.headers, exchange.response_headers
        is_usual = not exchange.flags and _CONTENT_TYPE not in headers and not exchange.answered_by
        targets: Targets | None = shard.cache.get(key) if is_usual else None
        if targets is None:
            targets = self._find_targets(shard, key, exchange)
        # Nobody has read the body of a request that was never sent.
        sent = body_length(headers, 0) if _CONTENT_LENGTH in headers and exchange.attempts else 0
        received = exchange.received
        if type(response) is not tuple:
            received = body_length(response, received)
        with shard.lock:
            if targets.attempts is not None:
                targets.attempts.value += exchange.attempts
                if targets.overflows is not None:
                    targets.overflows.value += 1
            targets.count_one((self._now() - exchange.started) * 1000.0, sent, received, self._instruments)
        if is_usual and key in shard.cache:
            self._put_down(shard, key, targets)

    @staticmethod
    def _put_down(shard: Shard, key: tuple[object, ...], targets: Targets) -> None:
        """From now on, requests like this one are only put down."""
        if len(shard.tallies) >= _TALLIES:  # those of clusters that are gone are among them
            shard.drop_tallies()
        shard.tallies.setdefault(key, RequestTally(targets))

    def _find_targets(self, shard: Shard, key: tuple[object, ...], exchange: Exchange) -> Targets:
        """The targets of an exchange of which there may be more to tell than ``key`` does; made at the first such."""
        side: _Side = shard.prepared.client
        live, content_type = exchange.live, exchange.headers.get(_CONTENT_TYPE)
        is_rpc = content_type is not None and content_type.startswith("application/grpc")
        has_more = side.evaluate or exchange.flags or exchange.answered_by
        if live is None or live.is_original or is_rpc or has_more:
            key = self._rare_key(exchange, side, is_rpc=is_rpc)
        found: Targets | None = shard.cache.get(key)
        return found or self._client_targets(shard, key, exchange, side)

    def _rare_key(self, exchange: Exchange, side: _Side, *, is_rpc: bool) -> tuple[object, ...]:
        """The key of an exchange that has more to tell than where it went and the status that came back."""
        live = exchange.live
        host = ""
        if live is None or live.is_original:
            host = self.host_label(bare_host(exchange.request.authority))
        grpc = grpc_status(exchange.response_headers, exchange.status) if is_rpc else None
        tags = _evaluate(side.evaluate, exchange_facts(exchange)) if side.evaluate else _NO_TAGS
        # Behind one address may be several workloads: each says for itself which it is.
        peer = peer_of_text(exchange.answered_by) if exchange.answered_by else None
        return live, exchange.endpoint, exchange.status, exchange.flags, grpc, host, tags, peer

    def _client_targets(self, shard: Shard, key: Any, exchange: Exchange, side: _Side) -> Targets:
        rare = key if len(key) > 3 else (*key, (), None, "", _NO_TAGS, None)
        live, endpoint, status, flags, grpc, host, tags, said = rare
        cluster = live.cluster if live is not None else None
        route = exchange.route.name if exchange.route is not None else ""
        named, name, namespace = service(cluster, host, route)
        peer = endpoint_peer(endpoint.endpoint if endpoint is not None else None, namespace, self._own.cluster)
        if said is not None:
            peer = said._replace(principal=peer.principal)
        own = self._own
        if cluster is not None and is_mutual(cluster, endpoint.endpoint if endpoint is not None else None):
            own = own._replace(principal=self._identity)
        else:
            peer = peer._replace(principal=UNKNOWN)
        standard = standard_labels(
            "source",
            (own, peer),
            service=(named, name, namespace if namespace != UNKNOWN else peer.namespace),
            protocol="http" if grpc is None else "grpc",
            code=str(status),
            grpc=grpc or "",
            flags=",".join(flags) or "-",
            policy=UNKNOWN,
        )
        heads = head_size(exchange.headers), head_size(exchange.response_headers)
        targets = self._targets(shard, side, standard, tags, heads)
        if live is not None:
            label = (("cluster", live.cluster.name),)
            attempts = shard.counter("meshlib_attempts_total", label)
            overflows = shard.counter("meshlib_overflows_total", label)  # from 0 on: a rate needs a first value
            targets = targets._replace(attempts=attempts, overflows=overflows if "UO" in flags else None)
        return _remember(shard, key, targets)

    # -- requests served -----------------------------------------------------------------------------------

    def served_again(self, telemetry: Telemetry, key: tuple[int, str, int], started: float, sent: int) -> bool:
        """Put down a request without a body; ``key`` is its port, its peer and its status.

        False: none like it was counted by :meth:`served` yet, which is to be told of this one too.
        """
        try:
            shard: Shard = self.store.local.shard
        except AttributeError:
            shard = self.store.open()
        if shard.context is not telemetry:
            self._enter(shard, telemetry)
        tally: RequestTally | None = shard.tallies.get(key)
        if tally is None or self._instruments is not None:
            return False
        now = self._now
        tally.seconds.append(now() - started)
        lengths = tally.lengths
        lengths.append(sent)
        if len(lengths) >= _PUT_DOWN:
            with shard.lock:
                tally.count()
        return True

    def served(self, served: Served) -> None:
        """A request of the workload was answered."""
        flags = served_flags(served)
        sent = served.sent if served.sent >= 0 else body_length(as_headers(served.response_headers), 0)
        usual = (served.head.port, served.peer, served.status) if served.is_bare and not flags else None
        if usual is None or not self.served_again(served.snapshot.telemetry, usual, served.started, sent):
            self._count_served(served, ",".join(flags), sent, usual)

    def _count_served(self, served: Served, flags: str, sent: int, usual: tuple[int, str, int] | None) -> None:
        """Count a request at once; those like it are put down under ``usual`` from now on, None: are not."""
        shard = self.store.shard
        if shard.context is not served.snapshot.telemetry:
            self._enter(shard, served.snapshot.telemetry)
        prepared: _Prepared = shard.prepared
        side, head = prepared.server, served.head
        response = served.response_headers
        grpc = source = None
        if not served.is_bare:
            grpc = grpc_status(response, served.status) if is_grpc(head) else None
            source = peer_of_text(served.claimed) if served.claimed else None
        has_peer = bool(served.peer)
        tags = _NO_TAGS
        if side.evaluate:
            tags = _evaluate(side.evaluate, served_facts(served))
        principal = served.peer
        key = (head.port, source, principal, served.status, flags, grpc, tags)
        targets: Targets | None = shard.cache.get(key)
        if targets is None:
            own_service = prepared.services.get(head.port) or next(iter(prepared.services.values()), None)
            own = self._own._replace(principal=self._identity) if has_peer else self._own
            standard = standard_labels(
                "destination",
                (caller(source, principal), own),
                service=(own_service.host, own_service.name, own_service.namespace)
                if own_service is not None
                else (UNKNOWN, UNKNOWN, own.namespace),
                protocol="http" if grpc is None else "grpc",
                code=str(served.status),
                grpc=grpc or "",
                flags=flags or "-",
                policy="mutual_tls" if has_peer else "none",
            )
            heads = head_size(head.headers), head_size(response)
            targets = _remember(shard, key, self._targets(shard, side, standard, tags, heads))
        milliseconds = (served.ended - served.started) * 1000.0
        received = 0 if served.is_bare else body_length(head.headers, 0)
        with shard.lock:
            targets.count_one(milliseconds, received, sent, self._instruments)
        if usual is not None and not side.evaluate:
            self._put_down(shard, usual, targets)

    # -- series ----------------------------------------------------------------------------------------------

    def _targets(
        self,
        shard: Shard,
        side: _Side,
        standard: dict[str, str],
        tags: tuple[str, ...],
        heads: tuple[int, int],
    ) -> Targets:
        if len(shard.histograms) >= self._max_series:
            self.overflowed += 1
            kept = ("reporter", "request_protocol", "response_code")
            standard = {name: value if name in kept else UNKNOWN for name, value in standard.items()}
            tags = (UNKNOWN,) * len(tags)
        counted, *observed = (side.labels(name, standard, tags) for name in HTTP_METRICS)
        requests = None if counted is None else shard.counter(f"istio_{HTTP_METRICS[0]}", counted)
        duration, request_bytes, response_bytes = (
            None if labels is None else shard.histogram(f"istio_{name}", labels)
            for name, labels in zip(HTTP_METRICS[1:], observed, strict=True)
        )
        attributes = tuple(None if labels is None else dict(labels) for labels in (counted, *observed))
        return Targets(requests, duration, request_bytes, response_bytes, *heads, attributes=attributes)


def _remember(shard: Shard, key: object, targets: Targets) -> Targets:
    if len(shard.cache) >= _CACHED:
        IstioMetrics._forget(shard)
    shard.cache[key] = targets
    return targets


def _evaluate(expressions: tuple[Evaluate, ...], facts: Facts) -> tuple[str, ...]:
    return tuple(to_text(evaluate, facts)[:_LONGEST_LABEL] for evaluate in expressions)
