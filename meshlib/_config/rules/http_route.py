"""HTTP routes of a VirtualService: what Istio's webhook refuses (virtualservice.go, validation.go)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final, Literal, TypeAlias

from meshlib._config.check import Path
from meshlib._config.rules.headers import check_authority, check_header_name, check_operations
from meshlib._config.rules.names import is_label
from meshlib._config.rules.report import Report
from meshlib._config.rules.routes import check_destination, check_weights
from meshlib._config.rules.visibility import check_gateway_names
from meshlib._regex import RegexError, compile_regex
from meshlib.model.strings import ExactMatch, PrefixMatch, RegexMatch, StringMatch
from meshlib.model.virtual_service import (
    CorsPolicy,
    HTTPDirectResponse,
    HTTPFaultInjection,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
)

__all__ = ["RouteType", "check_http_route"]

RouteType: TypeAlias = Literal["independent", "root", "delegate"]

_METHODS: Final = frozenset("GET HEAD POST PUT PATCH DELETE CONNECT OPTIONS TRACE *".split())
# As a number that Go reads, of the statuses that it has a text for.
_STATUS: Final = re.compile(rf"\+?0*(?:{'|'.join(str(status.value) for status in HTTPStatus)})\Z")
_RETRY_ON: Final = frozenset(
    "5xx gateway-error reset reset-before-request connect-failure envoy-ratelimited retriable-4xx refused-stream "
    "retriable-status-codes retriable-headers http3-post-connect-failure cancelled deadline-exceeded internal "
    "resource-exhausted unavailable".split()
)
_GRPC: Final = frozenset(
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
    "UNAUTHENTICATED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE "
    "DATA_LOSS".split()
)
_LARGE_BODY: Final = 100 * 1024
_LARGEST_BODY: Final = 1024 * 1024
_RE2: Final = "Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"


def check_http_route(
    route: HTTPRoute, kind: RouteType, path: Path, report: Report, *, is_converted: bool = False
) -> None:
    """All rules of one HTTP route. ``is_converted``: made from a Gateway API route, whose backends are no hosts."""
    for message in _conflicts(route, kind):
        report.add("MESH073", path, message)
    for index, match in enumerate(route.match):
        _check_match(match, (*path, "match", index), report)
    if route.headers is not None:
        check_operations(route.headers, (*path, "headers"), report)
    if route.cors_policy is not None:
        _check_cors(route.cors_policy, (*path, "corsPolicy"), report)
    if route.fault is not None:
        _check_fault(route.fault, (*path, "fault"), report)
    if route.mirror_percent is not None:
        message = 'using deprecated setting "mirrorPercent", use "mirrorPercentage" instead'
        report.warn((*path, "mirrorPercent"), message, "write mirrorPercentage: {value: …}")
    _check_action(route, path, report)
    _check_targets(route, path, report, is_converted=is_converted)


def _check_action(route: HTTPRoute, path: Path, report: Report) -> None:
    if route.redirect is not None:
        report.check("MESH073", (*path, "redirect"), _redirect_problem(route.redirect, route))
    if route.direct_response is not None:
        _check_direct(route.direct_response, (*path, "directResponse"), report)
    if route.retries is not None:
        _check_retries(route.retries, (*path, "retries"), report)
    if route.rewrite is not None:
        report.check("MESH073", (*path, "rewrite"), _rewrite_problem(route.rewrite))
    check_authority(route.rewrite, route.headers, path, report)


def _conflicts(route: HTTPRoute, kind: RouteType) -> Iterator[str]:
    """Parts of a route that exclude each other, and a route without any action."""
    if kind == "root":
        name = route.name or ""
        if route.redirect is not None:
            yield f"root HTTP route {name} must not specify redirect"
        if route.route:
            yield f"root HTTP route {name} must not specify route"
        return
    if kind == "delegate" and route.delegate is not None:
        yield "delegate HTTP route cannot contain delegate"
    if route.redirect is not None:
        yield from _beside(route, "redirect")
    elif route.direct_response is not None:
        yield from _beside(route, "direct_response")
    elif not route.route:
        yield "HTTP route, redirect or direct_response is required"
    if route.mirror is not None and route.mirrors:
        yield "HTTP route cannot contain both mirror and mirrors"


def _beside(route: HTTPRoute, action: str) -> Iterator[str]:
    if route.route:
        yield f"HTTP route cannot contain both route and {action}"
    if route.fault is not None:
        yield f"HTTP route cannot contain both fault and {action}"
    if route.rewrite is not None:
        yield f"HTTP route rule cannot contain both rewrite and {action}"
    if action == "redirect" and route.direct_response is not None:
        yield "HTTP route rule cannot contain both direct_response and redirect"


def _check_targets(route: HTTPRoute, path: Path, report: Report, *, is_converted: bool) -> None:
    for index, target in enumerate(route.route):
        place = (*path, "route", index)
        if not is_converted:
            check_destination(target.destination, (*place, "destination"), report)
        if target.headers is not None:
            check_operations(target.headers, (*place, "headers"), report)
    check_weights((target.weight for target in route.route), (*path, "route"), report)
    check_destination(route.mirror, (*path, "mirror"), report)
    for index, mirror in enumerate(route.mirrors):
        check_destination(mirror.destination, (*path, "mirrors", index, "destination"), report)


# -- matches -------------------------------------------------------------------------------------------


def _check_match(match: HTTPMatchRequest, path: Path, report: Report) -> None:
    _check_header_matches(match.headers, "headers", path, report)
    _check_header_matches(match.without_headers, "withoutHeaders", path, report)
    # An empty prefix of the path is allowed: it matches everything.
    if isinstance(match.uri, RegexMatch):
        _check_text(match.uri, "uri", (*path, "uri"), report)
    for name in ("scheme", "method", "authority"):
        _check_text(getattr(match, name), name, (*path, name), report)
    for name, text in match.query_params.items():
        _check_text(text, "queryParams", (*path, "queryParams", name), report)
    check_gateway_names(match.gateways, (*path, "gateways"), report.without_warnings())
    if match.source_namespace and not is_label(match.source_namespace):
        report.add("MESH074", (*path, "sourceNamespace"), f"sourceNamespace match {match.source_namespace} is invalid")


def _check_header_matches(matches: Mapping[str, StringMatch], where: str, path: Path, report: Report) -> None:
    for name, text in matches.items():
        place = (*path, where, name)
        check_header_name(name, place, report)
        # `*` is no RE2 expression; it stands for presence.
        if where == "headers" or not (isinstance(text, RegexMatch) and text.value == "*"):
            _check_text(text, where, place, report)


def _check_text(text: StringMatch | None, where: str, path: Path, report: Report) -> None:
    if isinstance(text, PrefixMatch) and not text.value:
        report.add("MESH074", path, f'"{where}": prefix string match should not be empty')
    elif isinstance(text, RegexMatch):
        report.check("MESH084", path, _regex_problem(text.value, where))


def _regex_problem(pattern: str, where: str) -> str:
    if not pattern:
        return f'"{where}": regex string match should not be empty'
    try:
        compile_regex(pattern)
    except RegexError as error:
        return f'"{where}": error parsing regexp: {error}; {_RE2}'
    return ""


# -- actions -------------------------------------------------------------------------------------------


def _check_cors(policy: CorsPolicy, path: Path, report: Report) -> None:
    for index, origin in enumerate(policy.allow_origins):
        place = (*path, "allowOrigins", index)
        if not isinstance(origin, ExactMatch | PrefixMatch | RegexMatch) or not origin.value:
            report.add("MESH074", place, "'' is not a valid match type for CORS allow origins")
        elif isinstance(origin, RegexMatch):
            report.check("MESH084", place, _regex_problem(origin.value, "corsPolicy.allowOrigins"))
    for index, method in enumerate(policy.allow_methods):
        if method not in _METHODS:
            report.add("MESH073", (*path, "allowMethods", index), f'"{method}" is not a supported HTTP method')
    for field, names in (("allowHeaders", policy.allow_headers), ("exposeHeaders", policy.expose_headers)):
        for index, name in enumerate(names):
            check_header_name(name, (*path, field, index), report, is_listed=True)
    if policy.max_age is not None and policy.max_age % 1:
        message = "max_age duration is accurate only to seconds precision"
        report.add("MESH073", (*path, "maxAge"), message, "write whole seconds")


def _check_fault(fault: HTTPFaultInjection, path: Path, report: Report) -> None:
    if fault.abort is None and fault.delay is None:
        report.add("MESH073", path, "HTTP fault injection must have an abort and/or a delay")
    if fault.delay is not None and fault.delay.exponential_delay is not None:
        report.add("MESH073", (*path, "delay", "exponentialDelay"), "exponentialDelay not supported yet")
    abort, place = fault.abort, (*path, "abort")
    if abort is None:
        return
    if abort.http2_error is not None:
        report.add("MESH073", (*place, "http2Error"), "HTTP/2 abort fault injection not supported yet")
    elif abort.grpc_status is not None:
        report.check("MESH073", (*place, "grpcStatus"), _grpc_problem(abort.grpc_status))


def _grpc_problem(status: str) -> str:
    if status in _GRPC:
        return ""
    return (
        f'gRPC status "{status}" is not supported. See https://github.com/grpc/grpc/blob/master/doc/statuscodes.md '
        "for a list of supported codes, for example 'NOT_FOUND'"
    )


def _redirect_problem(redirect: HTTPRedirect, route: HTTPRoute) -> str:
    if redirect.uri and redirect.prefix_rewrite:
        return "redirect may only specify one of uri or prefix_rewrite"
    if redirect.prefix_rewrite and any(
        match.uri is not None and not isinstance(match.uri, PrefixMatch) for match in route.match
    ):
        return "redirect prefix_rewrite requires all URI matches to use prefix match type"
    parts = (redirect.uri, redirect.prefix_rewrite, redirect.authority, redirect.scheme)
    if not any(parts) and redirect.port is None and redirect.derive_port is None:
        return "redirect must specify URI, authority, scheme, or port"
    if redirect.redirect_code and not 300 <= redirect.redirect_code <= 399:
        return f"{redirect.redirect_code} is not a valid redirect code, must be 3xx"
    if redirect.scheme and redirect.scheme not in ("http", "https"):
        return 'invalid redirect scheme, must be "http" or "https"'
    return ""


def _check_direct(response: HTTPDirectResponse, path: Path, report: Report) -> None:
    size = len(response.body.content) if response.body is not None else 0
    message = "large direct_responses may impact control plane performance"
    if size > _LARGEST_BODY:
        report.add("MESH073", (*path, "body"), f"{message}, must be less than 1MB")
    elif size > _LARGE_BODY:
        report.warn((*path, "body"), message)


def _check_retries(retries: HTTPRetry, path: Path, report: Report) -> None:
    has_more = retries.per_try_timeout is not None or retries.retry_on or retries.retry_remote_localities is not None
    if not retries.attempts and has_more:
        report.add("MESH073", path, "http retry policy configured when attempts are set to 0 (disabled)")
    for condition in (retries.retry_on or "").split(",") if retries.retry_on else ():
        if condition not in _RETRY_ON and _STATUS.match(condition) is None:
            report.add("MESH073", (*path, "retryOn"), f'"{condition}" is not a valid retryOn policy')


def _rewrite_problem(rewrite: HTTPRewrite) -> str:
    regex = rewrite.uri_regex_rewrite
    if rewrite.uri and regex is not None:
        return "rewrite may only contain one of URI or UriRegexRewrite"
    if not rewrite.uri and regex is None and not rewrite.authority:
        return (
            "rewrite must specify at least one of URI, UriRegexRewrite, or authority. "
            "Only one of URI or UriRegexRewrite may be specified"
        )
    if regex is None:
        return ""
    problem = "UriRegexRewrite requires both Rewrite and Match fields to be specified"
    if regex.match and regex.rewrite:
        problem = _regex_problem(regex.match, "HTTPRewrite.UriRegexRewrite.Match")
    return f"UriRegexRewrite has errors {problem}" if problem else ""
