"""Envoy's format strings: access-log lines and the values of tags (semantics 7.4).

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage

A format is turned into a list of functions once. What a process cannot know is ``-``, as
Envoy writes what it does not know. Control characters are escaped, so that no request can
write a line of its own, and credentials in headers are never written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshlib.telemetry.log_operators import NOTHING, OPERATORS, Operator

if TYPE_CHECKING:
    from meshlib.telemetry.facts import Facts

__all__ = [
    "DEFAULT_FIELDS",
    "DEFAULT_TEXT",
    "Line",
    "compile_fields",
    "compile_text",
    "stray_signs",
    "unknown_operators",
]

DEFAULT_TEXT: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" '
    "%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's line."""

DEFAULT_FIELDS: Final[Mapping[str, str]] = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
"""Istio's fields where logs are JSON."""

Line: TypeAlias = "Callable[[Facts], str]"

_SHOWN: Final = 20
_OPERATOR: Final = re.compile(r"%%|%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::([0-9]+))?%")


def compile_text(text: str, *, omit_empty: bool = False) -> Line:
    """A format as a function of a request; what is not known is ``-``, or nothing with ``omit_empty``."""
    missing = "" if omit_empty else "-"
    parts = [missing if part is NOTHING else part for part in _parts(text)]
    template = "".join(part.replace("%", "%%") if isinstance(part, str) else "%s" for part in parts)
    reads = [part for part in parts if not isinstance(part, str)]
    # Mostly there is nothing to escape: one look at the whole line tells, where the format itself has nothing.
    is_plain = all(part.isprintable() for part in parts if isinstance(part, str))

    def line(facts: Facts) -> str:
        values = [value if (value := read(facts)) or value == 0 else missing for read in reads]
        made = template % tuple(values)
        if is_plain and made.isprintable():
            return made
        return template % tuple([_safe(str(value)) for value in values])

    return line


def compile_fields(fields: Mapping[str, object], *, omit_empty: bool = False) -> Line:
    """Fields as a function of a request that gives one line of JSON.

    A field of a single operator keeps its kind: a number stays a number, and what is not
    known is null (left out with ``omit_empty``).
    """
    build = _value(fields, omit_empty=omit_empty)
    return lambda facts: json.dumps(build(facts), separators=(",", ":"), ensure_ascii=False)


def _value(written: object, *, omit_empty: bool) -> Callable[[Facts], Any]:
    match written:
        case str():
            return _field(written, omit_empty=omit_empty)
        case Mapping():
            entries = [(str(name), _value(inner, omit_empty=omit_empty)) for name, inner in written.items()]

            def build(facts: Facts) -> dict[str, Any]:
                found = {name: inner(facts) for name, inner in entries}
                return {name: value for name, value in found.items() if value is not None} if omit_empty else found

            return build
        case list() | tuple():
            items = [_value(inner, omit_empty=omit_empty) for inner in written]
            return lambda facts: [item(facts) for item in items]
        case _:
            return lambda _facts: written


def _field(text: str, *, omit_empty: bool) -> Callable[[Facts], Any]:
    parts = _parts(text)
    if len(parts) == 1 and not isinstance(parts[0], str):
        operator = parts[0]

        def field(facts: Facts) -> Any:
            value = operator(facts)
            if isinstance(value, str):
                return _safe(value) or None
            return value

        return field
    return compile_text(text, omit_empty=omit_empty)


def unknown_operators(written: object) -> list[str]:
    """The operators of a format that mean nothing here."""
    found = [match[1] for text in _texts(written) for match in _OPERATOR.finditer(text) if match[1]]
    return [name for name in found if name not in OPERATORS]


def stray_signs(written: object) -> list[str]:
    """What follows the first per cent sign of each text that neither begins an operator nor is doubled.

    Envoy 1.39.3 refuses such a format ("Couldn't find valid command at position …").
    """
    found = []
    for text in _texts(written):
        at = _OPERATOR.sub(lambda match: " " * len(match[0]), text).find("%")
        if at >= 0:
            found.append(text[at : at + _SHOWN].rstrip("\n"))
    return found


def _texts(written: object) -> Iterator[str]:
    match written:
        case str():
            yield written
        case Mapping():
            for inner in written.values():
                yield from _texts(inner)
        case list() | tuple():
            for inner in written:
                yield from _texts(inner)
        case _:
            return


def _parts(text: str) -> list[str | Operator]:
    """The constant texts and the operators of a format, in order."""
    parts: list[str | Operator] = []
    at = 0
    for match in _OPERATOR.finditer(text):
        if match.start() > at:
            parts.append(text[at : match.start()])
        at = match.end()
        parts.append("%" if match[0] == "%%" else _operator(match[1], match[2] or "", match[3]))
    if at < len(text):
        parts.append(text[at:])
    return parts


def _operator(name: str, argument: str, limit: str | None) -> Operator:
    make = OPERATORS.get(name)
    operator = NOTHING if make is None else make(argument)
    if limit is None or operator is NOTHING:
        return operator
    length = int(limit)

    def limited(facts: Facts) -> Any:
        value = operator(facts)
        return value[:length] if isinstance(value, str) else value

    return limited


def _safe(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogateescape"))
