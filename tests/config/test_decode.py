"""Decoding: every error of a document is found, with its place and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib._config.decode import decode
from meshlib._config.document import Document
from meshlib.diagnostics import Finding
from meshlib.model.destination_rule import DestinationRuleSpec
from meshlib.model.kubernetes import SecretSpec, ServiceSpec
from meshlib.model.resource import Skipped
from meshlib.model.strings import ExactMatch, PrefixMatch, PresentMatch
from meshlib.model.virtual_service import VirtualServiceSpec
from tests.config.loading import errors, load_text, virtual_service

BAD = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: r, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - timeout: 5 sec
    route:
    - destination: {host: reviews}
      weight: "80"
  - retries:
      atempts: 3
      perTryTimeout: 2x
    rout: []
    match:
    - headers:
        end-user: {exakt: jason}
      uri: {prefix: /a, exact: /b}
"""


def test_all_errors_of_a_resource_are_found() -> None:
    """Seven mistakes give seven findings, each at its line and with its field."""
    found = errors(load_text(BAD))
    assert [(one.line, one.column, one.code, one.field) for one in found] == [
        (7, 14, "MESH026", "spec.http[0].timeout"),
        (10, 15, "MESH024", "spec.http[0].route[0].weight"),
        (12, 7, "MESH023", "spec.http[1].retries.atempts"),
        (13, 22, "MESH026", "spec.http[1].retries.perTryTimeout"),
        (14, 5, "MESH023", "spec.http[1].rout"),
        (17, 20, "MESH023", "spec.http[1].match[0].headers.end-user.exakt"),
        (18, 12, "MESH028", "spec.http[1].match[0].uri"),
    ]
    assert {one.resource for one in found} == {"VirtualService shop/r"}


def test_a_resource_with_an_error_is_left_out() -> None:
    """The others of the same text stay."""
    config = load_text(BAD + "---\n" + virtual_service("{route: [{destination: {host: b}}]}"))
    assert [str(resource) for resource in config.resources] == ["VirtualService b/a"]


# A rule of a VirtualService, and what the one error says: code, message, hint.
MESSAGES = [
    ("{timeout: 5}", "MESH024", "expected a duration such as 5s, 1.5s or 1h30m, got the number 5", "write a value"),
    ("{timeout: null}", "MESH024", "expected a duration such as 5s, 1.5s or 1h30m, got null", "write a value"),
    ("{name: 5}", "MESH024", "expected a string, got the number 5", 'put it in quotes: "5"'),
    ("{name: true}", "MESH024", "expected a string, got true", 'put it in quotes: "true"'),
    ("{retries: {attempts: '3'}}", "MESH024", 'expected an integer, got the string "3"', "without quotes"),
    ("{retries: {attempts: 1.5}}", "MESH024", "expected an integer, got the number 1.5", ""),
    ("{retries: {attempts: -1}}", "MESH026", "expected a number from 0 to 2147483647, got the number -1", ""),
    ("{retries: {attempts: 2147483648}}", "MESH026", "expected a number from 0 to 2147483647", ""),
    ("{match: {}}", "MESH024", "expected a list, got a mapping", ""),
    ("{headers: []}", "MESH024", "expected a mapping, got a list", ""),
    ("{match: [null]}", "MESH024", "expected a mapping, got null", ""),
    ("{route: [{weight: 1}]}", "MESH025", "required field destination is missing", "add destination"),
    ("{corsPolicy: {unmatchedPreflights: forward}}", "MESH027", "expected one of FORWARD", "did you mean FORWARD?"),
    ("{redirect: {port: 1, derivePort: FROM_REQUEST_PORT}}", "MESH028", "at most one of port, derivePort", "keep one"),
    ("{per_try_timeout: 5s}", "MESH023", 'unknown field "per_try_timeout"', "perTryTimeout belongs to"),
    ("{directresponse: {status: 200}}", "MESH023", "unknown field", "did you mean directResponse?"),
    ("{subsets: []}", "MESH023", 'unknown field "subsets"', "subsets is a field of DestinationRule: spec.subsets"),
    ("{attempts: 3}", "MESH023", "unknown field", "attempts belongs to spec.http[].retries.attempts"),
    ("{xyzzy: 3}", "MESH023", "unknown field", "remove it, or use one of corsPolicy, delegate"),
    ("{match: [{sourceLabels: {a: '-x'}}]}", "MESH026", "expected a label value", ""),
    ("{match: [{sourceLabels: {'a b': x}}]}", "MESH026", "the key is not allowed: expected a label key", ""),
    ("{directResponse: {status: 200, body: {bytes: 'x!'}}}", "MESH026", "expected base64", ""),
    ("{route: [{destination: {host: b, port: {number: 0}}}]}", "MESH028", "must be in the range 1..65535", ""),
    ("{fault: {abort: {percentage: {value: 101}}}}", "MESH026", "expected a number from 0 to 100", ""),
]


@pytest.mark.parametrize(("rule", "code", "message", "hint"), MESSAGES, ids=[row[0] for row in MESSAGES])
def test_an_error_says_what_was_expected(rule: str, code: str, message: str, hint: str) -> None:
    """The message alone lets its reader fix the problem."""
    (found,) = errors(load_text(virtual_service(rule)))
    assert found.code == code
    assert message in found.message
    assert hint in found.hint
    assert found.hint
    assert found.line >= 7


# Top of a document, and the one error.
HEADERS = [
    ("kind: VirtualService", "MESH020", "add apiVersion: networking.istio.io/v1"),
    ("apiVersion: networking.istio.io/v1", "MESH020", "add kind"),
    ("apiversion: networking.istio.io/v1\nkind: VirtualService", "MESH020", "rename apiversion to apiVersion"),
    ("apiVersion: 1\nkind: VirtualService", "MESH024", "write it as text"),
    ("apiVersion: networking.istio.io/v2\nkind: VirtualService", "MESH021", "v1 or v1beta1 or v1alpha3"),
    ("apiVersion: networking.istio.io\nkind: VirtualService", "MESH021", "write group/version"),
    ("apiVersion: security.istio.io/v1\nkind: VirtualService", "MESH022", "use apiVersion: networking.istio.io/v1"),
    ("apiVersion: networking.istio.com/v1\nkind: VirtualService", "MESH022", "use apiVersion: networking.istio.io/v1"),
    ("apiVersion: v1\nkind: DestinationRule", "MESH022", "use apiVersion: networking.istio.io/v1"),
    ("apiVersion: networking.istio.io/v1\nkind: VirtualServices", "MESH022", "did you mean VirtualService?"),
    ("apiVersion: networking.istio.io/v1\nkind: Foo", "MESH022", "use one of VirtualService"),
    ("hello: world", "MESH020", "add apiVersion"),
]


@pytest.mark.parametrize(("text", "code", "hint"), HEADERS, ids=[row[0] for row in HEADERS])
def test_a_wrong_header_is_explained(text: str, code: str, hint: str) -> None:
    """Version, group and kind that cannot be are errors that name what would do."""
    (found,) = errors(load_text(f"{text}\nmetadata: {{name: a}}\n"))
    assert (found.code, hint in found.hint) == (code, True), found


FOREIGN = [
    ("gateway.networking.k8s.io/v1", "HTTPRoute", "Gateway API"),
    ("gateway.networking.k8s.io/v1", "Gateway", "Gateway API"),
    ("gateway.solo.io/v1", "VirtualService", "not an Istio kind"),
    ("install.istio.io/v1alpha1", "IstioOperator", "installation settings"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "Kubernetes kind"),
    ("v1", "ServiceAccount", "Kubernetes kind"),
    ("monitoring.coreos.com/v1", "ServiceMonitor", "not an Istio kind"),
]


@pytest.mark.parametrize(("version", "kind", "reason"), FOREIGN)
def test_foreign_kinds_are_skipped_with_a_reason(version: str, kind: str, reason: str) -> None:
    """What is not for us is no error, and is never skipped silently."""
    config = load_text(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: [{{x: 1}}]\n")
    (skipped,) = config.skipped
    assert (skipped.kind, skipped.name, skipped.namespace, skipped.line) == (kind, "a", "default", 1)
    assert reason in skipped.reason
    assert [(finding.code, finding.level) for finding in config.findings] == [("MESH029", "info")]


ENVELOPES = [
    ("status: {anything: [1]}", []),
    ("status: text", ["MESH024"]),
    ("spek: {}", ["MESH023"]),
    ("metadata: {name: a, labels: {a: 1}}", ["MESH024"]),
    ("metadata: {name: 1}", ["MESH024"]),
    ("metadata: []", ["MESH024"]),
    ("metadata: {name: a, uid: 1, generation: '1'}", ["MESH024", "MESH024"]),
    ("metadata: {name: a, creationTimestamp: yesterday}", ["MESH026"]),
    ("metadata: {name: a, creationTimestamp: '2020-01-01T00:00:00Z', managedFields: [{}], newField: 1}", []),
    ("metadata: {generateName: a-, namespace: null, labels: {a: null}, annotations: null}", []),
]


@pytest.mark.parametrize(("line", "codes"), ENVELOPES)
def test_the_envelope_is_as_in_kubernetes(line: str, codes: list[str]) -> None:
    """Types of metadata are strict, its unknown fields are not; status is ignored."""
    text = virtual_service("{route: [{destination: {host: b}}]}")
    if line.startswith("metadata"):
        text = text.replace("metadata: {name: a, namespace: b}\n", "")
    config = load_text(f"{text}{line}\n")
    assert [finding.code for finding in errors(config)] == codes
    assert len(config.resources) == (not codes)


def test_a_missing_name_is_a_warning() -> None:
    """The object can be read all the same."""
    config = load_text(virtual_service("{route: [{destination: {host: b}}]}").replace("name: a, ", ""))
    assert [finding.code for finding in config.findings] == ["MESH033"]
    assert [str(resource) for resource in config.resources] == ["VirtualService b/"]


def test_values_are_typed() -> None:
    """Durations are seconds, matches are classes, lists are tuples."""
    rule = (
        "{match: [{uri: {prefix: /a}, headers: {x: {}, w: {exact: z}}}], timeout: 1m,"
        " route: [{destination: {host: b}}], mirror_percent: 5}"
    )
    (resource,) = load_text(virtual_service(rule)).resources
    assert isinstance(resource.spec, VirtualServiceSpec)
    (route,) = resource.spec.http
    assert route.timeout == 60.0
    assert route.match[0].uri == PrefixMatch("/a")
    assert route.match[0].headers == {"x": PresentMatch(), "w": ExactMatch("z")}
    assert (route.mirror_percent, route.redirect, resource.rule_lines) == (5, None, {"http": (7,)})


def test_a_namespace_is_filled_in_where_the_kind_has_one() -> None:
    """Objects without namespace get that of the caller; a Namespace has none."""
    text = "apiVersion: v1\nkind: {}\nmetadata: {{name: a}}\n"
    config = load_text(text.format("Service") + "---\n" + text.format("Namespace"), namespace="shop")
    assert [resource.metadata.namespace for resource in config.resources] == ["shop", ""]


def test_our_extension_of_destination_rules_is_honoured_with_a_warning() -> None:
    """Istio rejects timeout and retryPolicy there, and the hint says where Istio has them."""
    text = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: a\n"
        "  trafficPolicy:\n    timeout: 5s\n    retryPolicy: {attempts: 3, perTryTimeout: 2s, retryOn: 5xx}\n"
        "  subsets:\n  - name: v1\n    trafficPolicy: {timeout: 1s}\n"
    )
    config = load_text(text)
    (resource,) = config.resources
    assert isinstance(resource.spec, DestinationRuleSpec)
    assert resource.spec.traffic_policy is not None
    assert resource.spec.traffic_policy.timeout == 5.0
    assert [(one.code, one.line, one.hint) for one in config.findings] == [
        ("MESH030", 7, "in a cluster, set http.timeout of a VirtualService"),
        ("MESH030", 8, "in a cluster, set http.retries of a VirtualService"),
        ("MESH030", 11, "in a cluster, set http.timeout of a VirtualService"),
    ]


def test_a_refused_field_is_a_warning_at_its_place() -> None:
    """Each is named, and the resource stays."""
    config = load_text(
        virtual_service(
            "{match: [{statPrefix: b}, {uri: {exact: /}, statPrefix: a}], route: [{destination: {host: b}}]}"
        )
    )
    warnings = [(one.level, one.code, one.field, one.line) for one in config.findings]
    assert sorted(warnings) == [
        ("warning", "MESH031", "spec.http[0].match[0].statPrefix", 7),
        ("warning", "MESH031", "spec.http[0].match[1].statPrefix", 7),
    ]
    assert len(config.resources) == 1


def test_a_kubernetes_object_that_is_not_understood_is_left_out_with_a_warning() -> None:
    """It is not ours to refuse."""
    config = load_text("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: http}]}\n")
    assert [(one.code, one.level, one.field) for one in config.findings] == [
        ("MESH035", "warning", "spec.ports[0].port")
    ]
    assert [one.reason for one in config.skipped] == ["not understood"]


def test_kubernetes_objects_may_have_any_other_field() -> None:
    """Only what is used is looked at; absent and null are the same."""
    header = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
    (resource,) = load_text(header + "spec: {ports: null, selector: {app: a}, future: {x: 1}}\n").resources
    assert resource.spec == ServiceSpec(selector={"app": "a"})


def test_secrets_are_never_quoted() -> None:
    """Neither findings nor reprs show a value of a Secret, right or wrong."""
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: 271828, b: aHVzaA==}\nstringData: {c: hush}\n"
    shown = "".join(map(str, load_text(text).findings))
    assert "271828" not in shown
    assert "hush" not in shown
    (resource,) = load_text(text.replace("a: 271828, ", "")).resources
    assert isinstance(resource.spec, SecretSpec)
    assert "hush" not in repr(resource.spec)
    assert "aHVzaA" not in repr(resource)


def test_errors_are_capped() -> None:
    """A hostile document does not fill the screen."""
    rules = ", ".join(["{timeout: 1}"] * 1000)
    config = load_text(virtual_service("{}").replace("  - {}", f"    [{rules}]"))
    assert len(config.findings) == 201
    assert config.findings[-1].code == "MESH036"


VALUES: list[Any] = [None, 5, "x", [], {"kind": 1}, {"kind": None, "apiVersion": {}}, {1: 2}, {"metadata": 5}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_without_text_is_judged_without_places(value: Any) -> None:
    """Values that no reader has made are no reason to crash."""
    findings: list[Finding] = []
    assert decode(Document(value, None, "given"), findings) is None
    assert {finding.level for finding in findings} == {"error"}
    assert {(finding.line, finding.column) for finding in findings} == {(0, 0)}


def test_decode_gives_skipped_for_a_foreign_kind() -> None:
    """The third kind of answer, besides a resource and None."""
    value = {"apiVersion": "a.b/v1", "kind": "C", "metadata": {"name": "d"}}
    assert isinstance(decode(Document(value, None, ""), []), Skipped)
