"""TrafficExtension: WebAssembly or Lua in the proxy. Modelled so that files can be checked; nothing is applied.

https://istio.io/latest/docs/reference/config/proxy_extensions/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from meshlib.model.base import EMPTY, UNWRITTEN, Json, Maybe, Model, RuleError, Spec
from meshlib.model.scalars import Int32
from meshlib.model.selectors import PolicyTargetReference, TypeWorkloadSelector, one_target
from meshlib.model.urls import ImageUrl
from meshlib.model.wasm_plugin import (
    FailStrategy,
    PluginName,
    PluginType,
    PullPolicy,
    SecretName,
    Sha256,
    TrafficSelector,
    VmConfig,
)

__all__ = ["LuaConfig", "TrafficExtensionSpec", "WasmConfig"]


class WasmConfig(Model, frozen=True, kw_only=True):
    """A WebAssembly module."""

    url: ImageUrl
    sha256: Maybe[Sha256] = None
    image_pull_policy: Maybe[PullPolicy] = None
    image_pull_secret: Maybe[SecretName] = None
    verification_key: Maybe[str] = None
    plugin_config: Mapping[str, Json] = EMPTY
    plugin_name: Maybe[PluginName] = None
    fail_strategy: Maybe[FailStrategy] = None
    vm_config: Maybe[VmConfig] = None
    type: Maybe[PluginType] = None


class LuaConfig(Model, frozen=True, kw_only=True):
    """A Lua script, written in place."""

    inline_code: Annotated[str, Meta(min_length=1, max_length=65536)]


class TrafficExtensionSpec(Spec, frozen=True, kw_only=True):
    """One extension (``wasm`` or ``lua``) for the workloads in ``selector`` or behind ``target_refs``."""

    selector: Maybe[TypeWorkloadSelector] = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Meta(max_length=16)] = UNWRITTEN
    phase: Maybe[Literal["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"]] = None
    priority: Int32 | None = None
    match: tuple[TrafficSelector, ...] = ()
    wasm: Maybe[WasmConfig] = None
    lua: Maybe[LuaConfig] = None

    def __post_init__(self) -> None:
        one_target(self)
        if (self.wasm is None) == (self.lua is None):
            raise RuleError("exactly one of wasm or lua must be set", field="wasm", hint="keep one of wasm and lua")
