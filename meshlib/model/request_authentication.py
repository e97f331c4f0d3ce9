"""RequestAuthentication: which JSON web tokens are valid. What is required is AuthorizationPolicy's affair.

https://istio.io/latest/docs/reference/config/security/request_authentication/
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec
from msgspec import Meta

from meshlib.model.base import UNWRITTEN, Maybe, Model, RuleError, Spec
from meshlib.model.scalars import Duration
from meshlib.model.selectors import PolicyTargetReference, TypeWorkloadSelector, one_target
from meshlib.model.urls import HttpUrl

__all__ = ["ClaimToHeader", "JWTHeader", "JWTRule", "RequestAuthenticationSpec"]

NonEmpty: TypeAlias = Annotated[str, Meta(min_length=1)]


class JWTHeader(Model, frozen=True, kw_only=True):
    """A header that may carry the token, after ``prefix`` (``Bearer `` with its space)."""

    name: NonEmpty
    prefix: Maybe[str] = None


class ClaimToHeader(Model, frozen=True, kw_only=True):
    """Copy a claim (``a.b`` for a nested one) of a valid token to a request header."""

    header: Annotated[
        str, Meta(min_length=1, pattern=r"^[-_A-Za-z0-9]+\Z", description="a header name: letters, digits, - and _")
    ]
    claim: NonEmpty


class JWTRule(Model, frozen=True, kw_only=True):
    """Tokens of one ``issuer``.

    Keys come from ``jwks_uri`` or inline from ``jwks``; without both from the issuer's
    discovery document. ``audiences`` absent: any. Locations absent: the header
    ``Authorization: Bearer``, then the parameter ``access_token``. ``timeout`` is that of
    the key request (5 s). ``legacy_jwks_uri`` is the spelling ``jwks_uri`` in YAML.
    ``presence`` REQUIRED refuses requests without a token of this rule.
    """

    issuer: Maybe[NonEmpty] = None
    audiences: tuple[NonEmpty, ...] = ()
    jwks_uri: Maybe[HttpUrl] = None
    legacy_jwks_uri: Maybe[HttpUrl] = msgspec.field(default=None, name="jwks_uri")
    jwks: Maybe[str] = None
    from_headers: tuple[JWTHeader, ...] = ()
    from_params: tuple[NonEmpty, ...] = ()
    from_cookies: tuple[NonEmpty, ...] = ()
    output_payload_to_header: Maybe[str] = None
    forward_original_token: Maybe[bool] = None
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    timeout: Maybe[Duration] = None
    space_delimited_claims: Annotated[tuple[NonEmpty, ...], Meta(max_length=64)] = ()
    presence: Maybe[Literal["OPTIONAL", "REQUIRED"]] = None

    def __post_init__(self) -> None:
        sources = [name for name in ("jwks_uri", "legacy_jwks_uri", "jwks") if getattr(self, name) is not None]
        if len(sources) > 1:
            raise RuleError("only one of jwks or jwksUri can be set", field="jwksUri", hint="keep one source of keys")
        if sources == ["legacy_jwks_uri"]:
            msgspec.structs.force_setattr(self, "jwks_uri", self.legacy_jwks_uri)


class RequestAuthenticationSpec(Spec, frozen=True, kw_only=True):
    """The token rules of the workloads in ``selector`` or behind ``target_refs`` (neither: of the namespace)."""

    RULES: ClassVar[tuple[str, ...]] = ("jwtRules",)

    selector: Maybe[TypeWorkloadSelector] = None
    target_ref: Maybe[PolicyTargetReference] = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Meta(max_length=16)] = UNWRITTEN
    jwt_rules: Annotated[tuple[JWTRule, ...], Meta(max_length=4096)] = ()

    def __post_init__(self) -> None:
        one_target(self)
