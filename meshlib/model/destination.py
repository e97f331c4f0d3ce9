"""Where traffic goes: the destination that routes, mirrors and egress proxies name.

https://istio.io/latest/docs/reference/config/networking/virtual-service/#Destination
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from meshlib.model.base import Maybe, Model, RuleError
from meshlib.model.scalars import UInt32

__all__ = ["Destination", "Percent", "PortSelector"]


class PortSelector(Model, frozen=True, kw_only=True):
    """A port by ``number``; absent is 0, which no service has."""

    number: Maybe[UInt32] = None


class Destination(Model, frozen=True, kw_only=True):
    """A service of the registry, one of its ports and one of its subsets.

    ``host`` is as written: a short name means a service in the namespace of the rule.
    ``subset`` is defined by a DestinationRule. ``port`` may be left out if the service
    has a single one.
    """

    host: str
    subset: Maybe[str] = None
    port: Maybe[PortSelector] = None

    def __post_init__(self) -> None:
        if self.port is not None and not 1 <= (number := self.port.number or 0) <= 65535:
            raise RuleError(
                f"port number {number} must be in the range 1..65535", field="port", hint="write port: {number: …}"
            )


class Percent(Model, frozen=True, kw_only=True):
    """``{value: 12.5}``: a share between 0.0 and 100.0; an absent value is 0."""

    value: Maybe[Annotated[float, Meta(ge=0, le=100)]] = None
