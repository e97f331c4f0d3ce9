"""Authentication of requests by JSON web tokens: what RequestAuthentication asks for (semantics 6.2).

A request passes if some rule verifies it: the rule finds tokens at its locations, and
every one of them is good. It also passes, as nobody, if no rule finds a token at all.
Everything else is refused as Envoy refuses it. A signature is checked once: a bounded
cache remembers tokens by digest and by the keys that verified them; times are looked at every time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

from meshlib._engine.claim_texts import claim_text
from meshlib._engine.jwt_keys import KeySet
from meshlib._engine.jwt_locations import Found, find_tokens, without_param
from meshlib._engine.jwt_parts import Token, TokenError
from meshlib._engine.recent import Recent
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.authentication import Authentication, KeyOrigin, TokenRule, plain_audience

__all__ = ["Authenticated", "KeySource", "TokenCache", "Unauthorized", "authenticate"]

Name: TypeAlias = tuple[bytes, int]
"""What a token is remembered by: its digest, and the :class:`KeySet` (its ``generation``) that has verified it."""

SKEW: Final = 60.0
"""Seconds by which clocks may differ, both ways."""
_REMEMBERED: Final = 4096
_REALM_PATH: Final = 256
_UNKNOWN_ISSUER: Final = "Jwt issuer is not configured"
_NO_KEY: Final = "Jwks doesn't have key to match kid or alg from Jwt"
_NOT_READ: Final = "Jwks remote fetch is failed"


class KeySource(Protocol):
    """Hands out the keys that are known now; never waits."""

    def find(self, origin: KeyOrigin) -> KeySet | None:
        """The keys of an origin; None if there are none (yet)."""
        ...


class TokenCache(Recent[Name, Token]):
    """Tokens whose signature was verified. Bounded; what was not shown for long goes first."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_REMEMBERED)

    def __repr__(self) -> str:
        return f"<TokenCache tokens={len(self)}>"


class Authenticated(msgspec.Struct, kw_only=True):
    """A request that may go on. Without a token (``has_token`` false) it comes from nobody.

    The application gets the request without ``remove_headers``, then with ``set_headers``,
    and with ``path`` if a parameter that carried the token was taken out of it (else None).
    The same is said from ``since`` until ``until`` (Unix time, both included) as long as the
    keys are the same.
    """

    has_token: bool
    claims: Mapping[str, Any]
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    path: str | None = None
    since: float = -math.inf
    until: float = math.inf
    is_valid: Literal[True] = True

    def __repr__(self) -> str:  # claims are not for logs
        return f"<Authenticated has_token={self.has_token}>"


class Unauthorized(msgspec.Struct, kw_only=True):
    """The answer to a request with a token that is not accepted.

    ``wanted`` is where the keys come from that would have been needed and are not known:
    reading them anew may change the answer.
    """

    status: int
    body: str
    headers: tuple[tuple[str, str], ...]
    reason: str
    wanted: tuple[KeyOrigin, ...] = ()
    is_valid: Literal[False] = False

    def __repr__(self) -> str:  # the challenge repeats the path, and with it a token in the query
        return f"<Unauthorized {self.status} {self.reason!r}>"


def authenticate(
    authentication: Authentication, head: RequestHead, keys: KeySource, now: float, cache: TokenCache
) -> Authenticated | Unauthorized:
    """Check the tokens of a request. ``now`` is Unix time in seconds.

    Of several tokens Envoy looks at the last one first; the claims are those of the first.
    """
    if head.method == "OPTIONS" and _is_preflight(head):
        return Authenticated(has_token=False, claims={}, remove_headers=authentication.output_headers)
    failures: list[tuple[TokenRule, TokenError]] = []
    for rule in authentication.rules:
        found = find_tokens(rule, head)
        if not found:
            continue
        try:
            tokens = [_verified(one.text, rule, keys, now, cache) for one in reversed(found)]
        except TokenError as error:
            if len(found) > 1 and len(authentication.rules) > 1:
                return _in_steps(authentication, head, keys, now, cache)
            failures.append((rule, error))
            continue
        accepted = _accepted(authentication, rule, found, tokens, head)
        if failures and any(error.body != _UNKNOWN_ISSUER for _, error in failures):
            accepted.since, accepted.until = math.inf, -math.inf  # that rule may yet come to accept its token
        return accepted
    if failures:
        return _refused([*failures, failures[0]], head)
    return Authenticated(has_token=False, claims={}, remove_headers=authentication.output_headers)


def _in_steps(
    authentication: Authentication, head: RequestHead, keys: KeySource, now: float, cache: TokenCache
) -> Authenticated | Unauthorized:
    """The rules one after the other as Envoy goes through them, where one has found several tokens, but not all good.

    What a good token does is not undone when another one of the same rule is refused: its claims stand, and, unless
    it is passed on, the rules after it do not find it any more. They find the headers that are made of it, though,
    where they look for tokens. One rule must accept all it finds; else
    all of them are gone through once more, and each must accept or find nothing (observed on Envoy 1.40).
    """
    rules = authentication.written or authentication.rules
    steps = _Steps(authentication, head, keys, now, cache)
    failures: list[tuple[TokenRule, TokenError]] = []
    for rule in rules:
        try:
            if steps.take(rule):
                return steps.accepted(authentication)
        except TokenError as error:
            failures.append((rule, error))
    for rule in rules:
        try:
            steps.take(rule)
        except TokenError as error:
            return _refused([*failures, (rule, error)], head)
    return steps.accepted(authentication)


class _Steps:
    """A request that loses its tokens while rules accept them. ``head`` is what is left of what came."""

    def __init__(
        self, authentication: Authentication, head: RequestHead, keys: KeySource, now: float, cache: TokenCache
    ) -> None:
        headers = Headers(head.headers)
        for name in authentication.output_headers:
            headers.popall(name, None)
        self.head = _with_headers(head, headers)
        self._known = keys, now, cache
        self._claims: Mapping[str, Any] | None = None
        self._outputs: list[tuple[str, str]] = []
        self._removed: list[str] = []
        self._path: str | None = None

    def take(self, rule: TokenRule) -> bool:
        """Accept the tokens of a rule; whether it has found any. Raises :class:`TokenError`."""
        own = {rule.payload_header, *(header for header, _ in rule.claim_headers)}
        self._outputs = [pair for pair in self._outputs if pair[0] not in own]
        found = find_tokens(rule, self._seen())
        for one in reversed(found):
            token = _verified(one.text, rule, *self._known)
            self._claims = _claims_of(rule, token)
            self._outputs += _outputs(rule, [token])
            if not rule.forwards_token:
                self._take_out(one)
        return bool(found)

    def _seen(self) -> RequestHead:
        headers = Headers(self.head.headers)
        for name, value in self._outputs:
            headers.add(name, value)
        return _with_headers(self.head, headers)

    def _take_out(self, one: Found) -> None:
        headers = Headers(self.head.headers)
        if one.header:
            self._removed.append(one.header)
            self._outputs = [pair for pair in self._outputs if pair[0] != one.header]
            headers.popall(one.header, None)
        if one.param:
            self._path = without_param(self.head.path, one.param)
        self.head = _with_headers(self.head, headers, self._path)

    def accepted(self, authentication: Authentication) -> Authenticated:
        """What is said of all that were accepted; that is not to be remembered."""
        outputs: dict[str, list[str]] = {}
        for name, value in self._outputs:
            outputs.setdefault(name, []).append(value)
        return Authenticated(
            has_token=self._claims is not None,
            claims=self._claims or {},
            set_headers=tuple((name, ",".join(values)) for name, values in outputs.items()),
            remove_headers=tuple(dict.fromkeys((*authentication.output_headers, *self._removed))),
            path=self._path,
            since=math.inf,
            until=-math.inf,
        )


def _with_headers(head: RequestHead, headers: Headers, path: str | None = None) -> RequestHead:
    path = head.path if path is None else path
    return head.changed(path, headers)


def _is_preflight(head: RequestHead) -> bool:
    """CORS preflights carry no token, and are let through to be answered."""
    return head.method == "OPTIONS" and bool(head.value("origin")) and bool(head.value("access-control-request-method"))


def _verified(text: str, rule: TokenRule, keys: KeySource, now: float, cache: TokenCache) -> Token:
    """The token, if it is good for the rule. The checks come in Envoy's order (authenticator.cc)."""
    known = keys.find(rule.keys)
    digest = blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()  # the token itself is a secret
    remembered = None if known is None else cache.get((digest, known.generation))
    token = Token(text) if remembered is None else remembered
    if rule.issuer and token.issuer != rule.issuer:
        raise TokenError(_UNKNOWN_ISSUER)
    if token.not_before is not None and now < token.not_before - SKEW:
        raise TokenError("Jwt not yet valid")
    if token.expires is not None and now > token.expires + SKEW:
        raise TokenError("Jwt is expired")
    if rule.audiences and rule.audiences.isdisjoint(map(plain_audience, token.audiences)):
        raise TokenError("Audiences in Jwt are not allowed", status=403)
    if known is None:
        raise TokenError(_NOT_READ)
    if remembered is None:
        known.verify(token)
        cache.keep((digest, known.generation), token)
    return token


def _accepted(
    authentication: Authentication, rule: TokenRule, found: list[Found], tokens: list[Token], head: RequestHead
) -> Authenticated:
    """What is said of verified tokens, which come in the other order than they were ``found``."""
    removed, path = authentication.output_headers, None
    if not rule.forwards_token:
        headers = [one.header for one in reversed(found) if one.header]
        removed = tuple(dict.fromkeys((*removed, *headers)))
        for one in found:
            if one.param:
                path = without_param(head.path if path is None else path, one.param)
    claims = _claims_of(rule, tokens[-1])
    accepted = Authenticated(has_token=True, claims=claims, remove_headers=removed, path=path)
    if rule.payload_header or rule.claim_headers:
        accepted.set_headers = _outputs(rule, tokens)
    for token in tokens:
        if token.not_before is not None:
            accepted.since = max(accepted.since, token.not_before - SKEW)
        if token.expires is not None:
            accepted.until = min(accepted.until, token.expires + SKEW)
    return accepted


def _claims_of(rule: TokenRule, token: Token) -> Mapping[str, Any]:
    claims = token.claims
    for name in rule.split_claims:
        words = claims.get(name)
        if type(words) is str:  # Istio reads it as a list
            claims = {**claims, name: words.split(" ")}
    return claims


def _outputs(rule: TokenRule, tokens: list[Token]) -> tuple[tuple[str, str], ...]:
    """What the headers for the application hold; several values of one, as of several tokens, in one."""
    outputs: dict[str, list[str]] = {}
    for token in tokens:
        if rule.payload_header:
            outputs.setdefault(rule.payload_header, []).append(token.payload)
        for header, claim in rule.claim_headers:
            value = claim_text(_claim(token.claims, claim))
            if value:
                outputs.setdefault(header, []).append(value)
    return tuple((header, ",".join(values)) for header, values in outputs.items())


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by the path that the dots in its name make; Envoy knows no other one (observed on Envoy 1.39)."""
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _refused(failures: list[tuple[TokenRule, TokenError]], head: RequestHead) -> Unauthorized:
    """The answer, that of the last failure of a token of the rule's issuer, if there is one.

    So it comes from the requirements that Istio makes of rules (``requires_any``, with
    ``requires_all`` as the last alternative, which fails as the first of its rules), in the order that verifier.cc has.
    """
    known = [one for one in failures if one[1].body != _UNKNOWN_ISSUER]
    rule, error = known[-1] if known else failures[0]
    path = head.path[:_REALM_PATH]
    challenge = f'Bearer realm="{head.scheme}://{head.authority}{path}", error="invalid_token"'
    wanted = (one.keys for one, failure in failures if failure.body in (_NO_KEY, _NOT_READ))
    return Unauthorized(
        status=error.status,
        body=error.body,
        headers=(("www-authenticate", challenge), ("content-type", "text/plain")),
        reason=f"the token is not accepted for issuer {rule.issuer or 'any'!r}: {error.body}",
        wanted=tuple(dict.fromkeys(wanted)),
    )
