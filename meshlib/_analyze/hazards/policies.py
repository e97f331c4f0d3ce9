"""Policies that allow or deny more than their author can have meant, and tokens that nobody asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshlib._analyze.hazards.scene import HazardSettings, Scene
from meshlib._analyze.report import Reporter
from meshlib._analyze.view import Item, Node

__all__ = ["find_open_policies", "find_optional_tokens"]

_SOURCE: Final = (
    "principals",
    "requestPrincipals",
    "namespaces",
    "ipBlocks",
    "remoteIpBlocks",
    "serviceAccounts",
    "trustDomains",
)
_OPERATION: Final = ("hosts", "ports", "methods", "paths")
_TOKEN_KEYS: Final = (
    "request.auth.principal",
    "request.auth.claims",
    "request.auth.audiences",
    "request.auth.presenter",
)


def find_open_policies(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """Policies without any condition, or with conditions that only say what is not meant."""
    for item in scene.view.all("AuthorizationPolicy"):
        action = item.spec.text("action") or "ALLOW"
        rules = item.spec.items("rules")
        if action == "ALLOW" and not rules:
            text = "an ALLOW policy without rules denies everything that no other policy allows"
            report.hazard("MESH142", item, text, ("spec",), level="info", hint="nothing, if that is the default meant")
        for rule in rules:
            if not _conditions(rule):
                _add_unconditional(item, action, rule, report)
            elif action == "ALLOW" and not any(_positive(rule)):
                negative = ", ".join(_negative(rule))
                text = f"the rule allows whatever is not excluded by {negative}"
                report.hazard("MESH144", item, text, rule.path)


def _add_unconditional(item: Item, action: str, rule: Node, report: Reporter) -> None:
    if action == "DENY":
        report.hazard("MESH142", item, "a DENY policy with an empty rule denies every request", rule.path)
    elif action == "ALLOW":
        report.hazard("MESH143", item, "an ALLOW policy with an empty rule allows every request", rule.path)


def _conditions(rule: Node) -> bool:
    return any(rule.items(name) for name in ("from", "to", "when"))


def _fields(rule: Node) -> Iterator[tuple[Node, str, str]]:
    """Each kind of condition of a rule: where it stands, its positive and its negative name."""
    for source in rule.items("from"):
        for name in _SOURCE:
            yield source.node("source"), name, _not(name)
    for target in rule.items("to"):
        for name in _OPERATION:
            yield target.node("operation"), name, _not(name)
    for condition in rule.items("when"):
        yield condition, "values", "notValues"


def _not(name: str) -> str:
    return f"not{name[:1].upper()}{name[1:]}"


def _positive(rule: Node) -> Iterator[str]:
    return (positive for node, positive, _ in _fields(rule) if node.texts(positive))


def _negative(rule: Node) -> Iterator[str]:
    return (negative for node, _, negative in _fields(rule) if node.texts(negative))


def find_optional_tokens(scene: Scene, _: HazardSettings, report: Reporter) -> None:
    """Workloads whose tokens are checked, and where a request without token passes all the same."""
    requiring = [item for item in scene.view.all("AuthorizationPolicy") if _requires_token(item)]
    root = scene.view.mesh.root_namespace or "istio-system"
    for item in scene.view.all("RequestAuthentication"):
        if item.spec.items("jwtRules") and not any(_covers(policy, item, root) for policy in requiring):
            report.hazard(
                "MESH145", item, "a request without token passes: no policy requires one", ("spec", "jwtRules")
            )


def _requires_token(item: Item) -> bool:
    """Whether a policy turns requests without token away; what an external authorizer does is not known."""
    action = item.spec.text("action") or "ALLOW"
    if action not in ("ALLOW", "DENY"):
        return action == "CUSTOM"
    return any(
        _is_about_tokens(node, name)
        for rule in item.spec.items("rules")
        for node, positive, negative in _fields(rule)
        for name in [positive if action == "ALLOW" else negative]
        if node.texts(name)
    )


def _is_about_tokens(node: Node, name: str) -> bool:
    return name.lower().endswith("requestprincipals") or node.text("key").startswith(_TOKEN_KEYS)


def _covers(policy: Item, item: Item, root: str) -> bool:
    """Whether a policy is about the workloads of a RequestAuthentication."""
    if policy.namespace not in (item.namespace, root):
        return False
    labels = policy.spec.node("selector").labels("matchLabels")
    return labels.items() <= item.spec.node("selector").labels("matchLabels").items()
