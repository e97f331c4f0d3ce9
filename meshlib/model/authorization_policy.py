"""AuthorizationPolicy: who may do what to a workload.

https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from meshlib.model.base import UNWRITTEN, Maybe, Model, Spec
from meshlib.model.selectors import PolicyTargetReference, TypeWorkloadSelector, one_target

__all__ = [
    "AuthorizationPolicySpec",
    "Condition",
    "ExtensionProviderReference",
    "From",
    "Operation",
    "Rule",
    "Source",
    "To",
]

NonEmpty: TypeAlias = Annotated[str, Meta(min_length=1)]
ServiceAccounts: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=320)], ...], Meta(max_length=16)
]


class Source(Model, frozen=True, kw_only=True):
    """Who asks. Every written field must hold, one of its values is enough; ``not_`` fields must not hold.

    ``principals`` are ``<trust domain>/ns/<namespace>/sa/<account>`` of the peer's
    certificate, ``request_principals`` ``<issuer>/<subject>`` of the token;
    ``ip_blocks`` is the direct peer, ``remote_ip_blocks`` the original client.
    """

    principals: tuple[NonEmpty, ...] = UNWRITTEN
    not_principals: tuple[NonEmpty, ...] = UNWRITTEN
    request_principals: tuple[NonEmpty, ...] = ()
    not_request_principals: tuple[NonEmpty, ...] = ()
    namespaces: tuple[NonEmpty, ...] = UNWRITTEN
    not_namespaces: tuple[NonEmpty, ...] = UNWRITTEN
    service_accounts: ServiceAccounts = UNWRITTEN
    not_service_accounts: ServiceAccounts = UNWRITTEN
    ip_blocks: tuple[NonEmpty, ...] = ()
    not_ip_blocks: tuple[NonEmpty, ...] = ()
    remote_ip_blocks: tuple[NonEmpty, ...] = ()
    not_remote_ip_blocks: tuple[NonEmpty, ...] = ()
    trust_domains: tuple[NonEmpty, ...] = ()
    not_trust_domains: tuple[NonEmpty, ...] = ()


class From(Model, frozen=True, kw_only=True):
    """One alternative of a rule's ``from``."""

    source: Maybe[Source] = None


class Operation(Model, frozen=True, kw_only=True):
    """What is asked for: ``hosts``, ``ports``, ``methods``, ``paths`` (with ``*`` and path templates)."""

    hosts: tuple[NonEmpty, ...] = ()
    not_hosts: tuple[NonEmpty, ...] = ()
    ports: tuple[NonEmpty, ...] = ()
    not_ports: tuple[NonEmpty, ...] = ()
    methods: tuple[NonEmpty, ...] = ()
    not_methods: tuple[NonEmpty, ...] = ()
    paths: tuple[NonEmpty, ...] = ()
    not_paths: tuple[NonEmpty, ...] = ()


class To(Model, frozen=True, kw_only=True):
    """One alternative of a rule's ``to``."""

    operation: Maybe[Operation] = None


class Condition(Model, frozen=True, kw_only=True):
    """A further condition on an attribute such as ``request.headers[x]`` or ``request.auth.claims[iss]``."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class Rule(Model, frozen=True, kw_only=True):
    """Holds if one of ``from``, one of ``to`` and all of ``when`` hold; what is absent holds always."""

    from_: Annotated[tuple[From, ...], Meta(max_length=512)] = ()
    to: tuple[To, ...] = ()
    when: tuple[Condition, ...] = ()


class ExtensionProviderReference(Model, frozen=True, kw_only=True):
    """The external authorizer of a CUSTOM policy, by its name in MeshConfig."""

    name: Maybe[str] = None


class AuthorizationPolicySpec(Spec, frozen=True, kw_only=True):
    """Rules for the workloads in ``selector`` or behind ``target_refs`` (neither: of the namespace).

    ``action`` absent: ALLOW. An ALLOW policy without rules allows nothing.
    """

    RULES: ClassVar[tuple[str, ...]] = ("rules",)

    selector: Maybe[TypeWorkloadSelector] = None
    target_ref: Maybe[PolicyTargetReference] = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Meta(max_length=16)] = UNWRITTEN
    rules: Annotated[tuple[Rule, ...], Meta(max_length=512)] = ()
    action: Maybe[Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]] = None
    provider: Maybe[ExtensionProviderReference] = None

    def __post_init__(self) -> None:
        one_target(self)
