"""The headers that every request gets or loses on its way out, whatever the route says (semantics 2.12, 3.8, 7.7)."""

from __future__ import annotations

import itertools
import sys
from typing import Final

from multidict import istr

from meshlib._http import Headers, RequestHead, is_bare
from meshlib._random import Chance

__all__ = [
    "ATTEMPT_COUNT",
    "EXPECTED_TIMEOUT",
    "RequestIds",
    "milliseconds",
    "set_attempt_headers",
    "set_exchange_headers",
]

# What Envoy removes from a request that is not internal; with Istio's configuration none is.
_CONTROL: Final = tuple(
    istr(f"x-envoy-{name}")
    for name in (
        "expected-rq-timeout-ms force-trace hedge-on-per-try-timeout ip-tags max-retries original-url "
        "retriable-header-names retriable-status-codes retry-grpc-on retry-on upstream-alt-stat-name "
        "upstream-rq-per-try-timeout-ms upstream-rq-timeout-alt-response upstream-rq-timeout-ms"
    ).split()
)

# Names that need no folding of case at each use.
_REQUEST_ID: Final = istr("x-request-id")
_FORWARDED_PROTO: Final = istr("x-forwarded-proto")
ATTEMPT_COUNT: Final = istr("x-envoy-attempt-count")
EXPECTED_TIMEOUT: Final = istr("x-envoy-expected-rq-timeout-ms")
_AHEAD: Final = 32
_HOST, _ACCEPT, _ENCODING, _AGENT = istr("host"), istr("accept"), istr("accept-encoding"), istr("user-agent")


class RequestIds:
    """Random UUIDs (version 4 in form), for a tenth of what uuid.uuid4 costs.

    The first eight digits are drawn for each id, since that is what Envoy samples by;
    the next twelve are drawn once, and the last twelve count up from a random number.
    Made by the dozen, ahead of the requests that get them.
    """

    __slots__ = ("_draw", "_format", "_ready", "_starts")

    def __init__(self, chance: Chance) -> None:
        self._draw = chance.getrandbits
        middle = f"{chance.getrandbits(48):012x}"
        self._format = f"%08x-{middle[:4]}-4{middle[5:8]}-a{middle[9:]}-%012x".__mod__
        self._starts = itertools.count(chance.getrandbits(47), _AHEAD)
        self._ready: list[str] = []

    def next(self) -> str:
        """An id that was not given before."""
        try:
            return self._ready.pop()
        except IndexError:
            return self._more()

    def _more(self) -> str:
        start = next(self._starts)
        drawn = memoryview(self._draw(32 * _AHEAD).to_bytes(4 * _AHEAD, sys.byteorder)).cast("I")
        made = list(map(self._format, zip(drawn, range(start, start + _AHEAD), strict=True)))
        made.reverse()
        first = made.pop()
        self._ready = made  # another thread may have put its own there: those are lost, not given twice
        return first


def set_exchange_headers(request: RequestHead, headers: Headers, ids: RequestIds) -> bool:
    """Once an exchange: drop Envoy's control headers, make sure of a request id and of the scheme.

    True if nothing there speaks of a body.
    """
    # Most requests have just what the client library puts there itself; else one look at all names will do.
    if len(headers) == 4 and _HOST in headers and _ACCEPT in headers and _ENCODING in headers and _AGENT in headers:
        headers[_REQUEST_ID] = ids.next()
        headers[_FORWARDED_PROTO] = request.scheme
        return True
    if "x-envoy-" in "".join(headers).lower():
        for name in _CONTROL:
            headers.popall(name, None)
    if _REQUEST_ID not in headers:
        headers[_REQUEST_ID] = ids.next()
    if _FORWARDED_PROTO not in headers:
        headers[_FORWARDED_PROTO] = request.scheme
    return is_bare(headers)


def set_attempt_headers(headers: Headers, attempt: int, timeout: float | None) -> None:
    """Once an attempt: its number, and the milliseconds it may take."""
    headers[ATTEMPT_COUNT] = "1" if attempt == 1 else str(attempt)
    if timeout is not None:
        headers[EXPECTED_TIMEOUT] = milliseconds(timeout)


def milliseconds(timeout: float) -> str:
    """A timeout as Envoy writes it: whole milliseconds, at least one."""
    return str(max(int(timeout * 1000.0), 1))
