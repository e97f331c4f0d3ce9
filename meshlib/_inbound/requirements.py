"""What single handlers ask of their callers: ``mesh.require(...)``, judged by the engine of the policies.

A requirement is an ALLOW rule of its own. It decorates a function, or is a dependency of
FastAPI. Outside of a request that a middleware of the mesh has let in, nobody is known,
so nobody is let through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar, overload

from meshlib._compile.authorization import compile_rule
from meshlib._compile.findings import Findings
from meshlib._context import serving
from meshlib._inbound.inbound import ForbiddenError, Inbound
from meshlib._runtime import Runtime
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.security import Rule
from meshlib.diagnostics import Finding
from meshlib.errors import MeshError
from meshlib.model.authorization_policy import Condition, From, Source
from meshlib.model.authorization_policy import Rule as RuleSpec

__all__ = ["ClaimName", "Requirement", "Values", "make_requirement"]

F = TypeVar("F", bound=Callable[..., Any])
Values: TypeAlias = str | Iterable[str]
ClaimName: TypeAlias = str | tuple[str, ...]
_ANYBODY: Final = ("*",)
_NOBODY: Final = "no request is being served that a middleware of the mesh has let in"


class Requirement:
    """Made by :meth:`meshlib.Mesh.require`: a decorator of handlers, and a dependency for ``Depends``.

    Called with a function it returns that function, guarded. Called without it judges
    the request being served: it returns its :class:`meshlib.Inbound`, or raises the
    framework's own 403, which is a :class:`meshlib.ForbiddenError` too.
    """

    __signature__ = inspect.Signature()  # what FastAPI looks at: nothing has to be injected

    def __init__(self, runtime: Runtime, spec: RuleSpec, namespace: str) -> None:
        self._runtime = runtime
        self._spec = spec
        self._namespace = namespace
        self._domains, self._rule = self._compile()

    @overload
    def __call__(self, function: None = None, /) -> Inbound: ...
    @overload
    def __call__(self, function: F, /) -> F: ...

    def __call__(self, function: Any = None, /) -> Any:
        """Guard a function, or judge the request being served. Raises :class:`MeshError` for what is no function.

        A framework may call this with its request as if it were a check, and take whatever comes back for a yes.
        """
        if function is None:
            return self.check()
        is_class = isinstance(function, type)
        # What stands for another object, as flask.request does, looks as if it could be called.
        if is_class or not callable(function) or hasattr(type(function), "_get_current_object"):
            what = f"the class {function.__name__}" if is_class else f"a {type(function).__name__}"
            raise MeshError(f"mesh.require guards functions, not {what}; decorate its methods, or call check()")
        inner: Callable[..., Any] = function
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):

            @wraps(inner)
            async def guarded_async(*arguments: Any, **named: Any) -> Any:
                self.check()
                return await inner(*arguments, **named)

            return guarded_async

        @wraps(inner)
        def guarded(*arguments: Any, **named: Any) -> Any:
            self.check()
            return inner(*arguments, **named)

        return guarded

    def check(self) -> Inbound:
        """The request being served, if it is as required; else raises."""
        inbound = serving.get()
        if not isinstance(inbound, Inbound):
            raise ForbiddenError(_NOBODY)
        if self._domains != self._runtime.published.snapshot.security.trust_domains:
            self._domains, self._rule = self._compile()  # another configuration: other names of our own domain
        request = InboundRequest(None, port=0, peer=f"spiffe://{inbound.principal}" if inbound.principal else "")
        request.claims = inbound.claims or None
        if self._rule.matches(request):
            return inbound
        reason = f"the request is not as required: {self._rule.miss(request)}"
        raise (inbound.forbid or ForbiddenError)(reason)

    def _compile(self) -> tuple[frozenset[str], Rule]:
        domains = self._runtime.published.snapshot.security.trust_domains
        found: list[Finding] = []
        rule = compile_rule(self._spec, self._namespace, tuple(sorted(domains)), Findings(found))
        if found:
            raise MeshError(f"mesh.require: {'; '.join(one.message for one in found)}")
        return domains, rule

    def __repr__(self) -> str:
        return f"<Requirement {self._rule.describe()}>"


def make_requirement(
    runtime: Runtime,
    namespace: str,
    *,
    jwt: bool | Values | None,
    principals: Values | None,
    claims: Mapping[ClaimName, Values] | None,
) -> Requirement:
    """The requirement that the arguments of ``mesh.require`` describe. Raises :class:`MeshError` for an empty one."""
    source: dict[str, tuple[str, ...]] = {}
    if jwt is not None and jwt is not False:
        source["request_principals"] = _ANYBODY if jwt is True else _listed("jwt", jwt)
    if principals is not None:
        source["principals"] = _listed("principals", principals)
    when = tuple(Condition(key=_key(name), values=_listed("claims", values)) for name, values in _items(claims or {}))
    if not source and not when:
        raise MeshError("mesh.require: nothing is required; give jwt, principals or claims")
    from_ = (From(source=Source(**source)),) if source else ()
    return Requirement(runtime, RuleSpec(from_=from_, when=when), namespace)


def _items(claims: object) -> Iterable[tuple[object, object]]:
    if not isinstance(claims, Mapping):
        raise MeshError(f"mesh.require: claims must map names to texts, not be {claims!r}")
    return claims.items()


def _listed(name: str, values: object) -> tuple[str, ...]:
    listed = (values,) if isinstance(values, str) else tuple(values) if isinstance(values, Iterable) else ()
    if not listed or not all(map(_is_text, listed)):
        raise MeshError(f"mesh.require: {name} must be texts, at least one, not {values!r}")
    if name == "principals" and any(value.startswith("spiffe://") for value in listed):
        raise MeshError(f"mesh.require: principals stand without spiffe://, as in policies, not {values!r}")
    return listed


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)


def _key(name: object) -> str:
    path: object = (name,) if isinstance(name, str) else name
    if not isinstance(path, tuple) or not all(map(_is_text, path)):
        raise MeshError(f"mesh.require: the name of a claim is a text, or a tuple of them, not {name!r}")
    return f"request.auth.claims{''.join(f'[{part}]' for part in path)}"
