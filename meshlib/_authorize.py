"""Decisions about described requests: what ``meshlib authorize`` and ``Mesh.authorize`` answer.

A request is a mapping in the shape of the acceptance corpus: ``{"protocol": "http" |
"tcp", "method", "scheme", "host", "path", "port", "principal", "source_ip", "remote_ip", "headers",
"token", "claims", "destination_ip", "sni", "transport": "plaintext" | "mtls"}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from meshlib._engine.authz import AuthorizerReply
from meshlib._engine.decisions import Decision
from meshlib._engine.inbound import Authenticate, inspect
from meshlib._engine.jwt import TokenCache, authenticate
from meshlib._engine.jwt_keys import KeySet, KeySetError, parse_keys
from meshlib._http import Headers, RequestHead, target_of
from meshlib._snapshot.authentication import KeyOrigin
from meshlib._snapshot.inbound import InboundRequest, parse_address
from meshlib._snapshot.security import Security

__all__ = [
    "Answer",
    "Authorization",
    "GivenKeys",
    "RequestError",
    "authorize",
    "authorize_described",
    "decision_to_json",
    "described_request",
    "inbound_from_json",
    "token_check",
]

Answer: TypeAlias = Literal["allow", "deny", "unavailable"]

_ALWAYS_SPLIT: Final = ("scope", "permission")
_TEXTS: Final = ("method", "scheme", "host", "path", "sni", "source_ip", "remote_ip", "destination_ip", "principal")


class RequestError(ValueError):
    """A description that is not one of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What would become of a request to this workload.

    ``status`` is the answer's where it is refused (0: the connection would be closed),
    with ``body``. ``policy`` is ``namespace/name`` and ``rule`` the number of the rule
    that decided, empty and None where none did; ``reason`` says why in words, for logs.
    The application would get ``path`` (None: as it came) without ``removed_headers``
    and with ``set_headers``. ``audited``: an AUDIT policy marks it; ``dry_run`` is what
    policies in dry run would have said.
    """

    allowed: bool
    status: int
    body: bytes = b""
    policy: str = ""
    rule: int | None = None
    reason: str = ""
    path: str | None = None
    set_headers: tuple[tuple[str, str], ...] = ()
    removed_headers: tuple[str, ...] = ()
    request_principal: str | None = None
    audited: bool = False
    dry_run: str | None = None

    @classmethod
    def of(cls, decision: Decision) -> Authorization:
        """The decision of the engine, in public words."""
        return cls(
            allowed=decision.allowed,
            status=decision.status,
            body=decision.body,
            policy=decision.policy,
            rule=decision.rule,
            reason=decision.reason,
            path=decision.path,
            set_headers=decision.set_headers,
            removed_headers=decision.remove_headers,
            request_principal=decision.request_principal or None,
            audited=decision.audited,
            dry_run=decision.shadow or None,
        )

    def __str__(self) -> str:
        word = "allowed" if self.allowed else f"denied ({self.status})"
        where = f" by AuthorizationPolicy {self.policy}, rule {self.rule}" if self.policy else ""
        return f"{word}{where}: {self.reason}"


class GivenKeys:
    """Keys without a network: those written in the rules, and key sets handed in by URI.

    A URI that was not handed in has no keys, as if it could not be fetched. An issuer
    without keys of its own is looked up by its discovery document's URI.
    """

    def __init__(self, sets: Mapping[str, str | bytes] | None = None) -> None:
        self._given = {uri: parse_keys(text) for uri, text in (sets or {}).items()}
        self._inline: dict[str, KeySet | None] = {}

    def find(self, origin: KeyOrigin) -> KeySet | None:
        """The keys of an origin."""
        if origin.inline:
            if origin.inline not in self._inline:
                self._inline[origin.inline] = _inline(origin.inline)
            return self._inline[origin.inline]
        return self._given.get(origin.uri or f"{origin.issuer.rstrip('/')}/.well-known/openid-configuration")


def _inline(text: str) -> KeySet | None:
    try:
        return parse_keys(text)
    except KeySetError:
        return None


def token_check(security: Security, keys: GivenKeys, now: float) -> Authenticate | None:
    """What checks tokens at Unix time ``now``; None where there are no token rules."""
    rules = security.authentication
    if rules is None:
        return None
    cache = TokenCache()
    return lambda head: authenticate(rules, head, keys, now, cache)


def inbound_from_json(described: Mapping[str, Any], *, workload_ip: str = "") -> InboundRequest:
    """The request that a mapping describes. Raises :class:`RequestError`.

    Without ``remote_ip`` the client is the direct peer; without ``destination_ip`` the
    address is ``workload_ip``. ``claims`` are those of a token that was verified before.
    """
    _check(described)
    peer = described.get("principal")
    source = described.get("source_ip") or ""
    request = InboundRequest(
        _head(described) if described.get("protocol", "http") == "http" else None,
        port=described.get("port") or 0,
        peer=f"spiffe://{peer.removeprefix('spiffe://')}" if peer else "",
        source=parse_address(source),
        remote=parse_address(described.get("remote_ip") or source),
        destination=parse_address(described.get("destination_ip") or workload_ip),
        sni=described.get("sni") or "",
    )
    claims = described.get("claims")
    if claims is not None:
        request.claims = {
            name: value.split(" ") if name in _ALWAYS_SPLIT and isinstance(value, str) else value
            for name, value in claims.items()
        }
    return request


def _check(described: Mapping[str, Any]) -> None:
    for name in _TEXTS:
        if not isinstance(described.get(name) or "", str):
            raise RequestError(f"{name!r} must be a text, not {described[name]!r}")
    for name in ("source_ip", "remote_ip", "destination_ip"):
        if described.get(name) and parse_address(described[name]) is None:
            raise RequestError(f"{name!r} must be an IP address, not {described[name]!r}")
    port = described.get("port") or 0
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise RequestError(f"'port' must be a number between 1 and 65535, not {port!r}")
    for name in ("headers", "claims"):
        if not isinstance(described.get(name) or {}, Mapping):
            raise RequestError(f"{name!r} must be a mapping, not {described[name]!r}")
    if described.get("protocol", "http") not in ("http", "tcp"):
        raise RequestError(f"'protocol' must be http or tcp, not {described['protocol']!r}")


def _head(described: Mapping[str, Any]) -> RequestHead:
    headers = Headers()
    for name, value in (described.get("headers") or {}).items():
        for one in value if isinstance(value, list) else [value]:
            headers.add(str(name), str(one))
    token = described.get("token")
    if token:
        headers["authorization"] = f"Bearer {token}"
    host = described.get("host") or ""
    port = described.get("port") or 0
    method, scheme = described.get("method") or "GET", described.get("scheme") or "http"
    return RequestHead(method, scheme, host, described.get("path") or "/", headers, port=port)


def authorize(
    security: Security,
    request: InboundRequest,
    *,
    authenticate: Authenticate | None = None,
    answer: Answer = "allow",
    transport: str | None = None,
) -> Decision:
    """The decision about a request; ``answer`` is what an external authorizer would say if it is asked.

    ``transport`` None: nothing is known of the connection, so peer modes are not applied.
    """
    if transport == "plaintext":
        request.peer = ""
    elif transport == "mtls" and security.mode_of(request.port) == "DISABLE":
        return Decision(
            allowed=False,
            status=403,
            reason="PeerAuthentication is DISABLE: the application would get the bytes of a TLS handshake",
            details="peer_authentication",
            is_closed=True,
        )
    steps = inspect(security, request, authenticate, checks_peer=transport is not None)
    try:
        next(steps)
        steps.send(AuthorizerReply(answer=answer))
    except StopIteration as end:
        decision: Decision = end.value
        return decision
    raise AssertionError  # one authorizer is asked at most once


def described_request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str | list[str]],
    principal: str | None,
    source_ip: str | None,
    claims: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The description of a request for a URL. A principal means that it comes with mutual TLS.

    Raises :class:`RequestError` for a URL that is not absolute.
    """
    try:
        target = target_of(url)
    except ValueError as error:
        raise RequestError(str(error)) from None
    sent = {name.lower(): value for name, value in headers.items()}
    host = sent.pop("host", None) or target.authority
    return {
        "method": method,
        "scheme": target.scheme,
        "host": host[-1] if isinstance(host, list) else host,
        "path": target.path,
        "port": target.port,
        "headers": sent,
        "principal": principal,
        "source_ip": source_ip,
        "claims": claims,
        "transport": "plaintext" if principal is None else "mtls",
    }


def authorize_described(
    security: Security,
    described: Mapping[str, Any],
    *,
    jwks: Mapping[str, str | bytes],
    now: float,
    answer: Answer,
) -> Authorization:
    """What would become of a described request at Unix time ``now``."""
    check = None if described.get("claims") is not None else token_check(security, GivenKeys(jwks), now)
    request = inbound_from_json(described)
    return Authorization.of(
        authorize(security, request, authenticate=check, answer=answer, transport=described.get("transport"))
    )


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """The answer of ``meshlib authorize`` (design 6)."""
    return {
        "decision": "allow" if decision.allowed else "deny",
        "status": decision.status or None,
        "policy": decision.policy or None,
        "rule": decision.rule,
        "reason": decision.reason,
        "upstream_headers": {
            "set": {name.lower(): value for name, value in decision.set_headers},
            "removed": [name.lower() for name in decision.remove_headers],
        },
        "audited": decision.audited,
        "dry_run": decision.shadow or None,
        "path": decision.path,
    }
