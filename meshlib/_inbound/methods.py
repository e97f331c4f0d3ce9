"""What a :class:`meshlib.Mesh` offers to those who serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from meshlib._authorize import Authorization
    from meshlib._inbound.requirements import Requirement
    from meshlib._runtime import Runtime
    from meshlib._snapshot.snapshot import Snapshot
    from meshlib.workload import Workload

__all__ = ["SecurityMethods"]


class SecurityMethods:
    """Questions about requests to this workload, and requirements of single handlers."""

    runtime: Runtime
    workload: Workload

    def authorize(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        principal: str | None = None,
        source_ip: str | None = None,
        claims: Mapping[str, Any] | None = None,
        jwks: Mapping[str, str | bytes] | None = None,
        authorizer: Literal["allow", "deny", "unavailable"] = "allow",
        workload: Workload | None = None,
    ) -> Authorization:
        """Whether a request to this workload would be let in, and which policy decides. Asks nobody.

        ``principal`` is the peer's verified identity (``cluster.local/ns/shop/sa/web``; None:
        plaintext), ``source_ip`` its address. ``claims`` are those of a token that was verified
        before; a token in ``headers`` is verified by the keys in the rules and in ``jwks`` (by
        URI). ``authorizer`` is what an external one would answer, where a policy asks it.
        ``workload`` asks about another workload than this process.

        Raises :class:`ValueError` for a URL that is not absolute and for keys that are none.
        """
        from meshlib._authorize import authorize_described, described_request

        described = described_request(
            method, url, headers=headers or {}, principal=principal, source_ip=source_ip, claims=claims
        )
        security = self._snapshot_for(workload).security
        now = self.runtime.clock.time()
        return authorize_described(security, described, jwks=jwks or {}, now=now, answer=authorizer)

    def require(
        self,
        *,
        jwt: bool | str | Iterable[str] | None = None,
        principals: str | Iterable[str] | None = None,
        claims: Mapping[str | tuple[str, ...], str | Iterable[str]] | None = None,
    ) -> Requirement:
        """What a single handler asks of its callers: a decorator, and a dependency for FastAPI's ``Depends``.

        ``jwt`` True asks for any verified token, texts ask for one of these principals
        (``<iss>/<sub>``); ``principals`` for one of these peers; ``claims`` for one of the
        values of each claim, where a tuple names a nested one. The forms (``x*``, ``*x``,
        ``*``) are those of AuthorizationPolicy. All that is given must hold, after the
        policies of the mesh have let the request in.

        Raises :class:`meshlib.MeshError` if nothing is asked for.
        """
        from meshlib._inbound.requirements import make_requirement

        return make_requirement(self.runtime, self.workload.namespace, jwt=jwt, principals=principals, claims=claims)

    def _snapshot_for(self, workload: Workload | None) -> Snapshot:
        """The configuration as another workload has it; None: as this one."""
        raise NotImplementedError
