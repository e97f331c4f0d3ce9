"""One inbound request, from the connection to the verdict: peer, path, authorizer, token, policies.

Sans-IO, written once: :func:`inspect` is a generator. It yields what must be asked
outside (an authorizer), takes the answer, and returns a :class:`Decision`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Final, TypeAlias

from meshlib._engine.authz import AskAuthorizer, AuthorizerReply, consult, decide, find_rule
from meshlib._engine.decisions import Decision
from meshlib._engine.jwt import Authenticated, Unauthorized
from meshlib._engine.path_normalization import BadPathError, normalize_path
from meshlib._http import Headers, HeadersView, RequestHead
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.security import Security

__all__ = ["Authenticate", "Inspection", "decide_alone", "inspect", "trusts_peer"]

_NEVER: Final = (math.inf, -math.inf)
_ALWAYS: Final = (-math.inf, math.inf)


Authenticate: TypeAlias = Callable[[RequestHead], Authenticated | Unauthorized]
"""Checks the tokens of a request."""

Inspection: TypeAlias = Generator[AskAuthorizer, AuthorizerReply, Decision]


def trusts_peer(security: Security, peer: str) -> bool:
    """Whether a verified SPIFFE id is of a trust domain that may connect (semantics 6.5).

    As in Istio it must begin with the domain and a slash.
    """
    domain, slash, _ = peer.removeprefix("spiffe://").partition("/")
    return not security.trust_domains or (bool(slash) and domain in security.trust_domains)


def inspect(
    security: Security, request: InboundRequest, authenticate: Authenticate | None, *, checks_peer: bool = True
) -> Inspection:
    """Decide about a request. ``authenticate`` None: its claims are what it has already.

    ``checks_peer`` false leaves the connection out: where nothing says how the request came.
    """
    path = _prepare(security, request, checks_peer=checks_peer)
    if isinstance(path, Decision):
        return path
    found = find_rule(security.custom, request) if security.custom else None
    if found is None:
        return _decide_locally(security, request, authenticate, path, None)
    answer = yield from consult(security, request, found)
    if isinstance(answer, Decision):
        return _complete(answer, request, path, None, None)
    if answer is not None and answer.headers:
        # Tokens and policies see what the authorizer says, such as a token it made of a cookie.
        request.head = _changed(request.head, headers=answer.headers)
    decision = _decide_locally(security, request, authenticate, path, answer)
    decision.since, decision.until = _NEVER  # the authorizer may answer otherwise at any time
    if security.authorizer is not None and request.is_http:
        said = "could not be asked, which failOpen forgives" if answer is None else "said yes"
        decision.reason = f"the authorizer {security.authorizer.name!r} {said}; {decision.reason}"
    return decision


def decide_alone(
    security: Security, request: InboundRequest, authenticate: Authenticate | None, *, checks_peer: bool = True
) -> Decision:
    """As :func:`inspect`, where no CUSTOM policy can have anybody asked."""
    path = _prepare(security, request, checks_peer=checks_peer)
    if isinstance(path, Decision):
        return path
    return _decide_locally(security, request, authenticate, path, None)


def _prepare(security: Security, request: InboundRequest, *, checks_peer: bool) -> Decision | str | None:
    """Look at the connection and normalize the path: the refusal, or the path if it is another one now."""
    if checks_peer and (request.peer or security.mode_of(request.port) != "PERMISSIVE"):
        refusal = _refuse_peer(security, request)
        if refusal is not None:
            return refusal
    if request.is_http:
        head = request.head
        try:
            normalized = normalize_path(head.path, security.normalization)
        except BadPathError:
            return Decision(
                allowed=False, status=400, reason="the path is not valid", details="path_normalization_failed"
            )
        if normalized != head.path:
            request.head = _changed(head, path=normalized)
            return normalized
    return None


def _decide_locally(
    security: Security,
    request: InboundRequest,
    authenticate: Authenticate | None,
    path: str | None,
    reply: AuthorizerReply | None,
) -> Decision:
    """What is left once nobody else has to be asked: the token and our own policies."""
    token: Authenticated | None = None
    if authenticate is not None and security.authentication is not None and request.is_http:
        answer = authenticate(request.head)
        if isinstance(answer, Unauthorized):
            return _unauthorized(answer)
        token = answer
        request.claims = token.claims if token.has_token else None
        if token.path is not None:
            path = token.path
            request.head = _changed(request.head, path=path)  # policies may look at the query, too
        if security.read_headers:
            request.head = _after_token(request.head, token, security.read_headers)
    return _complete(decide(security, request), request, path, token, reply)


def _after_token(head: RequestHead, token: Authenticated, names: frozenset[str]) -> RequestHead:
    """The request as policies see it that look at these headers.

    Envoy's jwt_authn comes before its rbac: what clients say in a header for claims is
    gone by then, and what the token says stands there; a token that is not passed on is
    gone too (observed on Envoy 1.39).
    """
    headers = head.headers
    removed = [name for name in token.remove_headers if name in names and name in headers]
    given = [(name, value) for name, value in token.set_headers if name in names]
    if not removed and not given:
        return head
    fields = Headers(headers)
    for name in removed:
        fields.popall(name, None)
    for name, value in given:
        fields[name] = value
    return _with_headers(head, fields, head.path)


def _refuse_peer(security: Security, request: InboundRequest) -> Decision | None:
    """What Istio does before there is HTTP: it closes the connection."""
    mode = security.mode_of(request.port)
    if mode == "DISABLE":
        request.peer = ""  # whatever was shown, mutual TLS is off at this port
        return None
    if not request.peer:
        if mode == "PERMISSIVE":
            return None
        reason = "PeerAuthentication is STRICT, and the client did not come with mutual TLS"
    elif trusts_peer(security, request.peer):
        return None
    else:
        reason = f"the peer {request.peer} is of another trust domain"
    return Decision(
        allowed=False,
        status=403,
        body=b"mutual TLS required",
        reason=reason,
        details="peer_authentication",
        is_closed=True,
    )


def _unauthorized(answer: Unauthorized) -> Decision:
    return Decision(
        allowed=False,
        status=answer.status,
        body=answer.body.encode(),
        headers=answer.headers,
        reason=answer.reason,
        details=f"jwt_authn_access_denied{{{answer.body.replace(' ', '_')}}}",
        wanted=answer.wanted,
    )


def _changed(
    head: RequestHead, *, path: str | None = None, headers: tuple[tuple[str, str], ...] | None = None
) -> RequestHead:
    fields = head.headers
    if headers is not None:
        fields = Headers(fields)
        for name, value in headers:
            fields[name] = value
    return _with_headers(head, fields, head.path if path is None else path)


def _with_headers(head: RequestHead, fields: HeadersView, path: str) -> RequestHead:
    changed = head.changed(path, fields)
    changed.claims = head.claims
    return changed


def _complete(
    decision: Decision,
    request: InboundRequest,
    path: str | None,
    token: Authenticated | None,
    reply: AuthorizerReply | None,
) -> Decision:
    """What was decided, with what follows from it for the request."""
    claims = request.claims
    if claims:
        decision.claims = claims
        issuer, subject = claims.get("iss"), claims.get("sub")
        if issuer and subject:
            decision.request_principal = f"{issuer}/{subject}"
    if not request.is_http:
        decision.status, decision.is_closed = 0, not decision.allowed
    elif decision.allowed:
        decision.path = path
        if token is None:
            decision.since, decision.until = _ALWAYS
        else:
            decision.since, decision.until = token.since, token.until
            decision.remove_headers, decision.set_headers = token.remove_headers, token.set_headers
        if reply is not None:
            removed = decision.remove_headers
            given = tuple(pair for pair in reply.headers if pair[0] not in removed)
            decision.set_headers = (*given, *decision.set_headers)
            decision.response_headers = reply.response_headers
    return decision
