"""What the application may know of the request it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from meshlib._engine.decisions import Decision
from meshlib.errors import MeshError

if TYPE_CHECKING:
    from meshlib._inbound.shapes import Shape, Values

__all__ = ["ForbiddenError", "Inbound", "Verified", "let_in"]

_new: Final = object.__new__


class Verified:
    """What was found out about a request, and holds for all that are equal to it.

    ``client_address`` is the original client as far as proxies are trusted, ``peer`` the SPIFFE id of the connection,
    ``forbid`` the framework's own exception for a 403.
    """

    __slots__ = ("client_address", "decision", "forbid", "peer")

    def __init__(
        self, decision: Decision, peer: str, client_address: str, forbid: Callable[[str], Exception] | None = None
    ) -> None:
        self.decision = decision
        self.peer = peer
        self.client_address = client_address
        self.forbid = forbid

    def __repr__(self) -> str:
        return f"<Verified peer={self.peer or '-'} by {self.decision.policy or '-'}>"


class Inbound:
    """The request being served, as far as it was verified: ``scope["mesh"]`` and its like.

    ``client_address`` is the original client as far as proxies are trusted, ``request_id``
    the id that calls made while serving carry on. ``forbid`` makes the framework's own
    exception for a 403; None: :class:`ForbiddenError`.
    """

    __slots__ = ("_claims", "_handed_on", "_request_id", "_verified")

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
        self._verified = Verified(decision, principal or "", client_address, forbid)
        self._request_id: str | bytes = request_id
        self._claims: Mapping[str, Any] | None = None
        self._handed_on: Mapping[str, str] | tuple[Shape, Values] = {}

    @property
    def request_id(self) -> str:
        """The id that calls made while serving carry on."""
        found = self._request_id
        return found if isinstance(found, str) else found.decode("utf-8", "surrogateescape")

    @property
    def client_address(self) -> str:
        """The original client, as far as proxies are trusted."""
        return self._verified.client_address

    @property
    def forbid(self) -> Callable[[str], Exception] | None:
        """Makes the framework's own exception for a 403; None: :class:`ForbiddenError`."""
        return self._verified.forbid

    @property
    def carried(self) -> Mapping[str, str]:
        """The headers that calls made while serving it get unless they have them: its id, and those of its trace."""
        found = self._handed_on
        if isinstance(found, tuple):
            shape, values = found
            found = self._handed_on = shape.carried_of(values, self.request_id)
        return found

    @property
    def principal(self) -> str | None:
        """The peer's identity (``cluster.local/ns/shop/sa/web``); None without mutual TLS."""
        return self._verified.peer.removeprefix("spiffe://") or None

    @property
    def request_principal(self) -> str | None:
        """That of the token (``<iss>/<sub>``); None without one."""
        return self._verified.decision.request_principal or None

    @property
    def claims(self) -> Mapping[str, Any]:
        """The claims of the token, empty without one; the handler's own copy."""
        if self._claims is None:
            # The decision outlives the request: what a handler does with its claims must not reach the next one.
            self._claims = deepcopy(self._verified.decision.claims)
        return self._claims

    @property
    def policy(self) -> str | None:
        """``namespace/name`` of the policy that let the request through; None where none was needed."""
        return self._verified.decision.policy or None

    @property
    def rule(self) -> int | None:
        """The number of its rule; None where none was needed."""
        return self._verified.decision.rule

    @property
    def audited(self) -> bool:
        """Whether an AUDIT policy marks the request."""
        return self._verified.decision.audited

    @property
    def dry_run(self) -> str | None:
        """What policies in dry run would have said; None without one."""
        return self._verified.decision.shadow or None

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


def let_in(verified: Verified, request_id: str | bytes, handed_on: Mapping[str, str] | tuple[Shape, Values]) -> Inbound:
    """A request that was let in. The id may be as it came, and the headers where they can be found if somebody asks."""
    made = _new(Inbound)
    made._verified = verified
    made._request_id = request_id
    made._claims = None
    made._handed_on = handed_on
    return made


class ForbiddenError(MeshError):
    """The request being served is not allowed to do this. ``reason`` is for logs, not for the client."""

    status_hint = 403

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
