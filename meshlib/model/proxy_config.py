"""ProxyConfig: settings of the proxy beside a workload; here, of the process itself.

https://istio.io/latest/docs/reference/config/networking/proxy-config/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from meshlib.model.base import EMPTY, Maybe, Model, Spec
from meshlib.model.scalars import NonNegativeInt32
from meshlib.model.selectors import TypeWorkloadSelector

__all__ = ["ProxyConfigSpec", "ProxyImage"]


class ProxyImage(Model, frozen=True, kw_only=True):
    """The flavour of the proxy image."""

    image_type: Maybe[str] = None


class ProxyConfigSpec(Spec, frozen=True, kw_only=True):
    """Settings of the workloads in ``selector`` (absent: of the namespace); ``concurrency`` 0: all cores."""

    selector: Maybe[TypeWorkloadSelector] = None
    concurrency: NonNegativeInt32 | None = None
    environment_variables: Mapping[str, Annotated[str, Meta(max_length=2048)]] = EMPTY
    image: Maybe[ProxyImage] = None
