"""What the application may know of the request it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from meshlib._engine.inbound import Decision
from meshlib.errors import MeshError

__all__ = ["ForbiddenError", "Inbound", "serving"]


@dataclass(slots=True, kw_only=True, repr=False)
class Inbound:
    """The request being served, as far as it was verified: ``scope["mesh"]`` and its like.

    ``principal`` is the peer's identity (``cluster.local/ns/shop/sa/web``), None without
    mutual TLS; ``request_principal`` that of the token (``<iss>/<sub>``), None without
    one; ``claims`` those of the token, empty without one. ``client_address`` is the
    original client as far as proxies are trusted. ``policy`` (``namespace/name``) and
    ``rule`` let the request through, None where no rule was needed; ``audited`` whether
    an AUDIT policy marks it; ``dry_run`` what policies in dry run would have said.
    """

    principal: str | None = None
    request_principal: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    client_address: str = ""
    request_id: str = ""
    policy: str | None = None
    rule: int | None = None
    audited: bool = False
    dry_run: str | None = None
    forbid: Callable[[str], Exception] | None = None
    """Makes the framework's own exception for a 403; None: :class:`ForbiddenError`."""

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

    @classmethod
    def of(cls, decision: Decision, *, peer: str, client_address: str, request_id: str) -> Inbound:
        """The request that a decision let through."""
        return cls(
            principal=peer.removeprefix("spiffe://") or None,
            request_principal=decision.request_principal or None,
            claims=decision.claims,
            client_address=client_address,
            request_id=request_id,
            policy=decision.policy or None,
            rule=decision.rule,
            audited=decision.audited,
            dry_run=decision.shadow or None,
        )


serving: Final[ContextVar[Inbound | None]] = ContextVar("meshlib_serving", default=None)
"""The request that is being served in this context; None outside of one."""


class ForbiddenError(MeshError):
    """The request being served is not allowed to do this. ``reason`` is for logs, not for the client."""

    status_hint = 403

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
