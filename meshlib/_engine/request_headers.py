"""The headers that every request gets or loses on its way out, whatever the route says (semantics 2.12, 3.8, 7.7)."""

from __future__ import annotations

from typing import Final

from meshlib._http import Headers, RequestHead
from meshlib._random import Chance

__all__ = ["set_attempt_headers", "set_exchange_headers"]

# What Envoy removes from a request that is not internal; with Istio's configuration none is.
_CONTROL: Final = frozenset(
    f"x-envoy-{name}"
    for name in (
        "expected-rq-timeout-ms force-trace hedge-on-per-try-timeout ip-tags max-retries original-url "
        "retriable-header-names retriable-status-codes retry-grpc-on retry-on upstream-alt-stat-name "
        "upstream-rq-per-try-timeout-ms upstream-rq-timeout-alt-response upstream-rq-timeout-ms"
    ).split()
)


def set_exchange_headers(request: RequestHead, headers: Headers, chance: Chance) -> None:
    """Once an exchange: drop Envoy's control headers, make sure of a request id and of the scheme."""
    control = [name for name in headers if name[:8].lower() == "x-envoy-" and name.lower() in _CONTROL]
    for name in control:
        headers.popall(name, None)
    if "x-request-id" not in headers:
        headers["x-request-id"] = _request_id(chance)
    if "x-forwarded-proto" not in headers:
        headers["x-forwarded-proto"] = request.scheme


def set_attempt_headers(headers: Headers, attempt: int, timeout: float | None) -> None:
    """Once an attempt: its number, and the milliseconds it may take."""
    headers["x-envoy-attempt-count"] = str(attempt)
    if timeout is not None:
        headers["x-envoy-expected-rq-timeout-ms"] = str(max(int(timeout * 1000.0), 1))


def _request_id(chance: Chance) -> str:
    """A random UUID (version 4) as text; uuid.uuid4 would cost ten times as much and draw from the system."""
    text = f"{chance.getrandbits(128):032x}"
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"
