"""Which locality setting is in force for a destination (semantics 4.3, 4.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from meshlib._compile.mesh import MeshSettings
from meshlib._snapshot.clusters import LocalityPolicy
from meshlib.model.load_balancer import Failover, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting

if TYPE_CHECKING:
    from meshlib._compile.policies import Blocks, PolicyTraits

__all__ = ["locality"]

_NEAR: Final = ("topology.istio.io/network", "topology.kubernetes.io/region", "topology.kubernetes.io/zone")
_PREFERRED: Final = {"zone": _NEAR, "node": (*_NEAR, "topology.istio.io/subzone", "kubernetes.io/hostname")}


def locality(blocks: Blocks, mesh: MeshSettings, traits: PolicyTraits) -> LocalityPolicy | None:
    """The rule's setting, else the service's preference, else the mesh's; None if nothing comes of it."""
    own = blocks.load_balancer
    if own is not None and own.zone_aware_lb_setting is not None:
        return zone_aware(own.zone_aware_lb_setting)
    if own is not None and own.locality_lb_setting is not None:
        return by_locality(own.locality_lb_setting, blocks, mesh, traits)
    if traits.prefers:
        return LocalityPolicy(failover_priority=_PREFERRED[traits.prefers], is_weighted=True)
    if mesh.zone_aware is not None:
        return zone_aware(mesh.zone_aware)
    return by_locality(mesh.locality, blocks, mesh, traits)


def zone_aware(setting: ZoneAwareLoadBalancerSetting) -> LocalityPolicy | None:
    """Regions as tiers, with or without outlier detection."""
    if setting.enabled is False:
        return None
    return LocalityPolicy(
        failover=pairs(setting.failover), failover_priority=setting.failover_priority, is_zone_aware=True
    )


def by_locality(
    setting: LocalityLoadBalancerSetting, blocks: Blocks, mesh: MeshSettings, traits: PolicyTraits
) -> LocalityPolicy | None:
    """``distribute`` in any case; tiers only where outlier detection finds endpoints unhealthy."""
    if setting.enabled is False:
        return None
    if setting.distribute:
        shares = tuple((item.from_ or "", tuple(item.to.items())) for item in setting.distribute)
        return LocalityPolicy(distribute=shares, is_weighted=True)
    detection = blocks.outlier_detection
    if detection is None:
        return None
    return LocalityPolicy(
        # For endpoints that are addresses Istio looks at the rule alone, not at the mesh's default detection.
        makes_tiers=traits.is_named or detection is not mesh.outlier_detection,
        failover=pairs(setting.failover),
        failover_priority=setting.failover_priority,
        is_weighted=bool(setting.failover or setting.failover_priority),
    )


def pairs(failover: Sequence[Failover]) -> tuple[tuple[str, str], ...]:
    return tuple((item.from_ or "", item.to or "") for item in failover)
