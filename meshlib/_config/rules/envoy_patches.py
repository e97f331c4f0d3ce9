"""The content of EnvoyFilter patches, as far as most patches go: names, addresses, durations, typed configurations.

Istio decodes a patch by Envoy's protocol buffers. Of those thousands the few are here that
nearly every patch is made of; a field that is not here is not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from meshlib._config.check import Path
from meshlib.model.scalars import parse_duration

__all__ = ["patch_problems"]

Found: TypeAlias = "Iterator[tuple[Path, str]]"
# Which messages there are is not known here, only how they are named, and that Envoy's second API is gone.
_TYPE: Final = re.compile(r"(?!envoy\.api\.|envoy\..*\.v2(?:alpha\d*)?\.)[a-z]\w*(?:\.[a-z]\w*)*(?:\.[A-Z]\w*)+")
_WHOLE: Final = re.compile(r"google\.protobuf\.(?:Struct|Value|ListValue|Any|Empty|Duration|Timestamp|\w+Value)")
_CAPITAL: Final = re.compile(r"[A-Z]")


@dataclass(frozen=True, slots=True)
class _Message:
    """Fields by their name in protocol buffers; JSON may also write them in camel case."""

    fields: Mapping[str, Callable[[Any, Path], Found]]

    def __call__(self, value: Any, path: Path) -> Found:
        if not isinstance(value, dict):
            yield path, _unfit(value, "a mapping")
            return
        for name, part in value.items():
            field = self.fields.get(_CAPITAL.sub(lambda letter: f"_{letter[0].lower()}", name))
            if field is not None and part is not None:
                yield from field(part, (*path, name))


@dataclass(frozen=True, slots=True)
class _Many:
    item: Callable[[Any, Path], Found]

    def __call__(self, value: Any, path: Path) -> Found:
        if not isinstance(value, list):
            yield path, _unfit(value, "a list")
            return
        for index, part in enumerate(value):
            if part is not None:
                yield from self.item(part, (*path, index))


@dataclass(frozen=True, slots=True)
class _Table:
    value: Callable[[Any, Path], Found]

    def __call__(self, value: Any, path: Path) -> Found:
        if not isinstance(value, dict):
            yield path, _unfit(value, "a mapping")
            return
        for name, part in value.items():
            yield from self.value(part, (*path, name))


@dataclass(frozen=True, slots=True)
class _Choice:
    """A constant by its name, or any number."""

    name: str
    values: tuple[str, ...]

    def __call__(self, value: Any, path: Path) -> Found:
        if isinstance(value, str) and value not in self.values:
            yield path, f'unknown value "{value}" for enum {self.name}'


def _text(value: Any, path: Path) -> Found:
    if not isinstance(value, str):
        yield path, _unfit(value, "a string")


def _duration(value: Any, path: Path) -> Found:
    if not isinstance(value, str):
        yield path, _unfit(value, "a duration")
        return
    try:
        parse_duration(value)
    except ValueError as error:
        yield path, f"bad Duration: {error}"


def _any(value: Any, path: Path) -> Found:
    """A message of any type, which says what it is."""
    if not isinstance(value, dict):
        yield path, _unfit(value, "a mapping")
    elif "@type" not in value:
        yield path, "Any JSON doesn't have '@type'"
    else:
        place, written = (*path, "@type"), value["@type"]
        name = (written or "").rpartition("/")[2] if isinstance(written, str | None) else ""
        if not isinstance(written, str | None):
            yield place, f"can't unmarshal Any's '@type': {written}"
        elif _TYPE.fullmatch(name) is None:
            yield place, f"could not resolve Any message type: {written or ''}"
        elif _WHOLE.fullmatch(name) and "value" not in value:
            yield path, "Any JSON doesn't have 'value'"


def _unfit(value: Any, wanted: str) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", dict: "a mapping"}
    return f"expected {wanted}, got {names.get(type(value), 'a list')}"


_SOCKET: Final = _Message(
    {"address": _text, "protocol": _Choice("envoy.config.core.v3.SocketAddress.Protocol", ("TCP", "UDP"))}
)
_ADDRESS: Final = _Message({"socket_address": _SOCKET})
_NAMED: Final = _Message({"name": _text, "typed_config": _any})
_CHAIN: Final = _Message({"name": _text, "filters": _Many(_NAMED), "transport_socket": _NAMED})
_ENDPOINT: Final = _Message({"endpoint": _Message({"address": _ADDRESS, "hostname": _text})})
_ENDPOINTS: Final = _Message({"cluster_name": _text, "endpoints": _Many(_Message({"lb_endpoints": _Many(_ENDPOINT)}))})
_TYPES: Final = ("STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST")
_POLICIES: Final = (
    *("ROUND_ROBIN", "LEAST_REQUEST", "RING_HASH", "RANDOM"),
    *("MAGLEV", "CLUSTER_PROVIDED", "LOAD_BALANCING_POLICY_CONFIG"),
)
_CLUSTER: Final = _Message(
    {
        "name": _text,
        "alt_stat_name": _text,
        "type": _Choice("envoy.config.cluster.v3.Cluster.DiscoveryType", _TYPES),
        "connect_timeout": _duration,
        "lb_policy": _Choice("envoy.config.cluster.v3.Cluster.LbPolicy", _POLICIES),
        "load_assignment": _ENDPOINTS,
        "transport_socket": _NAMED,
        "typed_extension_protocol_options": _Table(_any),
        "dns_refresh_rate": _duration,
    }
)
_ROUTE: Final = _Message(
    {
        "name": _text,
        "route": _Message({"cluster": _text, "timeout": _duration, "prefix_rewrite": _text}),
        "typed_per_filter_config": _Table(_any),
    }
)
_HOST: Final = _Message(
    {
        "name": _text,
        "domains": _Many(_text),
        "routes": _Many(_ROUTE),
        "typed_per_filter_config": _Table(_any),
    }
)
_ROUTES: Final = _Message({"name": _text, "virtual_hosts": _Many(_HOST), "typed_per_filter_config": _Table(_any)})
_LISTENER: Final = _Message(
    {"name": _text, "address": _ADDRESS, "filter_chains": _Many(_CHAIN), "listener_filters": _Many(_NAMED)}
)
_OBJECTS: Final[Mapping[str, _Message]] = {
    "CLUSTER": _CLUSTER,
    "LISTENER": _LISTENER,
    "FILTER_CHAIN": _CHAIN,
    "NETWORK_FILTER": _NAMED,
    "HTTP_FILTER": _NAMED,
    "LISTENER_FILTER": _NAMED,
    "EXTENSION_CONFIG": _NAMED,
    "ROUTE_CONFIGURATION": _ROUTES,
    "VIRTUAL_HOST": _HOST,
    "HTTP_ROUTE": _ROUTE,
}


def patch_problems(apply_to: str, value: Any, path: Path) -> Found:
    """What of a patch Envoy could not decode, as far as its fields are known here; the first is what Istio says."""
    found = _OBJECTS.get(apply_to)
    return found(value, path) if found is not None else iter(())
