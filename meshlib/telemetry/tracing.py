"""Spans through the OpenTelemetry API: one for each call made and each request served.

Who sets up the SDK decides where they go and may sample further; propagation is that of
the global propagator (W3C by default, B3 where it is set). A request that carries a
decision keeps it; for others the percentage of the Telemetry API counts, if the
configuration says anything about tracing. Without the SDK this module is never imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, TracerProvider

from meshlib._http import Outcome, Response
from meshlib._snapshot.telemetry import Tracing
from meshlib.telemetry.span_tags import SpanTags, attempt_tags, first_tags

if TYPE_CHECKING:
    from meshlib._engine.attempts import Attempts
    from meshlib._engine.exchange import Exchange
    from meshlib._engine.recording import Served
    from meshlib._random import Chance
    from meshlib.telemetry.facts import Facts
    from meshlib.workload import Workload

__all__ = ["Tracer", "global_provider"]

_NAME: Final = "meshlib"
_CARRIERS: Final = frozenset({"traceparent", "b3", "x-b3-traceid"})
_W3C: Final = frozenset({"traceparent", "tracestate", "baggage"})


def global_provider() -> TracerProvider | None:
    """Who records spans in this process; None if nobody does."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider) else provider


class _Fields(Getter[Any], Setter[Any]):
    """Header fields as the propagators read and write them."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        return carrier.getall(key, None)  # type: ignore[no-any-return]

    def keys(self, carrier: Any) -> list[str]:
        return list(carrier)

    def set(self, carrier: Any, key: str, value: str) -> None:
        carrier[key] = value


_FIELDS: Final = _Fields()


class Recorded:
    """The span of a call or of a served request that is recorded."""

    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span

    def attempt(self, exchange: Attempts, outcome: Outcome) -> None:
        """An attempt has come back. One that was good at once is the exchange itself, and no event."""
        if exchange.attempts == 1 and isinstance(outcome, Response) and outcome.status < 500:
            return
        self.span.add_event("attempt", attempt_tags(exchange, outcome))

    @property
    def trace_id(self) -> str:
        """As it is written in headers."""
        return f"{self.span.get_span_context().trace_id:032x}"

    @property
    def span_id(self) -> str:
        """As it is written in headers."""
        return f"{self.span.get_span_context().span_id:016x}"


class Tracer:
    """Makes the spans of a mesh."""

    def __init__(self, workload: Workload, provider: TracerProvider, chance: Chance) -> None:
        self.provider = provider
        self._chance = chance
        self._tracer = provider.get_tracer(_NAME)
        self._tags = SpanTags(workload)
        self._propagator: object = None
        self._carriers = _CARRIERS
        self._speaks_w3c = False

    def _learn(self) -> None:
        """Look at the global propagator: in which headers it keeps a context."""
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            fields = {name.lower() for name in propagator.fields}
            self._propagator = propagator
            self._carriers = _CARRIERS | (fields - {"tracestate", "baggage"})
            self._speaks_w3c = "traceparent" in fields and fields <= _W3C

    def _extract(self, headers: Any) -> Context | None:
        """The context that the headers carry; None if they carry none."""
        self._learn()
        for name in self._carriers:
            if name in headers:
                break
        else:
            return None
        found = propagate.extract(headers, getter=_FIELDS)
        return found if trace.get_current_span(found).get_span_context().is_valid else None

    def _say_unsampled(self, headers: Any) -> None:
        """Tell the upstream that the trace is not sampled; for W3C without the way through a context."""
        if self._speaks_w3c:
            draw = self._chance.getrandbits
            headers["traceparent"] = f"00-{draw(128) or 1:032x}-{draw(64) or 1:016x}-00"
        else:
            propagate.inject(headers, trace.set_span_in_context(_unsampled(self._chance)), _FIELDS)

    def _say_sampled(self, headers: Any, span: Span, parent: Context | None) -> None:
        """Hand the context on; for W3C without baggage and state in a third of the propagator's time."""
        self._learn()
        found = span.get_span_context()
        if self._speaks_w3c and found.is_valid and not found.trace_state and not baggage.get_all(parent):
            headers["traceparent"] = f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
        else:
            propagate.inject(headers, trace.set_span_in_context(span, parent), _FIELDS)

    # -- calls made --------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange, settings: Tracing) -> None:
        """Start the span of a call, and put its context into the headers."""
        headers, request = exchange.headers, exchange.request
        current = trace.get_current_span()
        parent: Context | None = None
        if not current.get_span_context().is_valid:
            parent = self._extract(headers)
            if parent is None and not _draws(settings, self._chance):
                if settings.propagates:
                    self._say_unsampled(headers)
                return
        span = self._tracer.start_span(
            f"{request.method} {request.authority}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes=first_tags(request, is_outbound=True),
        )
        if settings.propagates:
            self._say_sampled(headers, span, parent)
        if span.is_recording():
            exchange.trace = Recorded(span)

    def end(self, exchange: Exchange, facts: Facts, settings: Tracing) -> None:
        """The call is over."""
        recorded = exchange.trace
        if not isinstance(recorded, Recorded):
            return
        telemetry = exchange.published.snapshot.telemetry
        self._tags.finish_call(recorded.span, exchange, facts, settings, telemetry.mesh_id)
        recorded.span.end()

    # -- requests served -----------------------------------------------------------------------------------

    def arrive(self, served: Served, settings: Tracing) -> None:
        """Start the span of a served request; what the application does is below it."""
        head = served.head
        current = trace.get_current_span()
        is_nested = current.get_span_context().is_valid  # below another instrumentation of the server
        parent = None if is_nested else self._extract(head.headers)
        if not is_nested and parent is None and not _draws(settings, self._chance):
            served.scope = context.attach(trace.set_span_in_context(_unsampled(self._chance)))
            return
        span = self._tracer.start_span(
            f"{head.method} {head.authority}",
            context=parent,
            kind=SpanKind.INTERNAL if is_nested else SpanKind.SERVER,
            attributes=first_tags(head, is_outbound=False),
        )
        served.scope = context.attach(trace.set_span_in_context(span, parent))
        if span.is_recording():
            served.span = Recorded(span)

    def serve(self, served: Served, facts: Facts, settings: Tracing) -> None:
        """The request was answered."""
        recorded = served.span
        if recorded is not None:
            self._tags.finish_request(recorded.span, served, facts, settings)
            recorded.span.end()

    def leave(self, served: Served) -> None:
        """The context of the request ends."""
        scope, served.scope = served.scope, None
        if scope is not None:
            context.detach(scope)


def _draws(settings: Tracing, chance: Chance) -> bool:
    """Whether a request without a decision is traced; with nothing configured the SDK decides."""
    return not settings.is_configured or chance.random() * 100.0 < settings.sampling


def _unsampled(chance: Chance) -> Span:
    """A context that says: not sampled; so that all that follows is not either."""
    identity = SpanContext(
        trace_id=chance.getrandbits(128) or 1,
        span_id=chance.getrandbits(64) or 1,
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.DEFAULT),
    )
    return NonRecordingSpan(identity)
