"""Retries of services that call one another: what fails at the end is tried once for each combination of tries."""

from __future__ import annotations

import math
from typing import Final

from meshlib._analyze.hazards.scene import HazardSettings, Scene
from meshlib._analyze.report import Reporter
from meshlib._analyze.services import matches
from meshlib._analyze.view import Item
from meshlib._compile.hosts import resolve

__all__ = ["find_chains"]

_DEFAULT_TRIES: Final = 3
"""Istio repeats a call twice where nothing is said."""

_BEARABLE: Final = 10


def find_chains(scene: Scene, settings: HazardSettings, report: Reporter) -> None:
    """The chain that the reader named."""
    if not settings.chain:
        return
    hops = [_tries(scene, host) for host in settings.chain]
    product = math.prod(tries for tries, _ in hops)
    worst = max((hop for hop in hops if hop[1] is not None), key=lambda hop: hop[0], default=(0, None))[1]
    if worst is None:
        worst = next(scene.view.all("VirtualService"), next(scene.view.all("Service"), None))
    if product <= _BEARABLE or worst is None:
        return
    factors = " × ".join(str(tries) for tries, _ in hops)
    text = f"along {' → '.join(settings.chain)} one request may become {factors} = {product} at {settings.chain[-1]}"
    report.hazard("MESH137", worst, text, ("spec", "http"))


def _tries(scene: Scene, host: str) -> tuple[int, Item | None]:
    """How often a call to a host is made at most, and the VirtualService that says so."""
    most, source = 0, None
    for item in scene.view.all("VirtualService"):
        names = [resolve(name, item.namespace) for name in item.spec.texts("hosts")]
        if not any(name.partition(".")[0] == host or matches(name, resolve(host, item.namespace)) for name in names):
            continue
        for rule in item.spec.items("http"):
            retries = rule.node("retries")
            tries = retries.number("attempts") + 1 if retries else _default_tries(scene)
            if tries > most:
                most, source = tries, item
    return (most, source) if source is not None else (_default_tries(scene), None)


def _default_tries(scene: Scene) -> int:
    policy = scene.view.mesh.default_http_retry_policy
    return _DEFAULT_TRIES if policy is None or policy.attempts is None else policy.attempts + 1
