"""The command operators of Envoy's formats, as far as a process can know what they stand for."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl

from multidict import istr

from meshlib._http import REDACTED
from meshlib.telemetry.expressions import UnsupportedError, compile_expression, to_text
from meshlib.telemetry.fields import head_size

if TYPE_CHECKING:
    from meshlib.telemetry.facts import Facts

__all__ = ["NOTHING", "OPERATORS", "Operator", "format_time"]

Operator: TypeAlias = "Callable[[Facts], Any]"
Make: TypeAlias = "Callable[[str], Operator]"

_SECRET: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_SERVICE_TIME: Final = istr("x-envoy-upstream-service-time")
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%3fZ"
_FRACTION: Final = re.compile(r"%([1-9]?)f|%E([1-9])S|%s")

_LONG_FLAGS: Final[Mapping[str, str]] = {
    "LH": "FailedLocalHealthCheck",
    "UH": "NoHealthyUpstream",
    "UT": "UpstreamRequestTimeout",
    "LR": "LocalReset",
    "UR": "UpstreamRemoteReset",
    "UF": "UpstreamConnectionFailure",
    "UC": "UpstreamConnectionTermination",
    "UO": "UpstreamOverflow",
    "NR": "NoRouteFound",
    "DI": "DelayInjected",
    "FI": "FaultInjected",
    "RL": "RateLimited",
    "UAEX": "UnauthorizedExternalService",
    "RLSE": "RateLimitServiceError",
    "DC": "DownstreamConnectionTermination",
    "URX": "UpstreamRetryLimitExceeded",
    "SI": "StreamIdleTimeout",
    "IH": "InvalidEnvoyRequestHeaders",
    "DPE": "DownstreamProtocolError",
    "UMSDR": "UpstreamMaxStreamDurationReached",
    "DT": "DurationTimeout",
    "UPE": "UpstreamProtocolError",
    "NC": "NoClusterFound",
    "OM": "OverloadManagerTerminated",
    "DF": "DnsResolutionFailed",
}
_GRPC_NAMES: Final = (
    "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted "
    "FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated"
).split()


def format_time(moment: float, form: str = _TIME_FORMAT) -> str:
    """A Unix time in UTC, by strftime with Envoy's fractions (``%3f``) and seconds since the epoch (``%s``)."""
    seconds, microseconds = divmod(round(moment * 1e6), 10**6)  # a float has no more digits than that

    def fraction(match: re.Match[str]) -> str:
        if match[0] == "%s":
            return str(seconds)
        digits = f"{microseconds:06d}000"
        return f"%S.{digits[: int(match[2])]}" if match[2] else digits[: int(match[1] or 9)]

    return datetime.fromtimestamp(seconds, UTC).strftime(_FRACTION.sub(fraction, form))


def _plain(read: Operator) -> Make:
    return lambda _argument: read


def _attribute(name: str) -> Make:
    read = attrgetter(name)
    return lambda _argument: read


def _header(argument: str, *, of_response: bool) -> Operator:
    """``NAME?OTHER``: a header, else another one."""
    names = [name.strip().lower() for name in argument.split("?", 1)]
    reads = [_response_header(name) if of_response else _request_header(name) for name in names]
    if len(reads) == 1:
        return reads[0]
    first, second = reads

    def either(facts: Facts) -> Any:
        return first(facts) or second(facts)

    return either


_PSEUDO: Final[Mapping[str, Operator]] = {
    ":method": attrgetter("head.method"),
    ":path": attrgetter("path"),
    ":authority": attrgetter("authority"),
    ":scheme": lambda facts: facts.headers.get("x-forwarded-proto") or facts.head.scheme,
}


def _request_header(name: str) -> Operator:
    if name in _PSEUDO:
        return _PSEUDO[name]
    if name in _SECRET:
        return lambda facts: REDACTED if name in facts.headers else None
    folded = istr(name)  # case folded once
    return lambda facts: facts.headers.get(folded)


def _response_header(name: str) -> Operator:
    if name in _SECRET:
        return lambda facts: REDACTED if name in facts.response_headers else None
    if name == "x-envoy-upstream-service-time":
        return _service_time
    folded = istr(name)
    return lambda facts: facts.response_headers.get(folded)


def _service_time(facts: Facts) -> Any:
    """The header that Envoy's router writes: what it waited for the upstream."""
    written = facts.response_headers.get(_SERVICE_TIME)
    if written is None and facts.upstream_duration is not None:
        return str(int(facts.upstream_duration * 1000.0))
    return written


def _start_time(argument: str) -> Operator:
    write = partial(format_time, form=argument) if argument else _default_time()
    return lambda facts: write(facts.ended - facts.duration)


def _emit_time(argument: str) -> Operator:
    write = partial(format_time, form=argument) if argument else _default_time()
    return lambda facts: write(facts.ended)


def _default_time() -> Callable[[float], str]:
    """The default form, of which all but the milliseconds is the same for a whole second."""
    last: tuple[int, str] = (-1, "")

    def write(moment: float) -> str:
        nonlocal last
        seconds, milliseconds = divmod(round(moment * 1e6) // 1000, 1000)
        second, text = last
        if second != seconds:
            text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            last = (seconds, text)
        return f"{text}.{milliseconds:03d}Z"

    return write


def _grpc(argument: str) -> Operator:
    def status(facts: Facts) -> Any:
        number = facts.grpc_status
        if not number or argument == "NUMBER":
            return int(number) if number else None
        name = _GRPC_NAMES[int(number)] if int(number) < len(_GRPC_NAMES) else number
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper() if argument == "SNAKE_STRING" else name

    return status


def _query_parameter(argument: str) -> Operator:
    return lambda facts: dict(parse_qsl(facts.head.query)).get(argument)


def _path(argument: str) -> Operator:
    """``PATH(NQ)`` leaves the query out; ``ORIG`` is the path before a rewrite, ``PATH`` the one after it."""
    options = set(argument.split(":"))
    has_original, has_sent = "PATH" not in options, "ORIG" not in options

    def path(facts: Facts) -> Any:
        found = (facts.original_path if has_original else "") or (facts.path if has_sent else "")
        return found.partition("?")[0] if "NQ" in options else found

    return path


def _cel(argument: str) -> Operator:
    try:
        evaluate = compile_expression(argument)
    except UnsupportedError:
        return lambda _facts: None
    return lambda facts: to_text(evaluate, facts)


def _without_port(address: str) -> str:
    return address.rpartition(":")[0] if ":" in address and not address.endswith("]") else address


def _port(address: str) -> Any:
    text = address.rpartition(":")[2]
    return int(text) if text.isascii() and text.isdigit() else None


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000.0)


def NOTHING(_facts: Facts) -> None:  # noqa: N802 - a constant that is called like the others
    """Reads what a process cannot know."""


def _nothing(_argument: str) -> Operator:
    return NOTHING


def _environment(argument: str) -> Operator:
    value = os.environ.get(argument)
    return lambda _facts: value


def _hostname(_argument: str) -> Operator:
    name = socket.gethostname()
    return lambda _facts: name


OPERATORS: Final[Mapping[str, Make]] = {
    "START_TIME": _start_time,
    "EMIT_TIME": _emit_time,
    "REQ": lambda argument: _header(argument, of_response=False),
    "RESP": lambda argument: _header(argument, of_response=True),
    "PROTOCOL": _attribute("protocol"),
    "RESPONSE_CODE": _attribute("status"),
    "RESPONSE_FLAGS": _plain(lambda facts: ",".join(facts.flags) if facts.flags else "-"),
    "RESPONSE_FLAGS_LONG": _plain(lambda facts: ",".join(_LONG_FLAGS.get(one, one) for one in facts.flags) or "-"),
    "RESPONSE_CODE_DETAILS": _attribute("details"),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": _plain(lambda facts: "_".join(facts.failure.split())),
    "BYTES_RECEIVED": _attribute("received"),
    "BYTES_SENT": _attribute("sent"),
    "DURATION": _plain(lambda facts: _milliseconds(facts.duration)),
    "RESPONSE_DURATION": _plain(lambda facts: _milliseconds(facts.head_duration)),
    "RESPONSE_TX_DURATION": _plain(lambda facts: _milliseconds(facts.duration - facts.head_duration)),
    "REQUEST_HEADERS_BYTES": _plain(lambda facts: head_size(facts.headers)),
    "RESPONSE_HEADERS_BYTES": _plain(lambda facts: head_size(facts.response_headers)),
    "UPSTREAM_HOST": _attribute("upstream"),
    "UPSTREAM_REMOTE_ADDRESS": _attribute("upstream"),
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _plain(lambda facts: _without_port(facts.upstream)),
    "UPSTREAM_REMOTE_PORT": _plain(lambda facts: _port(facts.upstream)),
    "UPSTREAM_CLUSTER": _attribute("cluster"),
    "UPSTREAM_CLUSTER_RAW": _attribute("cluster"),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": _attribute("attempts"),
    "DOWNSTREAM_LOCAL_ADDRESS": _attribute("local"),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _plain(lambda facts: _without_port(facts.local)),
    "DOWNSTREAM_LOCAL_PORT": _plain(lambda facts: _port(facts.local)),
    "DOWNSTREAM_REMOTE_ADDRESS": _attribute("remote"),
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _attribute("remote"),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": _attribute("remote"),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": _attribute("remote"),
    "DOWNSTREAM_PEER_URI_SAN": _attribute("peer"),
    "REQUESTED_SERVER_NAME": _attribute("server_name"),
    "ROUTE_NAME": _attribute("route"),
    "GRPC_STATUS": _grpc,
    "GRPC_STATUS_NUMBER": lambda _argument: _grpc("NUMBER"),
    "QUERY_PARAM": _query_parameter,
    "PATH": _path,
    "TRACE_ID": _plain(lambda facts: getattr(facts.span, "trace_id", None)),
    "SPAN_ID": _plain(lambda facts: getattr(facts.span, "span_id", None)),
    "STREAM_ID": _attribute("request_id"),
    "HOSTNAME": _hostname,
    "ENVIRONMENT": _environment,
    "CEL": _cel,
    "ACCESS_LOG_TYPE": _plain(lambda _facts: "DownstreamEnd"),
    # Known to Envoy only: there is no connection, no filter and no proxy of which this could be told.
    "CONNECTION_TERMINATION_DETAILS": _nothing,
    "UPSTREAM_LOCAL_ADDRESS": _nothing,
    "CONNECTION_ID": _nothing,
    "TRAILER": _nothing,
    "VIRTUAL_CLUSTER_NAME": _nothing,
}
"""Operators by name; each takes what stands in its parentheses."""
