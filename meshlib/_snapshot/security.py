"""What protects the workload: peer modes, token rules, authorization policies. Compiled and immutable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from meshlib._snapshot.authentication import Authentication
from meshlib._snapshot.conditions import Condition, found_in
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.routes import HeaderValue, Origin
from meshlib._snapshot.rule_index import RuleIndex

__all__ = ["NO_SECURITY", "Authorizer", "Normalization", "PeerMode", "Policy", "Rule", "Security"]

PeerMode: TypeAlias = Literal["DISABLE", "PERMISSIVE", "STRICT"]
Normalization: TypeAlias = Literal["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]
Alternatives: TypeAlias = tuple[tuple[Condition, ...], ...]


class Rule(msgspec.Struct, frozen=True, gc=False):
    """Holds if one of ``sources``, one of ``operations`` and all of ``when`` hold; without any of them always."""

    index: int
    sources: Alternatives = ()
    operations: Alternatives = ()
    when: tuple[Condition, ...] = ()

    def matches(self, request: InboundRequest) -> bool:
        """Whether the rule is about the request."""
        if self.operations and not _one(self.operations, request):
            return False
        if self.sources and not _one(self.sources, request):
            return False
        for condition in self.when:
            if not condition.matches(request):
                return False
        return True

    def miss(self, request: InboundRequest) -> str:
        """The first thing that did not hold, in words; empty if the rule matches."""
        for part, alternatives in (("to", self.operations), ("from", self.sources)):
            if alternatives and not _one(alternatives, request):
                failed = next(one for one in alternatives[0] if not one.matches(request))
                others = f" (nor {len(alternatives) - 1} more)" if len(alternatives) > 1 else ""
                return f"{part}: {_failed(failed, request)}{others}"
        failed_when = next((one for one in self.when if not one.matches(request)), None)
        return f"when: {_failed(failed_when, request)}" if failed_when is not None else ""

    def describe(self) -> str:
        """What the rule wants, in words."""
        parts = [
            " or ".join(" and ".join(one.describe() for one in conditions) for conditions in alternatives)
            for alternatives in (self.operations, self.sources)
            if alternatives
        ]
        return " and ".join([*parts, *(one.describe() for one in self.when)])


def _failed(condition: Condition, request: InboundRequest) -> str:
    found = found_in(request, condition)
    return f"{condition.describe()} does not hold{f', {found}' if found else ''}"


def _one(alternatives: Alternatives, request: InboundRequest) -> bool:
    for conditions in alternatives:
        for condition in conditions:
            if not condition.matches(request):
                break
        else:
            return True
    return False


class Policy(msgspec.Struct, frozen=True, gc=False):
    """One AuthorizationPolicy. ``tcp_rules`` are what is left of its rules where there is no HTTP.

    ``index`` finds the rules that a path can match; None where all are looked at.
    """

    name: str
    namespace: str
    origin: Origin
    rules: tuple[Rule, ...] = ()
    tcp_rules: tuple[Rule, ...] = ()
    lines: tuple[int, ...] = ()
    index: RuleIndex | None = None

    def find(self, request: InboundRequest) -> Rule | None:
        """The first rule that matches."""
        if self.index is not None and request.is_http:
            left = self.index.candidates(request.head.path_only)
            while left:
                lowest = left & -left
                rule = self.rules[lowest.bit_length() - 1]
                if rule.matches(request):
                    return rule
                left ^= lowest
            return None
        for rule in self.rules if request.is_http else self.tcp_rules:
            if rule.matches(request):
                return rule
        return None


class Authorizer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An external authorizer (``envoyExtAuthzHttp``), by its name in MeshConfig.

    ``is_usable`` false: this process cannot ask it (it speaks gRPC or wants TLS, or its service
    is not known), so what its policies match is denied. ``asks_connections``: it is asked
    about TCP connections too, as Istio does with gRPC. Names of headers are in lower
    case; patterns keep their ``*``. ``timeout`` in seconds. Without ``deny_headers`` all headers of a refusal
    reach the client. ``body_limit`` 0: the body is
    not sent; ``allows_partial_body``: a longer one is cut, else the request is refused.
    """

    name: str
    host: str = ""
    port: int = 0
    is_usable: bool = True
    asks_connections: bool = False
    timeout: float = 600.0
    path_prefix: str = ""
    fail_open: bool = False
    status_on_error: int = 403
    request_headers: tuple[str, ...] = ()
    added_headers: Mapping[str, HeaderValue] = msgspec.field(default_factory=dict[str, HeaderValue])
    upstream_headers: tuple[str, ...] = ()
    deny_headers: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    body_limit: int = 0
    allows_partial_body: bool = False


class Security(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything that is asked of a request to the workload, in the order in which it is asked.

    ``modes`` are the peer modes of single ports, ``mode`` that of all others.
    ``trust_domains`` are those whose peers are let in; empty: all. ``authentication``
    are the token rules. ``authorizer`` None with ``custom`` policies: their provider
    cannot be asked, for the reason in ``authorizer_problem``, so what they match is denied.
    Shadow policies are evaluated and reported, and decide nothing (``istio.io/dry-run``).
    ``read_headers`` are the headers that policies look at after the token, in lower case.
    ``underscored`` are all those with underscores that policies or token rules have, each with
    the name that servers may make of it, with dashes; empty where that has a meaning of its own.
    """

    mode: PeerMode = "PERMISSIVE"
    modes: Mapping[int, PeerMode] = msgspec.field(default_factory=dict[int, PeerMode])
    trust_domains: frozenset[str] = frozenset()
    normalization: Normalization = "BASE"
    authentication: Authentication | None = None
    authorizer: Authorizer | None = None
    authorizer_problem: str = ""
    custom: tuple[Policy, ...] = ()
    audit: tuple[Policy, ...] = ()
    deny: tuple[Policy, ...] = ()
    allow: tuple[Policy, ...] = ()
    shadow_deny: tuple[Policy, ...] = ()
    shadow_allow: tuple[Policy, ...] = ()
    read_headers: frozenset[str] = frozenset()
    underscored: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])

    def mode_of(self, port: int) -> PeerMode:
        """The peer mode of a port of the workload."""
        return self.modes.get(port, self.mode)

    def __repr__(self) -> str:
        counts = f"custom={len(self.custom)} deny={len(self.deny)} allow={len(self.allow)}"
        return f"<Security {self.mode} {counts}>"


NO_SECURITY: Final = Security()
