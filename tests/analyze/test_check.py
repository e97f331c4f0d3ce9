"""`meshlib.check`, what counts as an object, and the error of `Mesh.load(strict=True)`."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlib import ConfigError, Mesh, SourceError, check
from meshlib._analyze.view import Node

ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop]
  http:
  - route:
    - destination: {host: nowhere}
"""


def codes(config: object, **options: object) -> list[str]:
    return [entry.code for entry in check(config, **options)]  # type: ignore[arg-type]


def test_a_users_test_is_one_line(tmp_path: Path) -> None:
    """Files, directories, texts and resources, as Mesh.load takes them."""
    (tmp_path / "mesh.yaml").write_text(ROUTE, encoding="utf-8")
    spec = {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "nowhere"}}]}]}
    resource = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "a"},
        "spec": spec,
    }
    for config in (tmp_path, str(tmp_path / "mesh.yaml"), ROUTE, resource, [ROUTE]):
        assert codes(config) == ["IST0101"]


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """That is not a finding about a configuration."""
    with pytest.raises(SourceError):
        check(tmp_path / "none")
    with pytest.raises(ValueError, match="CODE=Kind"):
        check(ROUTE, suppress=["IST0101"])


def test_findings_can_be_left_out() -> None:
    """As on the command line."""
    assert codes(ROUTE, suppress=["IST0101=VirtualService *.default"]) == []


def test_a_namespace_can_be_given() -> None:
    """For objects that name none."""
    (entry,) = check(ROUTE.replace(", namespace: default", ""), namespace="shop")
    assert entry.resource == "VirtualService shop/shop"


def test_an_object_that_breaks_a_rule_still_counts() -> None:
    """A Gateway that Istio refuses is there all the same: whoever names it is told nothing."""
    gateway = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, namespace: default}
spec: {selector: {istio: ingressgateway}, servers: []}
"""
    route = ROUTE.replace("  http:", "  gateways: [g]\n  http:")
    found = check(route + gateway)
    assert "IST0106" in [entry.code for entry in found]
    assert 'Referenced gateway not found: "g"' not in [entry.message for entry in found]
    assert 'Referenced gateway not found: "g"' in [entry.message for entry in check(route)]


def test_what_cannot_be_decoded_does_not_count() -> None:
    """As in Istio, it is reported and nothing more is said about it."""
    assert codes(ROUTE.replace("[shop]", "shop")) == ["MESH024"]


def test_a_later_definition_replaces_an_earlier_one() -> None:
    """There is one object of a name."""
    assert codes(f"{ROUTE}---\n{ROUTE.replace('nowhere', 'elsewhere')}") == ["IST0101", "MESH034"][::-1]


def test_namespaces_of_kubernetes_itself_are_left_alone() -> None:
    """Istio never looks there."""
    assert codes(ROUTE.replace("namespace: default", "namespace: kube-system")) == []


def test_fields_in_snake_case_are_read() -> None:
    """Protobuf JSON has both names; the API server's schema is told apart."""
    assert Node({"port_level_settings": [1]}, ()).items("portLevelSettings")[0].value == 1


@pytest.mark.parametrize("value", [None, 3, "text", [], {"spec": None}, {"spec": [1]}, {"spec": {"http": {"a": 1}}}])
def test_values_of_any_shape_are_empty(value: object) -> None:
    """Analyzers never have to ask what a value is."""
    node = Node(value, ()).node("spec")
    assert (node.text("x"), node.number("x"), node.items("http"), node.texts("x"), node.labels("x")) == (
        "",
        0,
        [],
        [],
        {},
    )


def test_strict_raises_one_error_with_all_findings() -> None:
    """What is refused, what is not valid, and what only shows when everything is put together."""
    text = f"""{ROUTE.replace("- route:", "- match: [{uri: {prefix: /}, statPrefix: a}]" + chr(10) + "    route:")}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: other, namespace: default}}
spec: {{hosts: [other], http: [{{timeuot: 1s}}]}}
"""
    with pytest.raises(ConfigError) as caught:
        Mesh.load(text, strict=True)
    assert {"MESH023", "MESH031", "MESH067"} <= {entry.code for entry in caught.value.findings}
