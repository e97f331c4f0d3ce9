"""Authorization: what the policies of the workload say of a request (semantics 6.3).

CUSTOM first, before tokens are looked at: if one of its rules matches, an external
authorizer is asked (:func:`consult`), and only its yes goes on. Then AUDIT, which only
marks; then DENY, where one match is enough; then ALLOW, where one must match if there
is any such policy. Shadow policies are answered in words and decide nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshlib._engine.decisions import Decision, DryRun
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.security import Authorizer, Policy, Rule, Security

__all__ = [
    "NOBODY",
    "AskAuthorizer",
    "AuthorizerReply",
    "Consultation",
    "Found",
    "consult",
    "decide",
    "find_rule",
]

DENIED_BODY: Final = b"RBAC: access denied"


@dataclass(slots=True)
class AskAuthorizer:
    """The driver shall ask this authorizer about the request; its answer is an :class:`AuthorizerReply`."""

    authorizer: Authorizer
    request: InboundRequest


@dataclass(slots=True, kw_only=True)
class AuthorizerReply:
    """What an authorizer answered.

    ``unavailable``: it failed or was not reached, which ``failOpen`` may forgive.
    ``unusable``: this process cannot ask it at all, which nothing forgives.

    ``headers`` go to the application after an ``allow``, to the client after a ``deny``,
    which also has ``status`` and ``body``. ``response_headers`` are added to the
    application's answer after an ``allow``. ``details`` are those of a ``deny`` that is
    not the authorizer's: it was not asked.
    """

    answer: Literal["allow", "deny", "unavailable", "unusable"]
    status: int = 403
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    response_headers: tuple[tuple[str, str], ...] = ()
    details: str = ""


Consultation: TypeAlias = Generator[AskAuthorizer, AuthorizerReply, Decision | AuthorizerReply | None]
Found: TypeAlias = tuple[Policy, Rule]

_EXPLAINED: Final = 3
NOBODY: Final = "no policy is about this workload"
_PASSED: Final = "no DENY policy matched, and there is no ALLOW policy"


def decide(security: Security, request: InboundRequest) -> Decision:
    """What the AUDIT, DENY and ALLOW policies say, and those in dry run would have said."""
    deny, allow = security.deny, security.allow
    found = find_rule(deny, request) if deny else None
    shadow_allow = security.shadow_allow
    if found is not None:
        decision = _denied(found, "a rule of a DENY policy matches")
        shadow_allow = ()  # in Envoy, who is denied by a DENY policy does not come as far as the ALLOW ones
    elif not allow:
        decision = Decision(allowed=True, reason=_PASSED if deny else NOBODY)
    elif (found := find_rule(allow, request)) is not None:
        policy, rule = found
        name = f"{policy.namespace}/{policy.name}"
        decision = Decision(allowed=True, policy=name, rule=rule.index, reason="a rule of an ALLOW policy matches")
    else:
        decision = _denied(None, _nothing_allows(allow, request))
    if security.audit and find_rule(security.audit, request) is not None:
        decision.audited = True
    if security.shadow_deny or shadow_allow:
        _shadow(security.shadow_deny, shadow_allow, request, decision)
    return decision


def find_rule(policies: tuple[Policy, ...], request: InboundRequest) -> Found | None:
    """The first policy that matches, with its first rule that does."""
    for policy in policies:
        rule = policy.find(request)
        if rule is not None:
            return policy, rule
    return None


def _denied(found: Found | None, reason: str) -> Decision:
    matched = "none" if found is None else f"ns[{found[0].namespace}]-policy[{found[0].name}]-rule[{found[1].index}]"
    return Decision(
        allowed=False,
        status=403,
        body=DENIED_BODY,
        policy="" if found is None else _name(found[0]),
        rule=None if found is None else found[1].index,
        reason=reason,
        details=f"rbac_access_denied_matched_policy[{matched}]",
    )


def _nothing_allows(allow: tuple[Policy, ...], request: InboundRequest) -> str:
    """Why no ALLOW policy matched; the first miss of the first few rules."""
    rules = [(policy, rule) for policy in allow for rule in (policy.rules if request.is_http else policy.tcp_rules)]
    if not rules:
        return f"the ALLOW policies ({', '.join(map(_name, allow))}) have no rule that can match"
    misses = [f"{_name(policy)} rule {rule.index} ({rule.miss(request)})" for policy, rule in rules[:_EXPLAINED]]
    more = f" and {len(rules) - _EXPLAINED} more" if len(rules) > _EXPLAINED else ""
    return f"no rule of an ALLOW policy matches: {'; '.join(misses)}{more}"


def _name(policy: Policy) -> str:
    return f"{policy.namespace}/{policy.name}"


def _shadow(deny: tuple[Policy, ...], allow: tuple[Policy, ...], request: InboundRequest, decision: Decision) -> None:
    """Note what the policies in dry run, by themselves, would have said (``istio.io/dry-run``)."""
    said, results = [], []
    if deny:
        found = find_rule(deny, request)
        said.append("deny: no match" if found is None else f"deny by {_name(found[0])} rule {found[1].index}")
        results.append(_dry_run("deny", found, is_denied=found is not None))
    if allow:
        found = find_rule(allow, request)
        said.append("allow: no match" if found is None else f"allow by {_name(found[0])} rule {found[1].index}")
        results.append(_dry_run("allow", found, is_denied=found is None))
    decision.shadow, decision.dry_runs = "; ".join(said), tuple(results)


def _dry_run(action: Literal["allow", "deny"], found: Found | None, *, is_denied: bool) -> DryRun:
    return DryRun(action, is_denied) if found is None else DryRun(action, is_denied, _name(found[0]), found[1].index)


# -- CUSTOM --------------------------------------------------------------------------------------------


def consult(security: Security, request: InboundRequest, found: Found) -> Consultation:
    """Ask the authorizer, since a CUSTOM policy matches. Returns the refusal, its yes, or None if it was not asked."""
    authorizer = security.authorizer
    if authorizer is None:
        problem = security.authorizer_problem or "it is not known"
        return _denied(found, f"the authorizer of a CUSTOM policy cannot be asked: {problem}")
    if not request.is_http and not authorizer.asks_connections:
        return None
    reply = yield AskAuthorizer(authorizer, request)
    if reply.answer == "allow":
        return reply
    if reply.answer == "unavailable" and authorizer.fail_open:
        return None
    if reply.answer == "unusable":
        return _denied(found, f"the authorizer {authorizer.name!r} cannot be asked by this process")
    policy, rule = found
    is_answer = reply.answer == "deny"
    said = "said no" if is_answer else "could not be asked"
    if reply.details:
        said = f"was not asked ({reply.details})"
    return Decision(
        allowed=False,
        status=reply.status if is_answer else authorizer.status_on_error,
        body=reply.body if is_answer else b"",
        headers=reply.headers if is_answer else (),
        policy=_name(policy),
        rule=rule.index,
        reason=f"the authorizer {authorizer.name!r} {said}",
        details=reply.details or ("ext_authz_denied" if is_answer else "ext_authz_error"),
    )
