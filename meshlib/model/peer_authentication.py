"""PeerAuthentication: whether peers must come with mutual TLS.

https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from meshlib.model.base import EMPTY, Maybe, Model, RuleError, Spec
from meshlib.model.selectors import TypeWorkloadSelector

__all__ = ["MutualTLS", "PeerAuthenticationSpec", "PortKey"]

PortKey: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})\Z",
        description="a port between 1 and 65535",
    ),
]


class MutualTLS(Model, frozen=True, kw_only=True):
    """``mode`` absent or UNSET: that of the parent (namespace, then mesh; at the top PERMISSIVE)."""

    mode: Maybe[Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]] = None


class PeerAuthenticationSpec(Spec, frozen=True, kw_only=True):
    """The mode of the workloads in ``selector`` (absent: of the namespace), and of single ports of them.

    The keys of ``port_level_mtls`` are ports of the workload, written as text.
    """

    selector: Maybe[TypeWorkloadSelector] = None
    mtls: Maybe[MutualTLS] = None
    port_level_mtls: Annotated[Mapping[PortKey, MutualTLS], Meta(min_length=1)] = EMPTY

    def __post_init__(self) -> None:
        if self.port_level_mtls and (self.selector is None or not self.selector.match_labels):
            raise RuleError(
                "portLevelMtls requires selector",
                field="portLevelMtls",
                hint="add a selector with matchLabels, or remove portLevelMtls",
            )
