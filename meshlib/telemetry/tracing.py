"""Spans through the OpenTelemetry API: one for each call made and each request served.

Who sets up the SDK decides where they go and may sample further; propagation is that of
the global propagator (W3C by default, B3 where it is set). A request that carries a
decision keeps it; for others the percentage of the Telemetry API counts, or, where nothing
is configured about tracing, what the SDK decides. Without the SDK this module is never imported.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from multidict import istr
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, TracerProvider

from meshlib._http import Outcome, Response
from meshlib._snapshot.telemetry import Telemetry, Tracing
from meshlib.telemetry.span_tags import SpanTags, attempt_tags, first_tags
from meshlib.telemetry.span_writer import Starts
from meshlib.telemetry.texts import writable

if TYPE_CHECKING:
    from meshlib._engine.attempts import Attempts
    from meshlib._engine.exchange import Exchange
    from meshlib._engine.recording import Served
    from meshlib._random import Chance
    from meshlib.telemetry.facts import Facts
    from meshlib.workload import Workload

__all__ = ["Tracer", "global_provider"]

_NAME: Final = "meshlib"
_W3C: Final = frozenset({"traceparent", "tracestate", "baggage"})
_TRACEPARENT, _B3, _B3_TRACE_ID = istr("traceparent"), istr("b3"), istr("x-b3-traceid")
_IS_SET_BY_CODE: Final = OTEL_PYTHON_TRACER_PROVIDER not in os.environ
_AHEAD: Final = 64
_FLAGS: Final = tuple(f"{flags:02x}" for flags in range(256))


def global_provider() -> TracerProvider | None:
    """Who records spans in this process; None if nobody does."""
    if _IS_SET_BY_CODE and getattr(trace, "_TRACER_PROVIDER", trace) is None:
        return None  # what the API would find out in three times the time
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
    """The span of a call or of a served request that is recorded. ``url`` is that of the request, without its query."""

    __slots__ = ("_tags", "span", "url")

    def __init__(self, tags: SpanTags, span: Span, url: str) -> None:
        self._tags = tags
        self.span = span
        self.url = url

    def attempt(self, exchange: Attempts, outcome: Outcome) -> None:
        """An attempt has come back. One that was good at once is the exchange itself, and no event."""
        if exchange.attempts == 1 and isinstance(outcome, Response) and outcome.status < 500:
            return
        self.span.add_event("attempt", attempt_tags(exchange, outcome))

    def end_call(self, exchange: Exchange, facts: Facts | None, telemetry: Telemetry) -> None:
        """The call is over. ``facts`` are needed where there are custom tags."""
        self._tags.finish_call(self, exchange, facts, telemetry)
        self.span.end()

    def end_request(self, served: Served, facts: Facts | None, telemetry: Telemetry) -> None:
        """The request was answered. ``facts`` are needed where there are custom tags."""
        self._tags.finish_request(self, served, facts, telemetry)
        self.span.end()

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
        self._starts = Starts(provider)
        self._propagator: TextMapPropagator | None = None
        self._other_carriers: tuple[str, ...] = ()
        self._speaks_w3c = False
        self._ready: list[str] = []

    def _learn(self, propagator: TextMapPropagator) -> None:
        """Look at a new global propagator: in which headers it keeps a context."""
        fields = {name.lower() for name in propagator.fields}
        self._propagator = propagator
        self._other_carriers = tuple(fields - {"tracestate", "baggage", _TRACEPARENT, _B3, _B3_TRACE_ID})
        self._speaks_w3c = "traceparent" in fields and fields <= _W3C

    def _extract(self, headers: Any) -> Context | None:
        """The context that the headers carry; None if they carry none."""
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._learn(propagator)
        if (
            _TRACEPARENT in headers
            or _B3 in headers
            or _B3_TRACE_ID in headers
            or (self._other_carriers and self._carries_other(headers))
        ):
            found = propagator.extract(headers, getter=_FIELDS)
            return found if trace.get_current_span(found).get_span_context().is_valid else None
        return None

    def _carries_other(self, headers: Any) -> bool:
        return any(name in headers for name in self._other_carriers)

    def _say_unsampled(self, headers: Any) -> None:
        """Tell the upstream that the trace is not sampled; for W3C without the way through a context."""
        if self._speaks_w3c:
            try:
                headers[_TRACEPARENT] = self._ready.pop()
            except IndexError:
                headers[_TRACEPARENT] = self._make_ready()
        else:
            propagate.inject(headers, trace.set_span_in_context(_unsampled(self._chance)), _FIELDS)

    def _make_ready(self) -> str:
        """A traceparent of an unsampled trace; more are made ahead, by the dozen."""
        drawn = memoryview(self._chance.getrandbits(128 * _AHEAD).to_bytes(16 * _AHEAD, sys.byteorder)).cast("Q")
        # The id of the span is half that of its trace, as Zipkin has it for roots.
        halves = drawn[_AHEAD:]
        made = list(map("00-%016x%016x-%016x-00".__mod__, zip(drawn, halves, halves, strict=False)))
        first = made.pop()
        self._ready = made  # another thread may have put its own there: those are lost, not given twice
        return first

    def reset_after_fork(self) -> None:
        """In a forked child: traces of its own."""
        self._ready = []

    def _say_sampled(self, headers: Any, span: Span, parent: Context) -> None:
        """Hand the context on; for W3C without baggage and state in a third of the propagator's time."""
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._learn(propagator)
        found = span.get_span_context()
        trace_id = found.trace_id
        if self._speaks_w3c and trace_id and not found.trace_state and not (parent and baggage.get_all(parent)):
            digits = (trace_id << 64 | found.span_id).to_bytes(24, "big").hex()
            headers[_TRACEPARENT] = f"00-{digits[:32]}-{digits[32:]}-{_FLAGS[found.trace_flags]}"
        else:
            propagator.inject(headers, trace.set_span_in_context(span, parent), _FIELDS)

    # -- calls made --------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange, settings: Tracing) -> None:
        """Start the span of a call, and put its context into the headers."""
        headers, parent = exchange.headers, context.get_current()
        # Most calls of a process that nothing else traces are made in an empty context: nothing to ask then.
        if not parent or not trace.get_current_span(parent).get_span_context().is_valid:
            found = self._extract(headers)
            if found is not None:
                parent = found
            elif settings.is_configured and self._chance.random() * 100.0 >= settings.sampling:
                if settings.propagates:
                    self._say_unsampled(headers)
                return
        request = exchange.request
        url = f"{request.scheme}://{request.authority}{request.path_only}"
        name, tags = request.method, None
        if self._starts.are_looked_at():
            name = f"{request.method} {request.authority}"
            tags = first_tags(request)
            tags["url.full"] = url
        span = self._tracer.start_span(name, context=parent, kind=SpanKind.CLIENT, attributes=tags)
        if settings.propagates:
            self._say_sampled(headers, span, parent)
        if span.is_recording():
            exchange.trace = Recorded(self._tags, span, url)

    # -- requests served -----------------------------------------------------------------------------------

    def arrive(self, served: Served, settings: Tracing) -> None:
        """Start the span of a served request; what the application does is below it."""
        head = served.head
        parent = context.get_current()
        # Below another instrumentation of the server it is part of that one's request.
        is_nested = bool(parent) and trace.get_current_span(parent).get_span_context().is_valid
        found = None if is_nested else self._extract(head.headers)
        if found is not None:
            parent = found
        elif not is_nested and settings.is_configured and self._chance.random() * 100.0 >= settings.sampling:
            _enter(served, trace.set_span_in_context(_unsampled(self._chance)))
            return
        name, tags = head.method, None
        if self._starts.are_looked_at():
            name = writable(f"{head.method} {head.authority}")
            tags = first_tags(head)
            tags["url.scheme"], tags["url.path"] = head.scheme, writable(head.path_only)
        kind = SpanKind.INTERNAL if is_nested else SpanKind.SERVER
        span = self._tracer.start_span(name, context=parent, kind=kind, attributes=tags)
        _enter(served, trace.set_span_in_context(span, parent))
        if span.is_recording():
            served.span = Recorded(self._tags, span, f"{head.scheme}://{head.authority}{head.path_only}")


def _enter(served: Served, below: Context) -> None:
    """What the application does is below this context, until the request is answered."""
    served.leave = partial(context.detach, context.attach(below))


def _unsampled(chance: Chance) -> Span:
    """A context that says: not sampled; so that all that follows is not either."""
    identity = SpanContext(
        trace_id=chance.getrandbits(128) or 1,
        span_id=chance.getrandbits(64) or 1,
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.DEFAULT),
    )
    return NonRecordingSpan(identity)
