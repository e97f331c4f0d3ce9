"""ClientPolicies for the virtual hosts of a workload.

A policy holds for the hosts it names, as a VirtualService would name them. Of several,
one of the workload's own namespace wins, then the one with the narrowest host, then
the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshlib._compile.hosts import covers, resolve
from meshlib._compile.index import Index
from meshlib._snapshot.client_policy import BreakerRules, ClientPolicy, Fallback, HedgeRules
from meshlib._snapshot.routes import RouteTable, VirtualHost
from meshlib.model import client_policy as model

__all__ = ["ClientPolicies"]

FAILED: Final = frozenset((502, 503, 504))
_UNKNOWN: Final = frozenset(("allow_any", "allow_any_dynamic_dns", "block_all"))
"""What takes all that has no host: hosts that have nothing in common, a breaker least of all."""


class ClientPolicies:
    """The policies of a configuration, compiled."""

    def __init__(self, index: Index) -> None:
        self._policies = [
            (
                entry.meta.namespace,
                tuple(resolve(host, entry.meta.namespace).lower() for host in entry.spec.hosts),
                compile_policy(entry.spec, f"ClientPolicy {entry.meta.namespace}/{entry.meta.name}"),
            )
            for entry in index.of("ClientPolicy", model.ClientPolicySpec)
        ]

    def of(self, tables: Iterable[RouteTable], namespace: str) -> dict[str, ClientPolicy]:
        """The policy of each virtual host that has one, by its name."""
        if not self._policies:
            return {}
        found = {}
        for table in tables:
            hosts = [*table.exact.values(), *table.suffixes.values()]
            if table.catch_all is not None and table.catch_all.name not in _UNKNOWN:
                hosts.append(table.catch_all)  # that of a VirtualService for "*"
            for host in hosts:
                policy = self._select(host, namespace)
                if policy is not None:
                    found[host.name] = policy
        return found

    def _select(self, host: VirtualHost, namespace: str) -> ClientPolicy | None:
        best: tuple[bool, int] | None = None
        chosen = None
        for owner, patterns, policy in self._policies:
            fits = [len(one) for one in patterns if any(covers(one, domain) for domain in host.domains)]
            rank = (owner == namespace, max(fits, default=0))
            if fits and (best is None or rank > best):
                best, chosen = rank, policy
        return chosen


def compile_policy(spec: model.ClientPolicySpec, origin: str) -> ClientPolicy:
    """A policy with its defaults filled in."""
    deadline = spec.deadline
    return ClientPolicy(
        origin=origin,
        breaker=None if spec.circuit_breaker is None else breaker(spec.circuit_breaker),
        fallback=None if spec.fallback is None else fallback(spec.fallback),
        last_good=last_good(spec.fallback),
        failed=(frozenset(spec.fallback.statuses) if spec.fallback is not None else frozenset()) or FAILED,
        hedging=None if spec.hedging is None else hedging(spec.hedging),
        replays_safely=spec.retry_safety == "idempotent",
        faults_under_retries=bool(spec.faults_under_retries),
        keeps_deadline=deadline is not None and deadline.propagate is not False,
        default_deadline=None if deadline is None or deadline.default is None else float(deadline.default),
    )


def breaker(settings: model.CircuitBreaker) -> BreakerRules:
    """When calls are refused."""
    return BreakerRules(
        failure_ratio=None if settings.failure_rate is None else settings.failure_rate / 100.0,
        slow_ratio=None if settings.slow_call_rate is None else settings.slow_call_rate / 100.0,
        slow_seconds=float("inf") if settings.slow_call_duration is None else float(settings.slow_call_duration),
        consecutive=settings.consecutive_failures or 0,
        window=None if settings.window is None else float(settings.window),
        minimum_calls=20 if settings.minimum_calls is None else settings.minimum_calls,
        open_for=30.0 if settings.open_for is None else float(settings.open_for),
    )


def fallback(settings: model.Fallback) -> Fallback | None:
    """The answer to give; None where only ``lastGood`` is written."""
    if settings.response is None:
        return None
    body = (settings.response.body or "").encode()
    headers = {name.lower(): value for name, value in settings.response.headers.items()}
    if body:
        headers.setdefault("content-type", "text/plain")
        headers["content-length"] = str(len(body))
    return Fallback(
        status=settings.response.status or 200,
        body=body,
        headers=tuple(headers.items()),
    )


def last_good(settings: model.Fallback | None) -> float | None:
    """How old a result or a response may be to be given again."""
    if settings is None or settings.last_good is None:
        return None
    return float(settings.last_good.max_age)


def hedging(settings: model.Hedging) -> HedgeRules:
    """When a second attempt is sent."""
    return HedgeRules(
        delay=None if settings.delay is None else float(settings.delay),
        quantile=settings.quantile,
        ratio=0.05 if settings.budget is None else float(settings.budget.value or 0.0) / 100.0,
        elsewhere=settings.other_endpoint is not False,
    )
