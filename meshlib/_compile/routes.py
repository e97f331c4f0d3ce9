"""HTTP rules become routes (semantics 2)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from sys import intern
from typing import Final

from meshlib._compile.context import RouteContext
from meshlib._compile.destinations import hash_key, resolve_target
from meshlib._compile.extras import compile_cors, compile_fault, compile_mirrors
from meshlib._compile.header_retries import asked_by_headers, without_retry_headers
from meshlib._compile.headers import (
    NO_HEADERS,
    NO_LEVELS,
    CompiledHeaders,
    HeaderFormatError,
    compile_headers,
    merged_levels,
    without_type,
)
from meshlib._compile.hosts import gateway_key
from meshlib._compile.matches import compile_match, is_catch_all, is_static, static_mismatch
from meshlib._compile.retries import DEFAULT_RETRY, compile_retry
from meshlib._compile.virtual_services import BoundVirtualService, Rule
from meshlib._regex import RegexError, compile_substitution
from meshlib._snapshot.matchers import Prefix, RouteMatch
from meshlib._snapshot.routes import (
    Action,
    DirectResponse,
    Dropped,
    Forward,
    HeaderOps,
    HeaderValue,
    Redirect,
    RetryPolicy,
    Rewrite,
    Route,
    WeightedDestination,
)
from meshlib.model.load_balancer import ConsistentHashLB
from meshlib.model.traffic_policy import RetryPolicy as ExtensionRetry
from meshlib.model.virtual_service import HTTPMatchRequest, HTTPRedirect, HTTPRetry, HTTPRewrite, HTTPRoute

__all__ = ["compile_rules", "extension_retry"]

REDIRECT_CODES: Final = frozenset({301, 302, 303, 307, 308})
NO_MATCHES: Final[tuple[HTTPMatchRequest | None, ...]] = (None,)


class UnusableRuleError(ValueError):
    """A rule that Envoy could not be given."""


def compile_rules(service: BoundVirtualService, context: RouteContext) -> tuple[list[Route], list[Dropped]]:
    """The routes of a VirtualService for one workload and port, and the matches that are not for them.

    A match that takes everything ends the list: what stands behind it cannot be reached.
    """
    routes: list[Route] = []
    dropped = list(service.dropped)
    ended = False
    for rule in service.rules:
        for match in rule.route.match or NO_MATCHES:
            if ended:
                dropped.append(Dropped(rule.origin, "a rule before it takes every request", len(routes)))
                break
            reason = None if match is None or not is_static(match) else mismatch(match, rule, context)
            if reason is None:
                reason = add_route(routes, rule, match, context)
            if reason is None:
                ended = is_catch_all(match)
            else:
                dropped.append(Dropped(rule.origin, reason, len(routes)))
    return routes, dropped


def mismatch(match: HTTPMatchRequest, rule: Rule, context: RouteContext) -> str | None:
    """Why a match is not for this workload and port."""
    return static_mismatch(
        match,
        port=context.port,
        gateway=context.gateway,
        namespace=context.namespace,
        labels=context.labels,
        gateway_key=lambda name: gateway_key(name, rule.namespace),
    )


def add_route(routes: list[Route], rule: Rule, match: HTTPMatchRequest | None, context: RouteContext) -> str | None:
    """Append the route of one match of a rule; a reason if it cannot be made."""
    try:
        compiled = compile_match(match)
        action = compile_action(rule, compiled, context)
    except RegexError as error:
        context.findings.add("MESH061", rule.origin, f"a regular expression cannot be used: {error}")
        return f"its regular expression cannot be used: {error}"
    except HeaderFormatError as error:
        context.findings.add("MESH062", rule.origin, str(error), field="headers")
        return str(error)
    except UnusableRuleError as error:
        context.findings.add("MESH063", rule.origin, str(error))
        return str(error)
    name = intern(rule.route.name) if rule.route.name else ""
    if compiled.name:
        name = intern(f"{name}.{compiled.name}")
    routes.append(Route(match=compiled, action=action, name=name, origin=rule.origin))
    return None


def compile_action(rule: Rule, match: RouteMatch, context: RouteContext) -> Action:
    """What a rule does with the requests that match. Raises UnusableRuleError."""
    route = rule.route
    headers = compile_headers(route.headers)
    response: tuple[HeaderOps, ...] = () if headers.response is None else (headers.response,)
    if route.redirect is not None:
        return compile_redirect(route.redirect, match, context, without_type(response))
    if route.direct_response is not None:
        body = route.direct_response.body
        content = b"" if body is None else bytes(body.content)
        response = response if content else without_type(response)
        return DirectResponse(status=route.direct_response.status, body=content, response_levels=response)
    return compile_forward(rule, headers, match, context)


def compile_redirect(
    redirect: HTTPRedirect, match: RouteMatch, context: RouteContext, response: tuple[HeaderOps, ...]
) -> Redirect:
    """A redirect. A port that is the default of its scheme is not written."""
    status = redirect.redirect_code or 301
    if status not in REDIRECT_CODES:
        raise UnusableRuleError(f"redirectCode {status} is not supported; use one of 301, 302, 303, 307, 308")
    port = redirect.port or (context.port if redirect.derive_port == "FROM_REQUEST_PORT" else None)
    scheme = redirect.scheme or ("https" if context.is_tls else "http")
    if (port, scheme) in ((80, "http"), (443, "https")):
        port = None
    prefix = redirect.prefix_rewrite or None
    return Redirect(
        status=status,
        scheme=redirect.scheme or None,
        authority=redirect.authority or None,
        port=port,
        path=None if prefix else redirect.uri or None,
        prefix_rewrite=prefix,
        prefix_cut=matched_length(match) or 0,
        response_levels=response,
    )


def compile_forward(rule: Rule, headers: CompiledHeaders, match: RouteMatch, context: RouteContext) -> Forward:
    """Send the request on."""
    route = rule.route
    rewrite = route.rewrite
    authority = (rewrite.authority if rewrite is not None else None) or headers.authority
    destinations, hashed = compile_destinations(rule, headers, authority, context)
    targets = tuple(destinations)
    timeout, retry = limits(route, targets, context, hashed=len(route.route) == 1 and bool(hashed))
    if targets[0].request_levels:
        retry, targets = asked_by_headers(retry, targets), without_retry_headers(targets)
    return Forward(
        destinations=targets,
        sums=ONE if len(targets) == 1 else cumulative(tuple([item.weight for item in targets])),
        timeout=timeout,
        retry=retry,
        rewrite=None if rewrite is None else compile_rewrite(rewrite, match),
        fault=None if route.fault is None else compile_fault(route.fault, rule.origin, context.findings),
        cors=None if route.cors_policy is None else compile_cors(route.cors_policy),
        mirrors=compile_mirrors(route, rule.namespace, context),
        hash_keys=tuple([key for item in hashed if (key := hash_key(item)) is not None]),
    )


ONE: Final = (1,)


@lru_cache(maxsize=1024)
def cumulative(weights: tuple[int, ...]) -> tuple[int, ...]:
    """The running sums of weights; one tuple for all routes that share out alike."""
    return tuple(accumulate(weights))


def compile_destinations(
    rule: Rule, headers: CompiledHeaders, authority: str, context: RouteContext
) -> tuple[list[WeightedDestination], list[ConsistentHashLB]]:
    """The targets of a rule, and what they are hashed by.

    With several targets a weight of zero takes one out; with a single one weights mean nothing.
    """
    written = rule.route.route
    several = len(written) > 1
    found: list[WeightedDestination] = []
    hashed: list[ConsistentHashLB] = []
    for item in written:
        weight = (item.weight or 0) if several else 1
        if not weight:
            continue
        target = resolve_target(item.destination, rule.namespace, context)
        own = compile_headers(item.headers)
        request, response = levels(own, headers, several=several)
        if several and authority and own.authority:
            request = (*request, told_host(own.authority))
        found.append(
            WeightedDestination(
                cluster=target.cluster,
                host=target.host,
                port=target.port,
                subset=target.subset,
                weight=weight,
                request_levels=request,
                response_levels=response,
                host_rewrite=authority or own.authority or None,
                # Envoy 1.39: not where one of several destinations has a Host header of its own.
                tells_host=bool(authority and not own.authority if several else authority or own.authority),
            )
        )
        if context.rules:
            settings = context.find_hash(target.written_host, target.subset, target.named_port)
            if settings is not None:
                hashed.append(settings)
    if not found:
        raise UnusableRuleError("it has no destination with a weight above 0")
    return found, hashed


def told_host(host: str) -> HeaderOps:
    """What tells the host that one of several destinations has put in, which a rewrite of the route finds there."""
    return HeaderOps(set=(("x-envoy-original-host", HeaderValue((host,))),))


def levels(
    own: CompiledHeaders, route: CompiledHeaders, *, several: bool
) -> tuple[tuple[HeaderOps, ...], tuple[HeaderOps, ...]]:
    """The header operations on request and response, in the order they run.

    Of a single target the rule's and the target's operations are one level, of several
    targets the target's whole level comes first and then the rule's.
    """
    if own is NO_HEADERS and route is NO_HEADERS:
        return NO_LEVELS, NO_LEVELS
    if not several:
        return merged_levels((route.request, own.request)), merged_levels((route.response, own.response))
    request = tuple([level for level in (own.request, route.request) if level is not None])
    response = tuple([level for level in (own.response, route.response) if level is not None])
    return request, response


def limits(
    route: HTTPRoute, targets: Iterable[WeightedDestination], context: RouteContext, *, hashed: bool
) -> tuple[float | None, RetryPolicy | None]:
    """Timeout and retries: the rule's own, else those of a DestinationRule, else the mesh's."""
    timeout = None if route.timeout is None else float(route.timeout) or None
    wanted = route.retries
    if context.rules and (timeout is None or wanted is None):
        for target in targets:
            defaults = context.find_defaults(target.host, target.subset, target.port)
            if defaults is not None:
                timeout = defaults.timeout if timeout is None else timeout
                wanted = wanted or extension_retry(defaults.retry)
                break
    return timeout, compile_retry(wanted or context.mesh.retry, hashed=hashed)


def extension_retry(policy: ExtensionRetry | None) -> HTTPRetry | None:
    """A DestinationRule's retry policy as a VirtualService would write it; attempts unset are Istio's default."""
    if policy is None:
        return None
    return HTTPRetry(
        attempts=DEFAULT_RETRY.attempts if policy.attempts is None else policy.attempts,
        per_try_timeout=policy.per_try_timeout,
        retry_on=policy.retry_on,
    )


def compile_rewrite(rewrite: HTTPRewrite, match: RouteMatch) -> Rewrite | None:
    """The change of the path; None if only the authority changes."""
    regex = rewrite.uri_regex_rewrite
    if regex is not None:
        substitution = compile_substitution(regex.match or "", regex.rewrite or "")
        return Rewrite(regex=substitution, substitution=regex.rewrite or "")
    return Rewrite(path=rewrite.uri, cut=matched_length(match)) if rewrite.uri else None


def matched_length(match: RouteMatch) -> int | None:
    """How many characters of the path a rewrite replaces; None is all of them."""
    if match.uri is None:
        return 1
    text = match.uri.text
    return len(text.value) if isinstance(text, Prefix) else None
