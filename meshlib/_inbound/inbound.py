"""What the application may know of the request it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, Final

from meshlib._engine.decisions import Decision
from meshlib.errors import MeshError

__all__ = ["ForbiddenError", "Inbound", "serving"]


class Inbound:
    """The request being served, as far as it was verified: ``scope["mesh"]`` and its like.

    ``client_address`` is the original client as far as proxies are trusted, ``request_id``
    the id that calls made while serving carry on. ``forbid`` makes the framework's own
    exception for a 403; None: :class:`ForbiddenError`.
    """

    __slots__ = ("_claims", "_decision", "_peer", "client_address", "forbid", "request_id")

    def __init__(
        self,
        *,
        principal: str | None = None,
        request_principal: str | None = None,
        claims: Mapping[str, Any] | None = None,
        client_address: str = "",
        request_id: str = "",
        policy: str | None = None,
        rule: int | None = None,
        audited: bool = False,
        dry_run: str | None = None,
        forbid: Callable[[str], Exception] | None = None,
    ) -> None:
        decision = Decision(allowed=True, policy=policy or "", rule=rule, audited=audited, shadow=dry_run or "")
        decision.claims, decision.request_principal = claims or {}, request_principal or ""
        self._decision = decision
        self._peer = principal or ""
        self._claims: Mapping[str, Any] | None = None
        self.client_address = client_address
        self.request_id = request_id
        self.forbid = forbid

    @classmethod
    def of(
        cls,
        decision: Decision,
        peer: str,
        client_address: str,
        request_id: str,
        forbid: Callable[[str], Exception] | None = None,
    ) -> Inbound:
        """The request that a decision let through."""
        made = cls.__new__(cls)
        made._decision = decision
        made._peer = peer
        made._claims = None
        made.client_address = client_address
        made.request_id = request_id
        made.forbid = forbid
        return made

    @property
    def principal(self) -> str | None:
        """The peer's identity (``cluster.local/ns/shop/sa/web``); None without mutual TLS."""
        return self._peer.removeprefix("spiffe://") or None

    @property
    def request_principal(self) -> str | None:
        """That of the token (``<iss>/<sub>``); None without one."""
        return self._decision.request_principal or None

    @property
    def claims(self) -> Mapping[str, Any]:
        """The claims of the token, empty without one; the handler's own copy."""
        if self._claims is None:
            # The decision outlives the request: what a handler does with its claims must not reach the next one.
            self._claims = deepcopy(self._decision.claims)
        return self._claims

    @property
    def policy(self) -> str | None:
        """``namespace/name`` of the policy that let the request through; None where none was needed."""
        return self._decision.policy or None

    @property
    def rule(self) -> int | None:
        """The number of its rule; None where none was needed."""
        return self._decision.rule

    @property
    def audited(self) -> bool:
        """Whether an AUDIT policy marks the request."""
        return self._decision.audited

    @property
    def dry_run(self) -> str | None:
        """What policies in dry run would have said; None without one."""
        return self._decision.shadow or None

    @property
    def namespace(self) -> str | None:
        """The namespace of the peer; None without mutual TLS."""
        return self._segment("ns")

    @property
    def service_account(self) -> str | None:
        """The service account of the peer; None without mutual TLS."""
        return self._segment("sa")

    def _segment(self, name: str) -> str | None:
        parts = (self.principal or "").split("/")
        return parts[parts.index(name) + 1] if name in parts[:-1] else None

    def __repr__(self) -> str:
        return f"<Inbound principal={self.principal} request_principal={self.request_principal}>"


serving: Final[ContextVar[Inbound | None]] = ContextVar("meshlib_serving", default=None)
"""The request that is being served in this context; None outside of one."""


class ForbiddenError(MeshError):
    """The request being served is not allowed to do this. ``reason`` is for logs, not for the client."""

    status_hint = 403

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
