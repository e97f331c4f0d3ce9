"""Retries that the header operations of a route ask for.

Envoy's router reads ``x-envoy-retry-on`` and its kin when the operations of the route have been
done, takes them off, and adds them to the route's policy (observed on Envoy 1.40). What a client
sends under these names never gets so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from meshlib._snapshot.routes import HeaderOps, HeaderValue, RetryPolicy, WeightedDestination

__all__ = ["asked_by_headers", "without_retry_headers"]

_ON: Final = "x-envoy-retry-on"
_GRPC_ON: Final = "x-envoy-retry-grpc-on"
_MOST: Final = "x-envoy-max-retries"
_CODES: Final = "x-envoy-retriable-status-codes"
_NAMES: Final = frozenset((_ON, _GRPC_ON, _MOST, _CODES))
_CONDITIONS: Final = frozenset(
    (
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
    )
)
_GRPC_CONDITIONS: Final = frozenset(("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"))
_DIGITS: Final = 20
_ALONE: Final = RetryPolicy(attempts=1, conditions=frozenset(), avoid_previous_hosts=False)
"""Envoy's own, where the route has none."""


def asked_by_headers(retry: RetryPolicy | None, targets: Sequence[WeightedDestination]) -> RetryPolicy | None:
    """The policy with what the operations ask for; of several targets, what those of the first ask for."""
    asked = _asked(targets[0].request_levels)
    if not asked:
        return retry
    wanted = _CONDITIONS & _items(asked.get(_ON, ())) | _GRPC_CONDITIONS & _items(asked.get(_GRPC_ON, ()))
    if retry is None and not (_ON in asked or _GRPC_ON in asked):
        return None
    retry = retry or _ALONE
    conditions = retry.conditions | wanted
    codes = frozenset(code for item in _items(asked.get(_CODES, ())) if (code := _number(item)) is not None)
    if "retriable-status-codes" not in conditions:
        codes = frozenset()
    most = _number(",".join(asked.get(_MOST, ()))) if conditions else None
    attempts = retry.attempts if most is None else most
    return msgspec.structs.replace(
        retry, conditions=conditions, status_codes=retry.status_codes | codes, attempts=attempts
    )


def without_retry_headers(targets: Iterable[WeightedDestination]) -> tuple[WeightedDestination, ...]:
    """The targets without the operations that were read: the upstream sees none of these fields."""
    return tuple(
        msgspec.structs.replace(target, request_levels=tuple(map(_without, target.request_levels)))
        if _asked(target.request_levels)
        else target
        for target in targets
    )


def _asked(levels: Iterable[HeaderOps]) -> dict[str, tuple[str, ...]]:
    """The constant values that the fields would have."""
    found: dict[str, tuple[str, ...]] = {}
    for level in levels:
        for name, value in level.set:
            if name in _NAMES and _is_constant(value):
                found[name] = (str(value.parts[0]),)
        for name, value in level.add:
            if name in _NAMES and _is_constant(value):
                found[name] = (*found.get(name, ()), str(value.parts[0]))
    return found


def _is_constant(value: HeaderValue) -> bool:
    return len(value.parts) == 1 and isinstance(value.parts[0], str)


def _without(level: HeaderOps) -> HeaderOps:
    def kept(fields: tuple[tuple[str, HeaderValue], ...]) -> tuple[tuple[str, HeaderValue], ...]:
        return tuple((name, value) for name, value in fields if name not in _NAMES or not _is_constant(value))

    return HeaderOps(level.remove, kept(level.set), kept(level.add))


def _number(text: str) -> int | None:
    """A number of 32 bits; None: it is none."""
    found = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
    return found if found is not None and found < 2**32 else None


def _items(values: Iterable[str]) -> frozenset[str]:
    return frozenset(item.strip() for value in values for item in value.split(","))
