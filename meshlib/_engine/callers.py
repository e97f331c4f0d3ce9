"""What a ClientPolicy puts around an exchange: deadline, breaker, fallback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from meshlib._engine.breakers import Breaker
from meshlib._engine.commands import Backoff, LocalReply, Reply, Steps
from meshlib._engine.good_responses import GoodResponses, Key, key_of
from meshlib._engine.hedges import Hedges, is_repeatable
from meshlib._engine.local_replies import local_reply
from meshlib._http import Failure, Outcome, RequestHead, Response
from meshlib._snapshot.client_policy import ClientPolicy

if TYPE_CHECKING:
    from meshlib._engine.exchange import Exchange

__all__ = ["Caller", "bind_callers", "bounded", "has_failed", "may_be_replayed", "open_reply"]


class Caller:
    """A policy with the state that belongs to it."""

    __slots__ = ("breaker", "good", "hedges", "policy")

    def __init__(
        self,
        policy: ClientPolicy,
        breaker: Breaker | None,
        hedges: Hedges | None = None,
        good: GoodResponses | None = None,
    ) -> None:
        self.policy = policy
        self.breaker = breaker
        self.hedges = hedges
        self.good = good

    def reset_after_fork(self) -> None:
        """In a forked child: new locks, and no probe on its way."""
        if self.breaker is not None:
            self.breaker.reset_lock()
        if self.hedges is not None:
            self.hedges.reset_lock()
        if self.good is not None:
            self.good.reset_lock()

    def __repr__(self) -> str:
        return f"<Caller {self.policy.origin} {self.breaker!r}>"


def bind_callers(policies: Mapping[str, ClientPolicy], before: Mapping[str, Caller]) -> dict[str, Caller]:
    """Policies with their state, by the name of the virtual host; what has rules that stay keeps what it knows."""
    bound = {}
    for name, policy in policies.items():
        known = before.get(name)
        breaker = known.breaker if known is not None else None
        if policy.breaker is None:
            breaker = None
        elif breaker is None or breaker.rules != policy.breaker:
            breaker = Breaker(policy.breaker)
        good = known.good if known is not None else None
        good = (good or GoodResponses()) if policy.last_good is not None else None
        bound[name] = Caller(policy, breaker, _bind_hedges(policy, known), good)
    return bound


def _bind_hedges(policy: ClientPolicy, known: Caller | None) -> Hedges | None:
    if policy.hedging is None:
        return None
    hedges = known.hedges if known is not None else None
    return hedges if hedges is not None and hedges.rules == policy.hedging else Hedges(policy.hedging)


def bounded(exchange: Exchange, caller: Caller) -> Steps:
    """The exchange from its filters on, under its caller's policy."""
    key = key_of(exchange.request, exchange.headers) if caller.good is not None else None
    reply: Reply | None = _out_of_time(exchange, caller.policy)
    if reply is None:
        reply = yield from _through_breaker(exchange, caller.breaker)
    if not _has_to_be_replaced(caller.policy, reply):
        return reply if key is None or caller.good is None else caller.good.taped(key, reply, exchange.published.clock)
    instead = _instead(exchange, caller, key)
    if instead is None:
        return reply
    if isinstance(reply, Response):
        yield Backoff(0.0, reply)
        exchange.drop()
    return instead


def _instead(exchange: Exchange, caller: Caller, key: Key | None) -> LocalReply | None:
    """The last good response, else the answer of the policy; None: there is neither."""
    policy = caller.policy
    if key is not None and caller.good is not None and policy.last_good is not None:
        found = caller.good.find(key, exchange.published.clock.monotonic(), policy.last_good)
        if found is not None:
            return found
    static = policy.fallback
    if static is None:
        return None
    return LocalReply(static.status, static.body, static.headers, "client_policy_fallback", refusal=False)


def _out_of_time(exchange: Exchange, policy: ClientPolicy) -> LocalReply | None:
    """Bound the exchange by the caller's deadline; a reply if that is over."""
    if not policy.keeps_deadline:
        return None
    left = policy.default_deadline
    if exchange.deadline is not None:
        left = exchange.deadline - exchange.published.clock.monotonic()
    if left is None:
        return None
    if left <= 0.0:
        return exchange.refuse(504, "deadline exceeded before the call", "client_policy_deadline", "UT")
    action = exchange.action
    if action.timeout is None or left < action.timeout:
        exchange.action = replace(action, timeout=left)
    return None


def _through_breaker(exchange: Exchange, breaker: Breaker | None) -> Steps:
    if breaker is None:
        return (yield from exchange.routed())
    clock = exchange.published.clock
    began = clock.monotonic()
    permit = breaker.enter(began)
    if permit is None:
        exchange.flag("UO")
        return open_reply(exchange.request)
    try:
        reply = yield from exchange.routed()
    except BaseException:
        breaker.give_up(permit)
        raise
    now = clock.monotonic()
    breaker.record(permit, now, failed=has_failed(reply), seconds=now - began)
    return reply


def open_reply(request: RequestHead) -> LocalReply:
    """503 of an open breaker."""
    overloaded = (("x-envoy-overloaded", "true"),)
    return local_reply(request, 503, "circuit breaker open", "client_policy_breaker_open", headers=overloaded)


def has_failed(reply: Reply) -> bool:
    """A status from 500 on, whoever gave it."""
    return reply.status >= 500


def _has_to_be_replaced(policy: ClientPolicy, reply: Reply) -> bool:
    return reply.status in policy.failed or (isinstance(reply, LocalReply) and reply.refusal)


def may_be_replayed(caller: Caller, request: RequestHead, outcome: Outcome) -> bool:
    """Whether a request may be sent again: always, but for ``retrySafety: idempotent``."""
    if not caller.policy.replays_safely or (isinstance(outcome, Failure) and not outcome.sent):
        return True
    return is_repeatable(request)
