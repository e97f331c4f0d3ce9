"""From the extension providers of MeshConfig to the external authorizer of a workload (semantics 6.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from meshlib._compile.findings import Findings
from meshlib._compile.headers import HeaderFormatError, header_value
from meshlib._compile.mtls import PeerModes
from meshlib._compile.visibility import View
from meshlib._snapshot.clusters import Cluster
from meshlib._snapshot.routes import HeaderValue, Origin
from meshlib._snapshot.security import Authorizer
from meshlib.model.mesh_config import MeshConfig
from meshlib.model.mesh_providers import EnvoyExternalAuthorizationHttpProvider

__all__ = ["checked_authorizer", "compile_authorizer"]

_TIMEOUT: Final = 600.0  # Istio's default for ext_authz
_LONGEST: Final = 2e6  # as long as a socket can wait
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ORIGIN: Final = Origin("MeshConfig", "extensionProviders")
_STATUSES: Final = frozenset(
    (100, *range(200, 209), 226, *range(300, 306), 307, 308, *range(400, 418), 421, 422, 423, 424, 426, 428, 429, 431)
) | {*range(500, 509), 510, 511}
"""What Envoy has a name for."""


def compile_authorizer(
    providers: tuple[str, ...], config: MeshConfig, view: View, findings: Findings
) -> tuple[Authorizer | None, str]:
    """The one authorizer of the workload; None, with the reason, if Istio denies what its policies match."""
    found = _authorizer(providers, config, view, findings)
    if isinstance(found, Authorizer):
        return found, ""
    findings.add("MESH091", _ORIGIN, found)
    return None, found


def _authorizer(providers: tuple[str, ...], config: MeshConfig, view: View, findings: Findings) -> Authorizer | str:
    if len(providers) > 1:
        return f"a workload can have one authorizer, not {', '.join(providers)}"
    name = next(iter(providers))
    # Asked of Istio 1.31: of several with one name the last counts.
    provider = next((one for one in reversed(config.extension_providers) if one.name == name), None)
    if provider is not None and provider.envoy_ext_authz_http is not None:
        return _http_authorizer(name, provider.envoy_ext_authz_http, view, findings)
    if provider is not None and provider.envoy_ext_authz_grpc is not None:
        findings.add("MESH091", _ORIGIN, f"the authorizer {name!r} speaks gRPC, which meshlib does not yet")
        grpc = provider.envoy_ext_authz_grpc
        return Authorizer(
            name=name,
            is_usable=False,
            asks_connections=True,
            fail_open=bool(grpc.fail_open),
            status_on_error=_status(grpc.status_on_error),
        )
    return f"there is no authorizer {name!r}" if provider is None else f"the provider {name!r} is no authorizer"


def checked_authorizer(
    authorizer: Authorizer | None, clusters: Mapping[str, Cluster], view: View, peers: PeerModes, findings: Findings
) -> Authorizer | None:
    """The authorizer, and told why it cannot be reached if it cannot.

    One that takes TLS only is not asked at all: to it a plain connection were an outage, which ``failOpen`` forgives.
    """
    if authorizer is None or not authorizer.is_usable:
        return authorizer
    cluster = clusters.get(f"outbound|{authorizer.port}||{authorizer.host}")
    if cluster is None:
        problem = f"the service {authorizer.host!r} has no port {authorizer.port}"
    else:
        problem = _wanted_tls(cluster, peers.mode(view.services[authorizer.host].namespace))
    if problem:
        findings.add("MESH091", _ORIGIN, f"the authorizer {authorizer.name!r}: {problem}")
    return replace(authorizer, is_usable=False) if problem and cluster is not None else authorizer


def _wanted_tls(cluster: Cluster, mode: str) -> str:
    """Why it has to be TLS; empty where plain text does."""
    declared = cluster.policy.tls.mode
    if declared not in ("AUTO", "DISABLE"):
        return f"its DestinationRule asks for TLS ({declared}), in which meshlib asks nobody yet"
    if declared == "AUTO" and mode == "STRICT" and all(endpoint.mesh_tls for endpoint in cluster.endpoints):
        return "its PeerAuthentication is STRICT, and meshlib asks nobody in mutual TLS yet"
    return ""


def _status(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 403


def _http_authorizer(
    name: str, http: EnvoyExternalAuthorizationHttpProvider, view: View, findings: Findings
) -> Authorizer | str:
    for problem in _problems(name, http):
        return f"the authorizer {name!r}: {problem}"
    is_known = _is_known(http.service or "", view)
    if not is_known:
        findings.add("MESH091", _ORIGIN, f"the service {http.service!r} of the authorizer {name!r} is not known")
    body = http.include_request_body_in_check
    return Authorizer(
        name=name,
        host=(http.service or "").rpartition("/")[2],
        port=http.port or 0,
        is_usable=is_known,
        timeout=_timeout(http),
        path_prefix=http.path_prefix or "",
        fail_open=bool(http.fail_open),
        status_on_error=_status(http.status_on_error),
        # The old name counts only where the new one is absent.
        request_headers=_names(http.include_request_headers_in_check or http.include_headers_in_check),
        added_headers=_added(http),
        upstream_headers=_names(http.headers_to_upstream_on_allow),
        deny_headers=_names(http.headers_to_downstream_on_deny),
        allow_headers=_names(http.headers_to_downstream_on_allow),
        body_limit=(body.max_request_bytes or 0) if body is not None else 0,
        allows_partial_body=bool(body is not None and body.allow_partial_message),
    )


def _timeout(http: EnvoyExternalAuthorizationHttpProvider) -> float:
    """In seconds; ``0s`` is none at all, as in Envoy."""
    return _TIMEOUT if http.timeout is None else min(float(http.timeout) or _LONGEST, _LONGEST)


def _added(http: EnvoyExternalAuthorizationHttpProvider) -> dict[str, HeaderValue]:
    added = http.include_additional_headers_in_check
    return {name.lower(): header_value(value) for name, value in sorted(added.items())}


def _is_known(service: str, view: View) -> bool:
    namespace, _, host = service.rpartition("/")
    found = view.services.get(host)
    return found is not None and namespace in ("", found.namespace)


def _problems(name: str, http: EnvoyExternalAuthorizationHttpProvider) -> Iterator[str]:
    """What makes Istio deny all that is to be asked, or Envoy refuse the configuration."""
    if _NAME.fullmatch(name) is None:
        yield "its name must be of at most 63 lower-case letters, digits and hyphens"
    if not 0 < (http.port or 0) <= 65535:
        yield f"the port {http.port} is not between 1 and 65535"
    if http.path_prefix and not http.path_prefix.startswith("/"):
        yield f"the pathPrefix {http.path_prefix!r} does not begin with /"
    status = http.status_on_error
    if status and (not status.isascii() or not status.isdigit() or int(status) not in _STATUSES):
        yield f"the statusOnError {status!r} is no HTTP status that Envoy knows"
    if not http.service:
        yield "the service is missing"
    body = http.include_request_body_in_check
    if body is not None and not body.max_request_bytes:
        yield "includeRequestBodyInCheck needs a maxRequestBytes above 0"
    if http.timeout is not None and float(http.timeout) < 0:
        yield "the timeout is negative"
    yield from _header_problems(http)


def _header_problems(http: EnvoyExternalAuthorizationHttpProvider) -> Iterator[str]:
    lists = (
        http.include_request_headers_in_check,
        http.include_headers_in_check,
        http.headers_to_upstream_on_allow,
        http.headers_to_downstream_on_deny,
        http.headers_to_downstream_on_allow,
    )
    if any("*" in names for names in lists):
        yield 'a header "*" is not supported, only a prefix or a suffix'
    try:
        _added(http)
    except HeaderFormatError as error:
        yield f"includeAdditionalHeadersInCheck: {error}"


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
