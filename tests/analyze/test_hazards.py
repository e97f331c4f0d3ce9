"""Hazards: each is found where it is, and gone once what the remedy says is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlib import check
from meshlib._analyze.hazards.regexes import is_explosive
from meshlib._config.hazard_codes import HAZARD_CODES

EXAMPLES = Path(__file__).parents[2] / "docs" / "diagnostics"
POLICY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: p, namespace: shop}}
spec: {spec}
"""
RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: r, namespace: shop}}
spec: {{host: reviews, trafficPolicy: {policy}}}
"""
CLIENT = """
---
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: c, namespace: shop}
spec: {hosts: ["*.shop.svc.cluster.local"], retrySafety: idempotent}
"""

# Code, what of its example is replaced by what (an empty text: what is added at its end).
REMEDIES = [
    ("MESH135", "timeout: 5s", "timeout: 8s"),
    ("MESH135", "timeout: 5s\n    ", ""),
    ("MESH135", ", perTryTimeout: 2s", ""),
    ("MESH135", "attempts: 3", "attempts: 0"),
    ("MESH136", "5xx,reset", "connect-failure,refused-stream"),
    ("MESH136", "  - retries", "  - match: [{method: {exact: GET}}]\n    retries"),
    ("MESH136", "", CLIENT),
    ("MESH137", "attempts: 4", "attempts: 0"),
    ("MESH138", "", RULE.format(policy="{retryBudget: {percent: 20}}")),
    ("MESH138", "", RULE.format(policy="{connectionPool: {http: {maxRetries: 3}}}")),
    ("MESH138", "", "---\ndefaultTrafficPolicy: {connectionPool: {http: {maxRetries: 9}}}\n"),
    ("MESH138", "attempts: 3", "attempts: 0"),
    ("MESH139", "    loadBalancer:", "    outlierDetection: {consecutive5xxErrors: 5}\n    loadBalancer:"),
    ("MESH139", "localityLbSetting:", "localityLbSetting:\n        enabled: false"),
    ("MESH140", "consecutive5xxErrors: 5", "maxEjectionPercent: 34"),
    ("MESH140", "resolution: STATIC", "resolution: NONE"),
    ("MESH141", "shop-prod", "shop-test"),
    ("MESH141", "value: 10", "value: 0"),
    ("MESH141", ", percentage: {value: 10}", ""),
    ("MESH142", "  - {}", '  - to: [{operation: {methods: ["DELETE"]}}]'),
    ("MESH142", "DENY", "ALLOW"),
    ("MESH143", "  - {}", '  - to: [{operation: {methods: ["GET"]}}]'),
    ("MESH144", "notNamespaces", "namespaces"),
    ("MESH144", "ALLOW", "DENY"),
    ("MESH144", "  - from:", '  - to: [{operation: {methods: ["GET"]}}]\n    from:'),
    ("MESH145", "", POLICY.format(spec='{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}')),
    ("MESH145", "", POLICY.format(spec='{action: DENY, rules: [{from: [{source: {notRequestPrincipals: ["*"]}}]}]}')),
    ("MESH145", "", POLICY.format(spec='{rules: [{when: [{key: "request.auth.claims[iss]", values: [x]}]}]}')),
    ("MESH146", "(([a-z])+.?)+", "([a-z]+/)*"),
    ("MESH147", "weight: 10", "weight: 0"),
    ("MESH147", "labels: {version: v2}", "labels: {version: v1}"),
    ("MESH149", "exact: /api/health", "exact: /health"),
    ("MESH149", "prefix: /api", "regex: /api.*"),
    ("MESH149", "- uri: {prefix: /api}", "- uri: {prefix: /api}\n      method: {exact: GET}"),
]


def found(text: str, code: str) -> list[str]:
    chain = text.partition("--chain ")[2].split("\n")[0] if "--chain " in text else ""
    return [entry.message for entry in check(text, chain=chain.split(",") if chain else ()) if entry.code == code]


@pytest.mark.parametrize("code", sorted(HAZARD_CODES))
def test_the_example_of_a_code_triggers_it(code: str) -> None:
    """Each hazard has an example that shows it once, with a place and a remedy."""
    text = (EXAMPLES / f"{code}.yaml").read_text(encoding="utf-8")
    (message,) = found(text, code)
    assert message


@pytest.mark.parametrize(("code", "old", "new"), REMEDIES)
def test_a_hazard_is_gone_when_remedied(code: str, old: str, new: str) -> None:
    """What is no hazard is not told: nobody reads a list that is half wrong."""
    text = (EXAMPLES / f"{code}.yaml").read_text(encoding="utf-8")
    assert old in text
    assert found(text.replace(old, new) if old else text + new, code) == []


def test_a_policy_elsewhere_does_not_require_a_token() -> None:
    """A policy of other workloads says nothing about these."""
    text = (EXAMPLES / "MESH145.yaml").read_text(encoding="utf-8")
    other = POLICY.format(
        spec="{selector: {matchLabels: {app: db}}, rules: [{from: [{source: {requestPrincipals: [a]}}]}]}"
    )
    assert found(text + other, "MESH145") != []


def test_deny_all_is_a_note() -> None:
    """The usual default, an ALLOW policy without rules, is told but is no warning."""
    (entry,) = [one for one in check(POLICY.format(spec="{}")) if one.code == "MESH142"]
    assert entry.level == "info"


def test_a_place_is_given() -> None:
    """The line of the very field, for editors."""
    (entry,) = [one for one in check(EXAMPLES / "MESH135.yaml") if one.code == "MESH135"]
    assert (entry.line, entry.field) == (9, "spec.http[0].retries.perTryTimeout")
    assert entry.message == "4 tries of 2 s may take 8 s, but the timeout is 5 s: the last one never happens"


def test_subsets_inherit_the_outlier_detection_of_their_rule() -> None:
    """A field of the whole rule counts where the subset has none."""
    text = RULE.format(
        policy="{outlierDetection: {consecutive5xxErrors: 1}}, subsets: [{name: a, labels: {v: a}, trafficPolicy: "
        "{loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}}]"
    )
    assert found(text, "MESH139") == []
    assert found(text.replace("{outlierDetection: {consecutive5xxErrors: 1}}", "{}"), "MESH139") != []


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|a)*b", r"([a-z]+\d?)+", "((a*)*)*", r"(\w|\d)+$", "(x(a+)+y)?"])
def test_an_explosive_expression_is_found(pattern: str) -> None:
    """Repeats of what can be cut in several ways."""
    assert is_explosive(pattern)


@pytest.mark.parametrize(
    "pattern", ["a+b+", r"([a-z]+\.)*[a-z]+", "(ab)+", "(a|b)*", "(a{1,3}){2}", "[", "(?!x)", ".*foo.*"]
)
def test_a_harmless_expression_is_left_alone(pattern: str) -> None:
    """Separators keep a repeat within a repeat unambiguous; what RE2 refuses is told elsewhere."""
    assert not is_explosive(pattern)
