"""What a change of configuration means for requests: the same edit of one configuration each, and its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib._config.load import load
from meshlib._diff import Change, compare
from meshlib._diff.samples import sample_regex
from meshlib._regex import compile_regex
from meshlib.sources import SourceText

BASE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews.shop.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /api}, headers: {end-user: {exact: jason}}, method: {exact: POST}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - name: rest
    timeout: 5s
    retries: {attempts: 2, retryOn: connect-failure}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {namespaces: [web]}}]
    to: [{operation: {methods: [GET]}}]
"""
HOST = "reviews.shop.svc.cluster.local"
POST = "POST /api with end-user: jason"
WEB = "from cluster.local/ns/web/sa/default"
MESH = "from cluster.local/ns/default/sa/default"

DEFAULT_RETRIES = "refused-stream"
"""Of the default retries of a route, which are another subject."""

# What is replaced, by what, and the words of all changes.
EDITS = [
    ("name: rest", "name: other", []),
    ("attempts: 2", "attempts:   2", []),
    ("weight: 90", "weight: 30", ["GET /: subset v1 90 %, subset v2 10 % → subset v1 75 %, subset v2 25 %"]),
    ("timeout: 5s", "timeout: 500ms", ["GET /: timeout 5 s → 0.5 s"]),
    ("    timeout: 5s\n", "", ["GET /: timeout 5 s → none"]),
    ("attempts: 2, retryOn: connect-failure", "attempts: 0", ["GET /: retries 2 on connect-failure → off"]),
    ("subset: v2}}]", "subset: v1}}]", [f"{POST}: subset v2 → subset v1"]),
    (
        "exact: jason",
        "exact: emma",
        [
            f"{POST}: subset v2 → subset v1 90 %, subset v2 10 %",
            f"{POST}: timeout none → 5 s",
            "POST /api with end-user: emma: subset v1 90 %, subset v2 10 % → subset v2",
            "POST /api with end-user: emma: timeout 5 s → none",
        ],
    ),
    ("methods: [GET]", "methods: [GET, POST]", [f"POST / {WEB}: denied (403) → allowed"]),
]


def changes(old: str, new: str) -> list[Change]:
    return compare(*(load([SourceText("x", text)]).resources for text in (old, new)))


def words(old: str, new: str) -> list[str]:
    return [change.words for change in changes(old, new)]


@pytest.mark.parametrize(("old", "new", "expected"), EDITS)
def test_an_edit_in_words(old: str, new: str, expected: list[str]) -> None:
    """Names and white space change nothing; everything else is said for the requests it is about."""
    assert old in BASE
    found = [text for text in words(BASE, BASE.replace(old, new)) if DEFAULT_RETRIES not in text]
    assert found == expected


def test_a_policy_is_told_for_each_destination() -> None:
    """Requests to all subsets, as one change."""
    (change,) = changes(
        BASE, BASE.replace("  host: reviews\n", "  host: reviews\n  trafficPolicy: {loadBalancer: {simple: RANDOM}}\n")
    )
    assert change.cases == ("GET / to subset v1", "GET / to subset v2", POST)
    assert change.words.endswith("policy.loadBalancer.simple LEAST_REQUEST → RANDOM")


def test_who_is_allowed_is_told_both_ways() -> None:
    """Who may call from now on, and who may not any more."""
    found = words(BASE, BASE.replace("namespaces: [web]", "namespaces: [default]"))
    assert found == [f"GET / {MESH}: denied (403) → allowed", f"GET / {WEB}: allowed → denied (403)"]


def test_a_policy_that_is_gone_lets_everybody_in() -> None:
    """Nothing says who may call, so all may: also who shows no certificate."""
    found = changes(BASE, BASE.partition("---\napiVersion: security")[0])
    assert {(change.subject, change.old, change.new) for change in found} == {
        ("workloads with app=reviews in shop", "denied (403)", "allowed")
    }
    assert "GET / without certificate" in found[0].cases


def test_strict_mutual_tls_refuses_who_has_no_certificate() -> None:
    """The connection is closed, which is not a denial."""
    peers = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
"""
    (change,) = [one for one in changes(BASE, BASE + peers) if one.subject == "workloads of shop"]
    assert (change.old, change.new) == ("allowed", "refused (the connection is closed)")
    assert all("without certificate" in case for case in change.cases)


def test_claims_of_a_token_are_asked_about() -> None:
    """A rule about tokens is asked with one."""
    old = BASE.replace("source: {namespaces: [web]}", 'source: {requestPrincipals: ["https://issuer/*"]}')
    new = old.replace("https://issuer/*", "https://other/*")
    found = changes(old, new)
    assert {change.new for change in found} == {"allowed", "denied (403)"}
    assert any("with a token of https://issuer" in case for change in found for case in change.cases)


def test_a_host_that_is_new_or_gone_is_told() -> None:
    """It was passed through, and is routed now."""
    (change, *_) = changes("", BASE)
    assert (change.subject, change.field, change.old, change.new) == (HOST, "outcome", "passthrough", "route")
    (change, *_) = changes(BASE, "")
    assert (change.old, change.new) == ("route", "passthrough")


def test_a_gateway_is_asked_as_such() -> None:
    """Routes of a gateway are seen by its own workload only."""
    gateway = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: shop}
spec:
  selector: {app: gateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: entry, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [g]
  http: [{timeout: 1s, route: [{destination: {host: reviews}}]}]
"""
    (change,) = changes(BASE + gateway, BASE + gateway.replace("timeout: 1s", "timeout: 2s"))
    assert change.subject == "shop.example.com"
    assert change.words == "GET / at port 8080 through the gateway: timeout 1 s → 2 s"


def test_no_change_is_no_change() -> None:
    """The same configuration answers the same."""
    assert changes(BASE, BASE) == []


def test_json_has_values_and_words() -> None:
    """For programs, both."""
    (change,) = changes(BASE, BASE.replace("timeout: 5s", "timeout: 2s"))
    assert change.to_json() == {
        "area": "traffic",
        "subject": HOST,
        "cases": ["GET /"],
        "field": "timeout",
        "old": 5.0,
        "new": 2.0,
        "words": "GET /: timeout 5 s → 2 s",
    }


PIECES = st.sampled_from(["a", "[b-y]", "x*", r"\d+", "(a|bc)", ".", "[^/]+", "y?", "z{2,3}", r"\.", "(?i)Q"])


@given(st.lists(PIECES, min_size=1, max_size=6).map("".join))
def test_a_sample_satisfies_its_expression(pattern: str) -> None:
    """Otherwise a rule would be asked with requests that it is not about."""
    sample = sample_regex(pattern)
    assert sample is not None
    assert compile_regex(pattern).matches(sample)
