"""Destinations that nothing defines are said at load."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib import Mesh
from meshlib.sources import SourceText

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop{number}, namespace: default}}
spec:
  hosts: [shop{number}.example.com]
  http:
  - route: [{{destination: {{host: {host}, subset: {subset}}}}}]
---
"""
REGISTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
"""


def unknown(text: str) -> list[str]:
    return [finding.message for finding in Mesh.load(text).findings if finding.code == "MESH067"]


def test_an_unknown_host_and_an_unknown_subset_are_told_apart() -> None:
    """Each with the rule that names it, once."""
    rules = RULE.format(number=1, host="b.example.com", subset="v1") + RULE.format(
        number=2, host="a.example.com", subset="v3"
    )
    mesh = Mesh.load(rules + REGISTRY)
    found = [finding for finding in mesh.findings if finding.code == "MESH067"]
    assert [(finding.resource, finding.field, finding.line > 0) for finding in found] == [
        ("VirtualService default/shop1", "spec.http[0]", True),
        ("VirtualService default/shop2", "spec.http[0]", True),
    ]
    assert "b.example.com is no known Service or ServiceEntry on port 80" in found[0].message
    assert 'subset "v3" of a.example.com' in found[1].message


def test_a_known_destination_is_no_finding() -> None:
    """Not even for port 80, where the rules of a host that listens elsewhere stand too."""
    rule = RULE.format(number=1, host="b.example.com", subset="''").replace("shop1.example.com", "b.example.com")
    assert (
        unknown(rule + REGISTRY.replace("a.example.com", "b.example.com").replace("number: 80", "number: 9080")) == []
    )


def test_a_directory_without_its_services_does_not_flood() -> None:
    """The first twenty, and a count."""
    text = "".join(RULE.format(number=number, host="b.example.com", subset="v1") for number in range(50))
    found = unknown(text)
    assert len(found) == 21
    assert found[-1] == "30 more destinations are not known either"


WITH_PORT = RULE.replace("subset: {subset}", "subset: {subset}, port: {{number: 9080}}")
pieces = st.dictionaries(st.integers(0, 40), st.sampled_from([RULE, WITH_PORT]), min_size=15)


@given(st.lists(st.tuples(pieces, st.booleans(), st.sampled_from([80, 9080])), min_size=2, max_size=4))
def test_a_reload_says_what_a_load_says(states: list[tuple[dict[int, str], bool, int]]) -> None:
    """Whatever comes and goes: rules, services, ports."""
    mesh = Mesh.load(REGISTRY)
    for rules, has_registry, port in states:
        texts = [
            SourceText(f"{number}.yaml", text.format(number=number, host="b.example.com", subset="v1"))
            for number, text in rules.items()
        ]
        if has_registry:
            texts.append(SourceText("registry.yaml", REGISTRY.replace("number: 80", f"number: {port}")))
        fresh = Mesh.load(texts)
        mesh.publish(texts)
        assert mesh.findings == fresh.findings
