"""What a route does beside sending: faults, mirrors, CORS (semantics 2.8, 2.10, 2.11)."""

from __future__ import annotations

from typing import Final

from meshlib._compile.context import RouteContext
from meshlib._compile.destinations import resolve_target
from meshlib._compile.findings import Findings
from meshlib._compile.matches import text_matcher
from meshlib._snapshot.matchers import Exact, Present, TextMatcher
from meshlib._snapshot.routes import Abort, Cors, Delay, Fault, Mirror, Origin
from meshlib.model import virtual_service as model
from meshlib.model.destination import Destination, Percent
from meshlib.model.strings import StringMatch

__all__ = ["GRPC_STATUS", "compile_cors", "compile_fault", "compile_mirrors"]

GRPC_NAMES: Final = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
    "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
    "UNAUTHENTICATED"
).split()
GRPC_STATUS: Final = {name: code for code, name in enumerate(GRPC_NAMES)}


def share(percent: Percent) -> float:
    """A percentage as a ratio, in Envoy's resolution of a millionth."""
    return int((percent.value or 0.0) * 10000.0) / 1_000_000


def compile_fault(fault: model.HTTPFaultInjection, origin: Origin, findings: Findings) -> Fault | None:
    """The fault of a route; None if neither part can ever happen. Without a percentage nothing happens."""
    delay = compile_delay(fault.delay, origin, findings) if fault.delay is not None else None
    abort = compile_abort(fault.abort, origin, findings) if fault.abort is not None else None
    return Fault(delay=delay, abort=abort) if delay is not None or abort is not None else None


def compile_delay(delay: model.Delay, origin: Origin, findings: Findings) -> Delay | None:
    if delay.fixed_delay is None:
        findings.add("MESH064", origin, "only fixedDelay is supported; the delay is left out", field="fault.delay")
        return None
    # The deprecated whole number counts only where the percentage is not written.
    ratio = share(delay.percentage) if delay.percentage is not None else (delay.percent or 0) / 100.0
    return Delay(seconds=float(delay.fixed_delay), ratio=ratio) if ratio > 0.0 else None


def compile_abort(abort: model.Abort, origin: Origin, findings: Findings) -> Abort | None:
    ratio = share(abort.percentage) if abort.percentage is not None else 0.0
    if abort.http_status is not None:
        return Abort(ratio=ratio, http_status=abort.http_status) if ratio > 0.0 else None
    if abort.grpc_status is not None:
        code = GRPC_STATUS.get(abort.grpc_status)
        return Abort(ratio=ratio, grpc_status=2 if code is None else code) if ratio > 0.0 else None
    findings.add(
        "MESH064", origin, "only httpStatus and grpcStatus are supported; the abort is left out", field="fault.abort"
    )
    return None


def compile_mirrors(route: model.HTTPRoute, namespace: str, context: RouteContext) -> tuple[Mirror, ...]:
    """The copies of a request; a share of zero makes none."""
    if route.mirror is None and not route.mirrors:
        return ()
    found: list[Mirror] = []
    if route.mirror is not None:
        add_mirror(found, route.mirror, mirror_share(route), namespace, context)
    for policy in route.mirrors:
        ratio = 1.0 if policy.percentage is None else share(policy.percentage)
        add_mirror(found, policy.destination, ratio, namespace, context)
    return tuple(found)


def mirror_share(route: model.HTTPRoute) -> float:
    """The share of ``mirror``: all requests unless one of its three spellings says less."""
    if route.mirror_percentage is not None:
        return share(route.mirror_percentage)
    whole = route.mirror_percent if route.mirror_percent is not None else route.legacy_mirror_percent
    return 1.0 if whole is None else whole / 100.0


def add_mirror(
    found: list[Mirror], destination: Destination, ratio: float, namespace: str, context: RouteContext
) -> None:
    if ratio > 0.0:
        target = resolve_target(destination, namespace, context)
        found.append(
            Mirror(
                cluster=target.cluster, host=target.host, port=target.port, subset=target.subset, ratio=min(ratio, 1.0)
            )
        )


def compile_cors(policy: model.CorsPolicy) -> Cors:
    """A CORS policy; the deprecated list of exact origins counts only without the newer one."""
    if policy.allow_origins:
        origins = tuple(origin_matcher(match) for match in policy.allow_origins)
    else:
        origins = tuple(Present() if origin == "*" else Exact(origin) for origin in policy.allow_origin)
    return Cors(
        origins=origins,
        methods=policy.allow_methods,
        allow_headers=policy.allow_headers,
        expose_headers=policy.expose_headers,
        max_age=None if policy.max_age is None else float(policy.max_age),
        credentials=bool(policy.allow_credentials),
        forward_unmatched=policy.unmatched_preflights != "IGNORE",
    )


def origin_matcher(match: StringMatch) -> TextMatcher:
    """An origin; what matches ``*`` allows all, also a prefix or an expression: Envoy asks it for ``*`` first."""
    matcher = text_matcher(match)
    return Present() if matcher.matches("*") else matcher
