"""What the values of annotations on pods must be. Istio 1.31: pkg/kube/inject/validate.go."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from meshlib._analyze.messages import quoted
from meshlib._config.mesh_text import usual_form
from meshlib._config.reader import read
from meshlib.diagnostics import Finding
from meshlib.model.hooks import decode_hook
from meshlib.model.mesh_proxy import ProxyConfig
from meshlib.model.shapes import shape_of

__all__ = ["value_problem"]

_BOOLEANS: Final = frozenset("1 t T TRUE true True 0 f F FALSE false False".split())
_QUANTITY: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?\Z")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.:@-]+\Z")


def value_problem(name: str, value: str) -> str:
    """What is wrong with the value of an annotation; nothing if it is right or may be anything."""
    check = _CHECKS.get(name)
    return "" if check is None else check(value)


def _mode(value: str) -> str:
    valid = ("REDIRECT", "TPROXY", "NONE")
    return "" if value in valid else f"interceptionMode invalid, use REDIRECT,TPROXY,NONE: {value}"


def _number(value: str, bits: int) -> str:
    """As Go's ParseUint says it."""
    if not (value.isascii() and value.isdigit()):
        return f"strconv.ParseUint: parsing {quoted(value)}: invalid syntax"
    return "" if int(value) < 1 << bits else f"strconv.ParseUint: parsing {quoted(value)}: value out of range"


def _port(value: str) -> str:
    problem = _number(value.strip(), 16)
    return f"failed parsing port '{value}': {problem}" if problem else ""


def _status_port(value: str) -> str:
    problem = _port(value)
    return f"excludeInboundPorts invalid: {problem}" if problem else ""


def _ports(name: str, *, takes_all: bool = False) -> Callable[[str], str]:
    def check(value: str) -> str:
        if (takes_all and value == "*") or not value.strip():
            return ""
        for part in value.strip().split(","):
            problem = _port(part)
            if problem:
                return f"{name} invalid: failed parsing port '{part}': {problem}"
        return ""

    return check


def _ranges(name: str, *, takes_all: bool = False) -> Callable[[str], str]:
    def check(value: str) -> str:
        if (takes_all and value == "*") or not value:
            return ""
        for part in value.split(","):
            problem = _range_problem(part)
            if problem:
                return f"{name} invalid: failed parsing cidr '{part}': netip.ParsePrefix({quoted(part)}): {problem}"
        return ""

    return check


def _range_problem(text: str) -> str:
    address, slash, bits = text.rpartition("/")
    if not slash:
        return "no '/'"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        is_short = re.fullmatch(r"\d+(\.\d+){0,2}", address) and "." in address
        return f"ParseAddr({quoted(address)}): {'IPv4 address too short' if is_short else 'unable to parse IP'}"
    if not bits.isascii() or not bits.isdigit() or (bits != "0" and bits.startswith("0")):
        return f"bad bits after slash: {quoted(bits)}"
    return "" if int(bits) <= parsed.max_prefixlen else "prefix length out of range"


def _interfaces(value: str) -> str:
    for part in value.split(",") if value else ():
        name = part.strip()
        if not name:
            return "empty interface name"
        if len(name) > 15:
            return f"interface name {quoted(name)} too long (max 15 chars)"
        if _INTERFACE.match(name) is None:
            return f"interface name {quoted(name)} contains invalid characters"
    return ""


def _boolean(value: str) -> str:
    return "" if value in _BOOLEANS else f"strconv.ParseBool: parsing {quoted(value)}: invalid syntax"


def _quantity(value: str) -> str:
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in value):
        return "value contains control characters"
    valid = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    return "" if _QUANTITY.match(value) else valid


def _proxy_config(value: str) -> str:
    problems: list[Finding] = []
    parsed: object = next((document.value for document in read(value, "<annotation>", problems)), {})
    if problems:
        return f"failed to convert to apply proxy config: {problems[0].message}"
    try:
        msgspec.convert(usual_form(parsed, shape_of(ProxyConfig)), ProxyConfig, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        return f"failed to convert to apply proxy config: {error}"
    return ""


_CHECKS: Final[Mapping[str, Callable[[str], str]]] = {
    "sidecar.istio.io/interceptionMode": _mode,
    "status.sidecar.istio.io/port": _status_port,
    "readiness.status.sidecar.istio.io/initialDelaySeconds": lambda value: _number(value, 32),
    "readiness.status.sidecar.istio.io/periodSeconds": lambda value: _number(value, 32),
    "readiness.status.sidecar.istio.io/failureThreshold": lambda value: _number(value, 32),
    "traffic.sidecar.istio.io/includeOutboundIPRanges": _ranges("includeIPRanges", takes_all=True),
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": _ranges("excludeIPRanges"),
    "traffic.sidecar.istio.io/includeInboundPorts": _ports("includeInboundPorts", takes_all=True),
    "traffic.sidecar.istio.io/excludeInboundPorts": _ports("excludeInboundPorts"),
    "traffic.sidecar.istio.io/excludeOutboundPorts": _ports("excludeOutboundPorts"),
    "traffic.sidecar.istio.io/excludeInterfaces": _interfaces,
    "traffic.sidecar.istio.io/kubevirtInterfaces": _interfaces,
    "istio.io/reroute-virtual-interfaces": _interfaces,
    "prometheus.istio.io/merge-metrics": _boolean,
    "proxy.istio.io/config": _proxy_config,
    "sidecar.istio.io/proxyCPU": _quantity,
    "sidecar.istio.io/proxyMemory": _quantity,
    "sidecar.istio.io/proxyCPULimit": _quantity,
    "sidecar.istio.io/proxyMemoryLimit": _quantity,
}
