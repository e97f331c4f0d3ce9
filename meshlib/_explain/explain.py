"""Follow a request through a snapshot without sending it, and write down each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from multidict import CIMultiDict

from meshlib._engine.inbound import Authenticate
from meshlib._engine.mutations import (
    apply_levels,
    cors_allows,
    cors_headers,
    is_preflight,
    path_after,
    preflight_headers,
    redirect_location,
    rewrite_path,
)
from meshlib._engine.path_normalization import plain_path
from meshlib._explain.explanation import Explanation, Operations, Step, TargetPlan, Upstream
from meshlib._explain.policy_view import policy_view
from meshlib._explain.tokens import pass_gateway
from meshlib._http import Headers, HeadersView, RequestHead
from meshlib._snapshot.clusters import Discovery
from meshlib._snapshot.routes import (
    Abort,
    DirectResponse,
    Dropped,
    Forward,
    HeaderOps,
    HeaderValue,
    Redirect,
    Rewrite,
    Route,
    VirtualHost,
    WeightedDestination,
)
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["explain"]

GRPC_NAMES: Final = (
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
    "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
    "UNAUTHENTICATED"
).split()
PASSING: Final = ("allow_any", "allow_any_dynamic_dns")


def explain(snapshot: Snapshot, request: RequestHead, check: Authenticate | None = None) -> Explanation:
    """What would become of the request. Nothing is sent and nothing is drawn: weights and chances are listed.

    The path is looked at as Envoy and HTTP clients have it, dot segments resolved.
    ``check`` judges the tokens of a request that enters a gateway; without it they are not looked at.
    """
    said = f"{request.method} {request.scheme}://{request.authority}{request.path}"
    request = with_plain_path(request, snapshot)
    if check is not None:
        passed = pass_gateway(snapshot, request, check, said)
        if isinstance(passed, Explanation):
            return passed
        request = passed
    host = snapshot.find_host(request)
    if host is None:
        listens = request.port in snapshot.tables or request.port in snapshot.servers
        outcome: Explanation = (
            Explanation(outcome="not_found", request=said, status=404)
            if listens and request.port not in snapshot.servers
            else Explanation(outcome="no_listener", request=said)
        )
        return outcome
    route, trace = try_routes(host, request)
    if route is None:
        return Explanation(outcome="not_found", request=said, status=404, virtual_host=host.domains, trace=trace)
    return explain_route(snapshot, request, route, host, trace, said)


def with_plain_path(request: RequestHead, snapshot: Snapshot) -> RequestHead:
    """The request with its path normalized; one that no client could send stays as it is.

    Envoy 1.39 with ``normalize_path``, which Istio 1.31 sets on outbound listeners too,
    sends ``/x/../a`` to the routes and the upstream as ``/a``.
    """
    path = plain_path(request.path, snapshot.security.normalization)
    return with_path(request, path)


def with_path(request: RequestHead, path: str) -> RequestHead:
    """The request for another path."""
    if path == request.path:
        return request
    plain = RequestHead(
        request.method, request.scheme, request.authority, path, request.headers, port=request.port, host=request.host
    )
    plain.claims = request.claims
    return plain


def try_routes(host: VirtualHost, request: RequestHead) -> tuple[Route | None, tuple[Step, ...]]:
    """The first route that matches, and what was tried until then; rules left out stand at their places."""
    steps: list[Step] = []
    dropped = sorted(host.dropped, key=lambda item: item.before)
    for number, route in enumerate(host.routes):
        steps.extend(Step(origin=item.origin, matched=False, reason=item.reason) for item in left_out(dropped, number))
        reason = route.match.first_failure(request)
        steps.append(Step(origin=route.origin, matched=reason is None, reason=reason or ""))
        if reason is None:
            return route, tuple(steps)
    steps.extend(
        Step(origin=item.origin, matched=False, reason=item.reason) for item in left_out(dropped, len(host.routes))
    )
    return None, tuple(steps)


def left_out(dropped: Iterable[Dropped], number: int) -> Iterator[Dropped]:
    """The rules left out right before a route."""
    return (item for item in dropped if item.before == number)


def explain_route(
    snapshot: Snapshot, request: RequestHead, route: Route, host: VirtualHost, trace: tuple[Step, ...], said: str
) -> Explanation:
    """What a matched route does."""
    action = route.action
    if isinstance(action, Redirect):
        location = redirect_location(action, request)
        request = with_path(request, path_after(action, request.path) or request.path)
        headers = answered(CIMultiDict({"location": location}), action.response_levels, request)
        return Explanation(
            outcome="redirect",
            request=said,
            route=route.name,
            virtual_host=host.domains,
            status=action.status,
            location=location,
            response_headers=header_map(headers),
            trace=trace,
        )
    if isinstance(action, DirectResponse):
        plain: Headers = CIMultiDict({"content-type": "text/plain"} if action.body else {})
        headers = answered(plain, action.response_levels, request)
        return Explanation(
            outcome="direct_response",
            request=said,
            route=route.name,
            virtual_host=host.domains,
            status=action.status,
            body=action.body if action.status != 204 else b"",
            response_headers=header_map(headers),
            trace=trace,
        )
    return explain_forward(snapshot, request, route, action, host, trace, said)


def answered(headers: Headers, levels: tuple[HeaderOps, ...], request: RequestHead) -> Headers:
    """The headers of a reply of the mesh itself, operations run."""
    apply_levels(levels, headers, request)
    return headers


def explain_forward(
    snapshot: Snapshot,
    request: RequestHead,
    route: Route,
    action: Forward,
    host: VirtualHost,
    trace: tuple[Step, ...],
    said: str,
) -> Explanation:
    """A forwarding route: a certain abort and a preflight are answered before anything is sent."""
    abort = action.fault.abort if action.fault is not None else None
    if abort is not None and abort.ratio >= 1.0:
        return explain_abort(abort, action, route, host, trace, said)
    cors = action.cors
    response: Headers | None = None
    if cors is not None and is_preflight(request):
        headers = preflight_headers(cors, request)
        if headers is not None:
            return Explanation(
                outcome="cors_preflight",
                request=said,
                route=route.name,
                virtual_host=host.domains,
                status=200,
                response_headers=header_map(headers),
                trace=trace,
            )
    elif cors is not None and cors_allows(cors, request):
        response = cors_headers(cors, request)
    passes = route.name in PASSING and not action.destinations[0].host
    return Explanation(
        outcome="passthrough" if passes else "route",
        request=said,
        route=route.name,
        virtual_host=host.domains,
        targets=tuple(plan(snapshot, request, action, destination) for destination in action.destinations)
        if not passes
        else (),
        timeout=action.timeout,
        retries=action.retry,
        mirrors=action.mirrors,
        unsent=frozenset(mirror.cluster for mirror in action.mirrors if is_dialled(snapshot, mirror.cluster)),
        hash_keys=action.hash_keys,
        fault=action.fault,
        response_headers=None if response is None else header_map(response),
        trace=trace,
    )


def is_dialled(snapshot: Snapshot, name: str) -> bool:
    """True for a cluster whose requests go where the application itself connects to."""
    cluster = snapshot.clusters.get(name)
    return cluster is not None and cluster.discovery in (Discovery.ORIGINAL, Discovery.DYNAMIC)


def explain_abort(
    abort: Abort, action: Forward, route: Route, host: VirtualHost, trace: tuple[Step, ...], said: str
) -> Explanation:
    """A fault that hits every request."""
    code = abort.grpc_status
    name = "" if code is None else GRPC_NAMES[code] if code < len(GRPC_NAMES) else str(code)
    return Explanation(
        outcome="abort",
        request=said,
        route=route.name,
        virtual_host=host.domains,
        status=abort.http_status,
        grpc_status=name,
        fault=action.fault,
        body=b"fault filter abort",
        trace=trace,
    )


def plan(snapshot: Snapshot, request: RequestHead, action: Forward, destination: WeightedDestination) -> TargetPlan:
    """What one destination would get."""
    cluster = snapshot.clusters.get(destination.cluster)
    endpoints = None if cluster is None else len(cluster.endpoints)
    if not endpoints and is_dialled(snapshot, destination.cluster):
        endpoints = 1
    return TargetPlan(
        host=destination.host,
        port=destination.port,
        subset=destination.subset,
        weight=destination.weight,
        cluster=destination.cluster,
        upstream=upstream(request, action.rewrite, destination),
        response_operations=operations(destination.response_levels),
        endpoints=endpoints,
        policy=policy_view(cluster),
    )


def upstream(request: RequestHead, rewrite: Rewrite | None, destination: WeightedDestination) -> Upstream:
    """The request as the destination sees it."""
    headers: Headers = CIMultiDict(request.headers)
    apply_levels(destination.request_levels, headers, request, source=headers)
    if destination.tells_host:
        headers["x-envoy-original-host"] = request.authority
    path = request.path
    if rewrite is not None:
        headers["x-envoy-original-path"] = request.path
        path = rewrite_path(rewrite, request.path)
    removed = dict.fromkeys(name for level in destination.request_levels for name in level.remove)
    return Upstream(
        path=path,
        host=destination.host_rewrite or request.authority,
        headers=header_map(headers),
        absent_headers=tuple(name for name in removed if name not in headers),
    )


def operations(levels: tuple[HeaderOps, ...]) -> Operations:
    """All levels together: of several sets of one name the last stands. An empty value changes nothing."""
    sets: dict[str, tuple[str, ...]] = {}
    adds: dict[str, tuple[str, ...]] = {}
    removes: dict[str, None] = {}
    for level in levels:
        removes.update(dict.fromkeys(level.remove))
        sets.update((name, (text,)) for name, value in level.set if (text := written(value)))
        for name, value in level.add:
            if text := written(value):
                adds[name] = (*adds.get(name, ()), text)
    return Operations(set=sets, add=adds, remove=tuple(removes))


def written(value: HeaderValue) -> str:
    """A header value as it was written, operators in percent signs."""
    parts = (part.replace("%", "%%") if isinstance(part, str) else operator_text(part) for part in value.parts)
    return "".join(parts)


def operator_text(operator: tuple[str, ...]) -> str:
    name, *arguments = operator
    if name != "REQ":
        return f"%{name}({arguments[0]})%" if arguments else f"%{name}%"
    *fields, length = arguments
    return f"%REQ({'?'.join(fields)}){':' + length if length else ''}%"


def header_map(headers: HeadersView) -> dict[str, tuple[str, ...]]:
    """Values by lower-case name."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in headers.items():
        key = name.lower()
        found[key] = (*found.get(key, ()), value)
    return found
