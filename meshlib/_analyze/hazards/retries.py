"""Retries that do not fit into their timeout, repeat what must not be repeated, or know no bound."""

from __future__ import annotations

import math
from typing import Final

from meshlib._analyze.hazards.scene import HazardSettings, Scene, seconds
from meshlib._analyze.report import Reporter
from meshlib._analyze.services import matches
from meshlib._analyze.view import Item, Node
from meshlib._compile.hosts import resolve

__all__ = ["find_retries"]

_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_AFTER_ANSWER: Final = frozenset({"5xx", "gateway-error", "reset", "retriable-4xx", "retriable-status-codes"})


def find_retries(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """All retry policies: of routes, and the defaults that a DestinationRule may hold here."""
    guarded = [host for item in scene.view.all("ClientPolicy") for host in _guarded(item)]
    for item in scene.view.all("VirtualService"):
        is_guarded = any(
            matches(resolve(host, item.namespace), one) for host in item.spec.texts("hosts") for one in guarded
        )
        for rule in item.spec.items("http"):
            retries = rule.node("retries")
            if retries.number("attempts") < 1:
                continue
            _check_timeout(item, retries, seconds(rule, "timeout"), report)
            if not is_guarded and not _is_repeatable(rule):
                _check_conditions(item, retries, report)
            _check_budget(scene, item, rule, report)
    for policy in scene.policies():
        retries = policy.node.node("retryPolicy")
        if retries.number("attempts") > 0:
            timeout = policy.node if policy.node.text("timeout") else policy.inherited
            _check_timeout(policy.item, retries, seconds(timeout, "timeout"), report)


def _guarded(item: Item) -> list[str]:
    """Hosts whose callers repeat only what is safe."""
    if item.spec.text("retrySafety") != "idempotent":
        return []
    return [resolve(host, item.namespace) for host in item.spec.texts("hosts")]


def _check_timeout(item: Item, retries: Node, timeout: float, report: Reporter) -> None:
    each = seconds(retries, "perTryTimeout")
    tries = retries.number("attempts") + 1
    if not each or not timeout or tries * each <= timeout:
        return
    possible = math.ceil(timeout / each)
    text = f"{tries} tries of {each:g} s may take {tries * each:g} s, but the timeout is {timeout:g} s"
    never = tries - possible
    text += f": the last {never} never happen" if never > 1 else ": the last one never happens" if never else ""
    report.hazard("MESH135", item, text, (*retries.path, "perTryTimeout"))


def _is_repeatable(rule: Node) -> bool:
    """Whether every match of a rule is for methods that may be repeated."""
    found = rule.items("match")
    return bool(found) and all(match.node("method").text("exact").upper() in _REPEATABLE for match in found)


def _check_conditions(item: Item, retries: Node, report: Reporter) -> None:
    conditions = [part.strip() for part in retries.text("retryOn").split(",")]
    risky = [part for part in conditions if part in _AFTER_ANSWER or part.isdigit()]
    if risky:
        text = f"POST and PATCH are repeated on {', '.join(risky)}, when the server may have acted already"
        report.hazard("MESH136", item, text, (*retries.path, "retryOn"))


def _check_budget(scene: Scene, item: Item, rule: Node, report: Reporter) -> None:
    mesh = scene.view.mesh.default_traffic_policy
    pool = mesh.connection_pool.http if mesh is not None and mesh.connection_pool is not None else None
    if pool is not None and pool.max_retries:
        return
    hosts = dict.fromkeys(route.node("destination").text("host") for route in rule.items("route"))
    unbounded = [host for host in hosts if not _has_budget(scene, resolve(host, item.namespace))]
    if unbounded:
        text = f"nothing bounds the retries that {', '.join(unbounded)} may get at once"
        report.hazard("MESH138", item, text, (*rule.path, "retries"))


def _has_budget(scene: Scene, host: str) -> bool:
    return any(
        policy.node("retryBudget") or policy.node("connectionPool", "http").number("maxRetries") > 0
        for item in scene.rules.get(host, ())
        for policy in (item.spec.node("trafficPolicy"), *_parts(item))
    )


def _parts(item: Item) -> list[Node]:
    ports = item.spec.node("trafficPolicy").items("portLevelSettings")
    return [*ports, *(subset.node("trafficPolicy") for subset in item.spec.items("subsets"))]
