"""What stands before a simulated upstream: the sidecar's part, by the policies of the upstream's own workload."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from meshlib._authorize import Answer as AuthorizerAnswer
from meshlib._authorize import authorize
from meshlib._engine.decisions import Decision
from meshlib._engine.inbound import Authenticate
from meshlib._engine.jwt import Authenticated, TokenCache, Unauthorized, authenticate
from meshlib._http import Failure, FailureKind, Headers, RequestHead
from meshlib._snapshot.authentication import Authentication
from meshlib._snapshot.inbound import InboundRequest, parse_address
from meshlib._snapshot.security import NO_SECURITY, Security
from meshlib.events import RequestServed
from meshlib.testing.messages import CALLER
from meshlib.testing.transport import Answer

if TYPE_CHECKING:
    from meshlib.model.resource import Resource
    from meshlib.testing.clock import VirtualClock
    from meshlib.testing.messages import UpstreamRequest
    from meshlib.testing.service import Service
    from meshlib.testing.tokens import Keys
    from meshlib.testing.upstreams import Site

__all__ = ["Guards", "Passed"]

_CALLER: Final = parse_address(CALLER)
_KINDS: Final = frozenset(("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"))


class Passed:
    """A request that was let in; its end is still to be reported."""

    __slots__ = ("decision", "peer", "request", "service", "started")

    def __init__(
        self, service: Service, decision: Decision, request: UpstreamRequest, peer: str, started: float
    ) -> None:
        self.service = service
        self.decision = decision
        self.request = request
        self.peer = peer
        self.started = started

    def report(self, status: int) -> None:
        """It was answered."""
        published, decision, request = self.service.runtime.published, self.decision, self.request
        published.notify(
            RequestServed(
                method=request.method,
                host=request.host,
                path=request.path.partition("?")[0],
                status=status,
                duration=published.clock.monotonic() - self.started,
                decision="allow" if decision.allowed else "deny",
                policy=decision.policy,
                rule="" if decision.rule is None else str(decision.rule),
                reason=decision.reason,
                details=decision.details,
                principal=self.peer.removeprefix("spiffe://"),
                request_principal=decision.request_principal,
                protocol="http",
                is_mtls=bool(self.peer),
            )
        )


class Guards:
    """Decides about the requests that arrive, with the engine. ``has_rules``: whether there is anything to decide."""

    def __init__(self, clock: VirtualClock, keys: Keys, served_by: Callable[[Site], Service], *, enforce: bool) -> None:
        self._clock = clock
        self._keys = keys
        self._served_by = served_by
        self._enforce = enforce
        self._tokens = TokenCache()
        self.has_rules = False
        self.authorizer: AuthorizerAnswer = "allow"

    def reset(self, resources: Iterable[Resource]) -> None:
        """Other resources are in force."""
        self.has_rules = self._enforce and any(one.kind in _KINDS for one in resources)

    def decide(self, security: Security, inbound: InboundRequest, *, is_verified: bool = False) -> Decision:
        """Decide about a request; ``is_verified``: its claims are given, there is no token to check."""
        head, transport = inbound.head, "mtls" if inbound.peer else "plaintext"
        check = None if is_verified else self._check(security)
        decision = authorize(security, inbound, authenticate=check, answer=self.authorizer, transport=transport)
        readings = [self._keys.hurry(origin) for origin in decision.wanted]
        if not any(readings):
            return decision
        inbound.head = head  # as it came, before its path was normalized
        return authorize(security, inbound, authenticate=check, answer=self.authorizer, transport=transport)

    def _check(self, security: Security) -> Authenticate | None:
        """What checks tokens now, with the keys of the simulation's issuer."""
        rules = security.authentication
        if rules is None:
            return None
        return partial(_authenticate, rules, self._keys, self._clock, self._tokens)

    def pass_through(self, site: Site, request: UpstreamRequest, peer: str) -> Passed | Answer | Failure:
        """Let a request in, or answer in place of the upstream."""
        service = self._served_by(site)
        security = service.runtime.published.snapshot.security
        started = self._clock.monotonic()
        if security is NO_SECURITY:
            return Passed(service, Decision(allowed=True), request, peer, started)
        head = RequestHead(request.method, "http", request.host, request.path, request.headers, port=site.port)
        inbound = InboundRequest(
            head, port=site.port, peer=peer, destination=parse_address(site.address), source=_CALLER, remote=_CALLER
        )
        decision = self.decide(security, inbound)
        passed = Passed(service, decision, request, inbound.peer, started)
        if decision.allowed:
            _apply(decision, request)
            return passed
        passed.report(0 if decision.is_closed else decision.status)
        if decision.is_closed:
            return Failure(FailureKind.TERMINATION, sent=True, detail=decision.reason)
        return Answer(status=decision.status, headers=decision.headers, body=decision.body)


def _authenticate(
    rules: Authentication, keys: Keys, clock: VirtualClock, tokens: TokenCache, head: RequestHead
) -> Authenticated | Unauthorized:
    return authenticate(rules, head, keys, clock.time(), tokens)


def _apply(decision: Decision, request: UpstreamRequest) -> None:
    """The request as the policies hand it on."""
    if decision.path is not None:
        request.path = decision.path
    if decision.remove_headers or decision.set_headers:
        request.headers = Headers(request.headers)
        for name in decision.remove_headers:
            request.headers.popall(name, None)
        for name, value in decision.set_headers:
            request.headers[name] = value
