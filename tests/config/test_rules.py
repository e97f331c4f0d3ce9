"""Istio's own rules: where they are said, in whose words, and that one bad resource does not hide another."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib._cel import CelError, parse
from meshlib._config.rules.headers import is_claim
from meshlib._config.rules.names import hosts_overlap, is_subset_of, namespaced_host_problems
from tests.config.loading import errors, load_text, virtual_service


def policy(spec: dict[str, Any], kind: str = "AuthorizationPolicy", group: str = "security") -> str:
    """A resource as JSON, which is YAML too."""
    body = {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": {"name": "a", "namespace": "b"}}
    return json.dumps({**body, "spec": spec})


def test_a_rule_is_said_with_its_place() -> None:
    """Code, field and line are those of the value that is to blame, the words are Istio's."""
    text = virtual_service("{route: [{destination: {host: b}}], redirect: {uri: /a}}")
    (found,) = errors(load_text(text))
    assert (found.code, found.field, found.line) == ("MESH073", "spec.http[0]", 7)
    assert found.message == "HTTP route cannot contain both route and redirect"
    assert found.resource == "VirtualService b/a"


def test_all_problems_of_all_resources_are_said_and_the_good_one_stays() -> None:
    """Istio's webhook says them one by one; a file is judged as a whole."""
    bad = virtual_service("{route: [{destination: {host: a_b}}], rewrite: {}}")
    good = virtual_service("{route: [{destination: {host: b}}]}").replace("name: a", "name: c")
    config = load_text(f"{bad}---\n{good}---\n{bad}")
    assert [one.code for one in errors(config)] == ["MESH073", "MESH070"] * 2
    assert [resource.metadata.name for resource in config.resources] == ["c"]


def test_a_warning_keeps_the_resource() -> None:
    """What Istio takes with a warning is taken."""
    config = load_text(virtual_service("{route: [{destination: {host: b}}], mirrorPercent: 5}"))
    assert [(one.code, one.level) for one in config.findings] == [("MESH085", "warning")]
    assert len(config.resources) == 1


def test_accounts_and_identities_exclude_each_other_even_without_values() -> None:
    """Istio's schema asks whether the fields are there, not whether they are empty."""
    source = {"serviceAccounts": ["a"], "principals": []}
    (found,) = errors(load_text(policy({"rules": [{"from": [{"source": source}]}]})))
    assert found.message == "cannot set serviceAccounts with namespaces or principals, found at rule 0"


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("a", "missing port in address"),
        ("[::1]", "missing port in address"),
        ("[::1]x:80", "missing port in address"),
        ("::1", "too many colons in address"),
        ("[::1]:80:90", "too many colons in address"),
        ("[::1:80", "missing ']' in address"),
        ("a[b:80", "unexpected '[' in address"),
        ("[a]:8]0", "unexpected ']' in address"),
    ],
)
def test_an_endpoint_is_refused_in_the_words_of_go(endpoint: str, problem: str) -> None:
    """As Istio's webhook says it, which takes it apart with Go's net.SplitHostPort (asked of Istio 1.31)."""
    ingress = {"port": {"number": 80, "protocol": "HTTP", "name": "x"}, "defaultEndpoint": endpoint}
    (found,) = errors(load_text(policy({"ingress": [ingress]}, "Sidecar", "networking")))
    assert found.message == f"address {endpoint}: {problem}"


def test_keys_are_never_shown() -> None:
    """What is wrong with a set of keys is said without any of it."""
    secret = "c2VjcmV0LXNlY3JldA"
    rule = {"issuer": "i", "jwks": json.dumps({"keys": [{"kty": "rsa", "d": secret}]})}
    (found,) = errors(load_text(policy({"jwtRules": [rule]}, "RequestAuthentication")))
    assert found.code == "MESH082"
    assert secret not in str(found)


@pytest.mark.parametrize(
    ("host", "problems"),
    [
        ("*/*", 0),
        ("./reviews.default.svc", 0),
        ("~/a.com", 0),
        ("~ns/a.com", 0),
        ("reviews", 1),
        ("/a.com", 1),
        ("ns/", 3),
        ("ns/*a.com", 1),
        ("n_s/a.b", 1),
    ],
)
def test_hosts_of_a_sidecar(host: str, problems: int) -> None:
    """``namespace/dnsName``, the namespace perhaps excluded by ``~``; no short names, no partial wildcards."""
    assert len(namespaced_host_problems(host, "sidecar")) == problems


HOSTS = st.sampled_from(["*", "*.com", "*.a.com", "a.com", "b.a.com", "*a.com", "com"])


@given(HOSTS, HOSTS)
def test_a_subset_overlaps(one: str, other: str) -> None:
    """Overlap is mutual, and what lies in another host overlaps with it."""
    assert hosts_overlap(one, other) == hosts_overlap(other, one)
    if is_subset_of(one, other):
        assert hosts_overlap(one, other)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("trustDomain: a_b", "MESH070", 'trust domain name "a_b" invalid'),
        ("trustDomainAliases: ['']", "MESH070", "trustDomainAliases[0]"),
        ("connectTimeout: 2h", "MESH078", "invalid connect timeout"),
        ("proxyListenPort: 0", "MESH071", "invalid proxy listen port"),
        ("serviceSettings: [{hosts: ['a..b']}]", "MESH070", "serviceSettings[0]"),
        ("meshMTLS: {ecdhCurves: [P-256]}", "MESH072", "does not support ECDH curves"),
        ("tlsDefaults: {ecdhCurves: [P-256, P-256]}", "MESH085", "duplicate ECDH curves"),
        ("defaultTrafficPolicy: {connectionPool: {}}", "MESH078", "at least one field"),
        ("localityLbSetting: {failover: [{from: a, to: a}]}", "MESH078", "must specify different regions"),
        ("extensionProviders: [{name: a, zipkin: {service: z.b.c, port: 0}}]", "MESH085", "port number 0"),
    ],
)
def test_rules_of_the_mesh_configuration(text: str, code: str, words: str) -> None:
    """What Istio refuses to start with, at its place."""
    findings = load_text(f"kind: MeshConfig\n{text}\n").findings
    (found,) = [one for one in findings if one.code >= "MESH070"]
    assert found.code == code
    assert words in found.message
    assert found.line == 2


def test_claims_are_told_from_headers() -> None:
    """Both separators, in whatever case."""
    names = ("@request.auth.claims.sub", "@request.auth.claims[a][b]", "@REQUEST.auth.claims.x")
    assert all(map(is_claim, names))
    assert not any(map(is_claim, ("@request.auth.claims", "@request.auth.claims.", "@request.auth.claims[]", "x")))


@pytest.mark.parametrize(
    "expression",
    [
        "response.code >= 400",
        "has(request.headers['x']) == false || !(a in [1, 2u, 0x1F, 1.5e3])",
        "request.headers['a'].startsWith(\"b\") ? [1, 2,] : {'a': b'x', \"c\": r'\\d'}",
        "items.all(x, x > 0 && -x < 1) // a remark",
        "-9223372036854775808 == a.`b-c`",
        'a.b{c: 1}.d["e"] == """long"""',
    ],
)
def test_expressions_of_the_language(expression: str) -> None:
    """What cel-go parses (asked of Istio 1.31)."""
    if "has(request.headers['x'])" in expression:
        with pytest.raises(CelError, match="has"):
            parse(expression)
        expression = expression.replace("['x']", ".x")
    assert parse(expression) is not None


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "a b",
        "'open",
        "a.(b)",
        "[1,,2]",
        "package",
        "x.all(1, y)",
        "((a)",
        "9223372036854775808",
        "rb'a'",
        "`a`",
    ],
)
def test_expressions_that_are_none(expression: str) -> None:
    """What cel-go refuses (asked of Istio 1.31)."""
    with pytest.raises(CelError):
        parse(expression)


@given(st.text(alphabet="ab.()[]{}'\"\\+-!?:, 01xu&|=", max_size=40))
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    """Nothing else is raised."""
    with suppress(CelError):
        parse(text)


def envoy_filter(apply_to: str, value: Any) -> str:
    patch = {"applyTo": apply_to, "patch": {"operation": "MERGE", "value": value}}
    body = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "a"}}
    return json.dumps({**body, "spec": {"configPatches": [patch]}})


LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


@pytest.mark.parametrize(
    ("apply_to", "value", "field", "words"),
    [
        ("HTTP_FILTER", {"typed_config": {}}, "typed_config", "Any JSON doesn't have '@type'"),
        ("HTTP_FILTER", {"typedConfig": {"@type": "Lua"}}, "typedConfig.@type", "could not resolve Any message type"),
        ("HTTP_FILTER", {"typed_config": {"@type": 5}}, "typed_config.@type", "can't unmarshal Any's '@type'"),
        ("HTTP_FILTER", {"typed_config": {"@type": "x/google.protobuf.Struct"}}, "typed_config", "have 'value'"),
        (
            "HTTP_FILTER",
            {"typed_config": {"@type": "x/envoy.config.filter.http.lua.v2.Lua"}},
            "typed_config.@type",
            "envoy.config.filter.http.lua.v2.Lua",
        ),
        ("CLUSTER", {"lb_policy": "RR"}, "lb_policy", 'unknown value "RR" for enum'),
        ("CLUSTER", {"connectTimeout": "5"}, "connectTimeout", "bad Duration"),
        ("CLUSTER", {"connectTimeout": 5}, "connectTimeout", "expected a duration, got a number"),
        ("CLUSTER", {"typed_extension_protocol_options": {"a": {}}}, "typed_extension_protocol_options.a", "@type"),
        ("CLUSTER", {"name": ["a"]}, "name", "expected a string, got a list"),
        ("FILTER_CHAIN", {"filters": [{"typed_config": "x"}]}, "filters[0].typed_config", "expected a mapping"),
        ("LISTENER", {"filter_chains": {}}, "filter_chains", "expected a list, got a mapping"),
        ("VIRTUAL_HOST", {"typed_per_filter_config": []}, "typed_per_filter_config", "expected a mapping"),
    ],
)
def test_patches_that_envoy_could_not_decode(apply_to: str, value: Any, field: str, words: str) -> None:
    """As Istio 1.31 refuses each of them, with the field that is to blame."""
    (found,) = errors(load_text(envoy_filter(apply_to, value)))
    assert (found.code, found.field) == ("MESH083", f"spec.configPatches[0].patch.value.{field}")
    assert words in found.message


@pytest.mark.parametrize(
    ("apply_to", "value"),
    [
        ("HTTP_FILTER", {"name": "a", "typed_config": {"@type": LUA, "inlineCode": "x"}}),
        ("HTTP_FILTER", {"typed_config": None}),
        ("HTTP_FILTER", {"typed_config": {"@type": "x/google.protobuf.Struct", "value": {}}}),
        ("HTTP_FILTER", {"typed_config": {"@type": "type.googleapis.com/stats.PluginConfig"}}),
        ("CLUSTER", {"lb_policy": 1, "connect_timeout": "1m", "metadata": {"filter_metadata": {"typed_config": {}}}}),
        ("BOOTSTRAP", {"anything": {"typed_config": {}}}),
        ("ROUTE_CONFIGURATION", {"typed_config": {}}),
    ],
)
def test_patches_that_istio_takes(apply_to: str, value: Any) -> None:
    """What is not known here is not refused; Istio 1.31 takes each of them."""
    assert errors(load_text(envoy_filter(apply_to, value))) == []


STATUS = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\nspec: {egress: [{hosts: ['*/*']}]}\n"


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ("null", "status"),
        ("[]", "status"),
        ("{conditions: null}", "status.conditions"),
        ("{conditions: [{lastProbeTime: 2026-02-30T00:00:00Z}]}", "status.conditions[0].lastProbeTime"),
        ("{conditions: [{lastProbeTime: '2026-01-01T00:00:00'}]}", "status.conditions[0].lastProbeTime"),
        ("{conditions: [{lastProbeTime: 2026-01-01T24:00:00Z}]}", "status.conditions[0].lastProbeTime"),
        ("{conditions: [{status: true}]}", "status.conditions[0].status"),
        ("{conditions: [{x: 1}]}", "status.conditions[0].x"),
        ("{observedGeneration: 1.5}", "status.observedGeneration"),
        ("{validationMessages: [{level: error}]}", "status.validationMessages[0].level"),
        ("{}", ""),
        ("{x: 1}", ""),
        ("{observedGeneration: a}", ""),
        ("{conditions: [{lastTransitionTime: 2024-02-29t23:59:59.5+99:99}]}", ""),
    ],
)
def test_the_status_of_an_object(status: str, field: str) -> None:
    """As the schema of the API server has it: closed inside, open at its top."""
    found = errors(load_text(f"{STATUS}status: {status}\n"))
    assert [one.field for one in found] == ([field] if field else [])


def test_the_rules_are_tried_beside_errors_of_the_schema() -> None:
    """What is wrong by itself is left out, and the rest judged, but not the whole of which it is a part."""
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: b}
spec:
  hosts: [a_b, a.com]
  http:
  - {route: [{destination: {host: c}}], redirect: {uri: /}, retires: {}}
  - {retries: {attempts: two, retryOn: foo}, route: [{destination: {host: c, subset: v 1}}], timeout: soon}
  - {route: [{destination: {}}]}
"""
    found = [(one.code, one.field.removeprefix("spec.")) for one in errors(load_text(text))]
    assert sorted(found, key=lambda one: one[1]) == [
        ("MESH070", "hosts[0]"),
        ("MESH023", "http[0].retires"),
        ("MESH024", "http[1].retries.attempts"),
        ("MESH073", "http[1].retries.retryOn"),
        ("MESH077", "http[1].route[0].destination.subset"),
        ("MESH026", "http[1].timeout"),
        ("MESH025", "http[2].route[0].destination"),
    ]


def test_the_rules_of_the_mesh_are_tried_beside_errors_of_its_schema() -> None:
    """The mesh configuration too, which is a text in a ConfigMap."""
    text = 'trustDomain: "a b"\naccessLogFile: 5\ndefaultConfig: {}\n'
    assert sorted(one.code for one in errors(load_text(text))) == ["MESH024", "MESH070"]
