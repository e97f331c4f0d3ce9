"""From RequestAuthentications to the token rules of one workload (semantics 6.2)."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from meshlib._compile.attachments import is_about
from meshlib._compile.index import Index
from meshlib._compile.order import by_age
from meshlib._snapshot.authentication import (
    ALWAYS_SPLIT,
    Authentication,
    KeyOrigin,
    TokenHeader,
    TokenRule,
    plain_audience,
)
from meshlib.model.request_authentication import JWTRule, RequestAuthenticationSpec
from meshlib.workload import Workload

__all__ = ["compile_authentication"]

_TIMEOUT = 5.0


def compile_authentication(index: Index, workload: Workload, root_namespace: str) -> Authentication | None:
    """The rules of all RequestAuthentications that are about the workload, by issuer; None without any."""
    rules = sorted(_rules(index, workload, root_namespace), key=lambda rule: rule.issuer or "")
    if not rules:
        return None
    compiled = tuple(map(_token_rule, rules))
    outputs = tuple(
        dict.fromkeys(
            name
            for rule in compiled
            for name in (rule.payload_header, *(header for header, _ in rule.claim_headers))
            if name
        )
    )
    pruned = tuple(_without(outputs, rule) for rule in compiled)
    return Authentication(rules=pruned, output_headers=outputs, written=compiled)


def _without(outputs: tuple[str, ...], rule: TokenRule) -> TokenRule:
    """The rule as it finds tokens: none in a header that some rule fills.

    What clients say in such a header is gone before anybody looks for tokens (observed on Envoy 1.40).
    """
    headers = tuple(header for header in rule.headers if header.name not in outputs)
    return replace(rule, headers=headers, cookies=() if "cookie" in outputs else rule.cookies)


def _rules(index: Index, workload: Workload, root_namespace: str) -> Iterator[JWTRule]:
    entries = index.of("RequestAuthentication", RequestAuthenticationSpec)
    # Those of the workload's namespace first: it shows where two rules have the same issuer.
    for entry in sorted(entries, key=lambda one: (one.meta.namespace == root_namespace, by_age(one))):
        spec = entry.spec
        if entry.meta.namespace not in (root_namespace, workload.namespace):
            continue
        if is_about(spec, entry.meta.namespace, workload):
            yield from spec.jwt_rules


def _token_rule(rule: JWTRule) -> TokenRule:
    """The rule; its locations in the order of their names, in which Envoy looks at them."""
    headers = tuple(TokenHeader(header.name.lower(), header.prefix or "") for header in rule.from_headers)
    params = rule.from_params
    if not headers and not params and not rule.from_cookies:
        headers, params = (TokenHeader("authorization", "Bearer "),), ("access_token",)
    return TokenRule(
        issuer=rule.issuer or "",
        keys=KeyOrigin(
            inline=rule.jwks or "",
            uri=rule.jwks_uri or "",
            issuer=rule.issuer or "",
            timeout=float(rule.timeout) if rule.timeout is not None else _TIMEOUT,
        ),
        audiences=frozenset(map(plain_audience, rule.audiences)),
        headers=tuple(sorted(set(headers), key=lambda header: header.name + header.prefix)),
        params=tuple(sorted(set(params))),
        cookies=tuple(sorted(set(rule.from_cookies))),
        forwards_token=bool(rule.forward_original_token),
        payload_header=(rule.output_payload_to_header or "").lower(),
        claim_headers=tuple((one.header.lower(), one.claim) for one in rule.output_claim_to_headers),
        split_claims=ALWAYS_SPLIT | frozenset(rule.space_delimited_claims),
    )
