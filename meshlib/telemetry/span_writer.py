"""Puts the name and the attributes of a span where the SDK keeps them, all at once and at its end.

The SDK looks at each attribute by itself, which is half of what a sampled span costs. The
tags of meshlib are texts and whole numbers under names of its own; there is nothing to
look at. So where a span keeps its attributes as those of the SDK 1.x do, and no limit could
cut or drop any, they are put there; else the methods of the API are asked. What is known at the
start is given at the start only if there is a sampler or a processor that looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import Span, TracerProvider
from opentelemetry.version import __version__

__all__ = ["Starts", "complete"]


def _is_known() -> bool:
    """Whether this is an OpenTelemetry whose attributes are kept as expected: tried out, not only believed."""
    kept = getattr(probe := BoundedAttributes(immutable=False), "_dict", None)
    if not __version__.startswith("1.") or type(kept) is not dict:
        return False
    kept["name"] = "value"
    has_rest = all(hasattr(probe, name) for name in ("_lock", "_immutable", "maxlen", "max_value_len"))
    return has_rest and dict(probe) == {"name": "value"}


_IS_KNOWN: Final = _is_known()


def complete(span: Span, name: str, attributes: Mapping[str, str | int]) -> None:
    """Set the name, and attributes that need no cleaning: their names are not empty, values are texts and numbers."""
    kept = getattr(span, "_attributes", None)
    if _IS_KNOWN and type(kept) is BoundedAttributes and kept.max_value_len is None and not kept._immutable:
        values, limit = kept._dict, kept.maxlen
        if limit is None or len(values) + len(attributes) <= limit:
            span._name = name  # type: ignore[attr-defined]
            with kept._lock:
                values.update(attributes)
            return
    span.update_name(name)
    span.set_attributes(attributes)


class Starts:
    """Whether anybody looks at the attributes that a span of a provider starts with.

    The samplers and processors of the SDK itself do not. Processors can be added at any
    time; everybody else's are believed to look.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider: Any = provider
        self._sampler: object = None
        self._processors: object = None
        self._are_looked_at = True

    def are_looked_at(self) -> bool:
        """As it is now."""
        provider = self._provider
        if not _IS_KNOWN:
            return True
        try:
            sampler, processors = provider.sampler, provider._active_span_processor._span_processors
        except AttributeError:  # another implementation of the API
            return True
        if sampler is not self._sampler or processors is not self._processors:
            self._sampler, self._processors = sampler, processors
            self._are_looked_at = not (_is_blind(sampler) and all(map(_is_idle_at_start, processors)))
        return self._are_looked_at


def _is_blind(sampler: object) -> bool:
    """Whether a sampler decides without attributes: by the trace's id, by the parent, or always the same."""
    from opentelemetry.sdk.trace import sampling

    if type(sampler) in (sampling.ParentBased, sampling.ParentBasedTraceIdRatio):
        return all(_is_blind(one) for one in vars(sampler).values())
    return type(sampler) in (sampling.StaticSampler, sampling.TraceIdRatioBased)


def _is_idle_at_start(processor: object) -> bool:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    idle = (SpanProcessor.on_start, BatchSpanProcessor.on_start, SimpleSpanProcessor.on_start)
    return getattr(type(processor), "on_start", None) in idle
