"""WasmPlugin: WebAssembly filters of the proxy. Modelled so that files can be checked; nothing is applied.

https://istio.io/latest/docs/reference/config/proxy_extensions/wasm-plugin/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from meshlib.model.base import EMPTY, UNWRITTEN, Json, Maybe, Model, RuleError, Spec
from meshlib.model.scalars import Int32, Port
from meshlib.model.selectors import PolicyTargetReference, TypeWorkloadSelector, one_target
from meshlib.model.urls import ImageUrl

__all__ = ["EnvVar", "PortSelector", "TrafficSelector", "VmConfig", "WasmPluginSpec"]

FailStrategy: TypeAlias = Literal["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"]
PullPolicy: TypeAlias = Literal["UNSPECIFIED_POLICY", "IfNotPresent", "Always"]
PluginType: TypeAlias = Literal["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"]
PluginName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
SecretName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=253)]
Sha256: TypeAlias = Annotated[
    str, Meta(pattern=r"(^\Z|^[a-f0-9]{64}\Z)", description="a SHA-256 sum of 64 hexadecimal digits")
]


class PortSelector(Model, frozen=True, kw_only=True):
    """A port of the listener."""

    number: Port


class TrafficSelector(Model, frozen=True, kw_only=True):
    """Which traffic the plugin sees; absent: all."""

    mode: Maybe[Literal["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"]] = None
    ports: tuple[PortSelector, ...] = ()

    def __post_init__(self) -> None:
        numbers = [port.number for port in self.ports]
        if len(set(numbers)) < len(numbers):
            raise RuleError("port numbers must be unique", field="ports", hint="remove the repeated port")


class EnvVar(Model, frozen=True, kw_only=True):
    """An environment variable of the VM; ``value_from`` HOST takes it over from the proxy."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    value_from: Maybe[Literal["INLINE", "HOST"]] = None
    value: Maybe[Annotated[str, Meta(max_length=2048)]] = None

    def __post_init__(self) -> None:
        if self.value_from == "HOST" and self.value is not None:
            raise RuleError("value may only be set when valueFrom is INLINE", field="value", hint="remove value")


class VmConfig(Model, frozen=True, kw_only=True):
    """Settings of the VM."""

    env: Annotated[tuple[EnvVar, ...], Meta(max_length=256)] = ()

    def __post_init__(self) -> None:
        names = [variable.name for variable in self.env]
        if len(set(names)) < len(names):
            raise RuleError("names of variables must be unique", field="env", hint="remove the repeated variable")


class WasmPluginSpec(Spec, frozen=True, kw_only=True):
    """A plugin by ``url``, for the workloads in ``selector`` or behind ``target_refs``."""

    selector: Maybe[TypeWorkloadSelector] = None
    target_ref: Maybe[PolicyTargetReference] = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Meta(max_length=16)] = UNWRITTEN
    url: ImageUrl
    sha256: Maybe[Sha256] = None
    image_pull_policy: Maybe[PullPolicy] = None
    image_pull_secret: Maybe[SecretName] = None
    verification_key: Maybe[str] = None
    plugin_config: Mapping[str, Json] = EMPTY
    plugin_name: Maybe[PluginName] = None
    phase: Maybe[Literal["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"]] = None
    priority: Int32 | None = None
    fail_strategy: Maybe[FailStrategy] = None
    vm_config: Maybe[VmConfig] = None
    match: tuple[TrafficSelector, ...] = ()
    type: Maybe[PluginType] = None

    def __post_init__(self) -> None:
        one_target(self)
