"""The answers that the mesh gives itself, word for word as Envoy sends them (semantics 2.9)."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from meshlib._engine.commands import LocalReply
from meshlib._engine.mutations import redirect_location
from meshlib._http import Failure, FailureKind, RequestHead
from meshlib._snapshot.routes import DirectResponse, Redirect

__all__ = [
    "GRPC_STATUS_OF_HTTP",
    "OVERFLOW_DETAILS",
    "configured_reply",
    "grpc_reply",
    "is_grpc",
    "local_reply",
    "overflow_reply",
    "reset_reply",
    "unhealthy_reply",
]

OVERFLOW_DETAILS: Final = "upstream_reset_before_response_started{overflow}"
"""Envoy's response code detail of a request that a limit refuses."""

# gRPC's HTTP to status mapping, as Envoy uses it for local replies to gRPC requests.
GRPC_STATUS_OF_HTTP: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}

_GRPC_UNKNOWN: Final = 2

_FLAG_OF_FAILURE: Final = {
    FailureKind.CONNECT_FAILURE: "UF",
    FailureKind.CONNECT_TIMEOUT: "UF",
    FailureKind.TERMINATION: "UC",
    FailureKind.REMOTE_RESET: "UR",
    FailureKind.LOCAL_RESET: "LR",
    FailureKind.REFUSED_STREAM: "UR",
    FailureKind.PROTOCOL_ERROR: "UPE",
    FailureKind.TIMEOUT: "UT",
    FailureKind.OVERFLOW: "UO",
}


def is_grpc(request: RequestHead) -> bool:
    """Whether a request is gRPC: content-type ``application/grpc`` or ``application/grpc+…``."""
    kind: str = request.headers.get("content-type", "")
    return kind.startswith("application/grpc") and (len(kind) == 16 or kind[16] == "+")


def local_reply(
    request: RequestHead,
    status: int,
    body: str,
    details: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    refusal: bool = True,
    error: BaseException | None = None,
) -> LocalReply:
    """A reply as Envoy would send it; for a gRPC request a 200 with ``grpc-status``."""
    if is_grpc(request):
        return grpc_reply(GRPC_STATUS_OF_HTTP.get(status, 2), body, details, headers, refusal=refusal, error=error)
    text = body.encode()
    if text:
        headers = (("content-length", str(len(text))), ("content-type", "text/plain"), *headers)
    return LocalReply(status, text, headers, details, refusal=refusal, error=error)


def grpc_reply(
    grpc_status: int,
    message: str,
    details: str,
    headers: tuple[tuple[str, str], ...] = (),
    *,
    refusal: bool = True,
    error: BaseException | None = None,
) -> LocalReply:
    """A trailers-only gRPC response."""
    fields: tuple[tuple[str, str], ...] = (("content-type", "application/grpc"), ("grpc-status", str(grpc_status)))
    if message:
        fields += (("grpc-message", quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")),)
    return LocalReply(200, b"", (*fields, *headers), details, refusal=refusal, error=error)


def configured_reply(action: Redirect | DirectResponse, request: RequestHead) -> LocalReply:
    """What a redirect or a direct response answers, before the route's header operations."""
    if type(action) is Redirect:
        location = ("location", redirect_location(action, request))
        if is_grpc(request):
            return grpc_reply(_GRPC_UNKNOWN, "", "direct_response", (location,), refusal=False)
        return LocalReply(action.status, b"", (location,), "direct_response", refusal=False)
    assert isinstance(action, DirectResponse)
    body = action.body
    if is_grpc(request):
        status = GRPC_STATUS_OF_HTTP.get(action.status, 2)
        return grpc_reply(status, body.decode("utf-8", "replace"), "direct_response", refusal=False)
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/plain"),) if body else ()
    if action.status == 204:
        body = b""  # Envoy 1.39 keeps the type and drops what a 204 cannot have
    if body:
        headers = (("content-length", str(len(body))), *headers)
    return LocalReply(action.status, body, headers, "direct_response", refusal=False)


def reset_reply(request: RequestHead, failure: Failure, *, retried: bool) -> tuple[LocalReply, str]:
    """The reply to an attempt that ended without a response, and its response flag."""
    flag = _FLAG_OF_FAILURE[failure.kind]
    reason = failure.kind.value
    if failure.kind is FailureKind.TIMEOUT:
        reply = local_reply(request, 504, "upstream request timeout", failure.detail, error=failure.error)
        return reply, flag
    status = 502 if failure.kind is FailureKind.PROTOCOL_ERROR else 503
    latest = "retried and the latest reset reason" if retried else "reset reason"
    body = f"upstream connect error or disconnect/reset before headers. {latest}: {reason}"
    if failure.detail:
        body += f", transport failure reason: {failure.detail}"
    told = f"{reason}|{failure.detail}" if failure.detail else reason
    details = f"upstream_reset_before_response_started{{{'_'.join(told.split())}}}"
    return local_reply(request, status, body, details, error=failure.error), flag


def overflow_reply(request: RequestHead) -> LocalReply:
    """503 with ``x-envoy-overloaded``; never retried, ignored by outlier detection."""
    body = "upstream connect error or disconnect/reset before headers. reset reason: overflow"
    return local_reply(request, 503, body, OVERFLOW_DETAILS, headers=(("x-envoy-overloaded", "true"),))


def unhealthy_reply(request: RequestHead) -> LocalReply:
    """503 where no endpoint may be picked."""
    return local_reply(request, 503, "no healthy upstream", "no_healthy_upstream")
