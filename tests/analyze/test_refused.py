"""Objects that the schema refuses: Istio's analysis knows no schema, so it says what its own code finds in them."""

from __future__ import annotations

import pytest

from meshlib import check

# Kind, spec, the messages of IST0106 that Istio 1.31 gives (the beginning of each), what else is told.
ROWS = [
    ("Gateway", "{servers: [{hosts: [a.com]}]}", ["port is required"], []),
    ("Gateway", "{servers: [{port: {number: 80, protocol: HTTP}, hosts: [a.com]}]}", ["port name must be set"], []),
    ("Gateway", "{servers: [{port: {number: 80, name: http}, hosts: [a.com]}]}", ['invalid protocol ""'], []),
    (
        "Gateway",
        "{servers: [{port: {number: 80, name: http, protocol: HTTP}}]}",
        ["server config must contain at least one host"],
        ["MESH025"],
    ),
    ("ServiceEntry", "{resolution: STATIC}", ["service entry must have at least one host"], []),
    ("ServiceEntry", '{hosts: ["*"]}', ["invalid host *"], []),
    ("ServiceEntry", "{hosts: [a.com], ports: [{name: http}]}", ["port number must be in the range 1..65535"], []),
    ("VirtualService", "{hosts: [a.com], http: [{route: [{weight: 5}]}]}", ["destination is required"], ["MESH025"]),
    (
        "VirtualService",
        "{hosts: [a.com], http: [{route: [{destination: {host: a.com}}], retries: {attempts: 1, perTryTimeout: 0s}}]}",
        ["duration must be greater than 1ms"],
        [],
    ),
    ("DestinationRule", "{trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}", ["empty domain name not allowed"], ["MESH025"]),
    (
        "PeerAuthentication",
        '{portLevelMtls: {"80": {mode: STRICT}}}',
        ["mesh/namespace peer authentication cannot have port level mTLS"],
        [],
    ),
    ("VirtualService", "{hosts: [a.com], http: [{route: [{destination: {host: a.com}}], x: 1}]}", [], ["MESH023"]),
    # What no protocol buffer can hold is not read at all.
    ("Gateway", "{servers: 5}", [], ["MESH024"]),
    ("Gateway", "{servers: [{port: {number: 5000000000, name: a, protocol: HTTP}}]}", [], ["MESH025"]),
    ("ServiceEntry", "{hosts: [], location: MARS}", [], ["MESH026", "MESH027"]),
    ("VirtualService", "{hosts: [a.com], http: [{route: [{weight: 5}], timeout: soon}]}", [], ["MESH025", "MESH026"]),
    ("DestinationRule", "{host: 80, subsets: [{name: a, labels: {a: b}}, {name: a, labels: {a: b}}]}", [], ["MESH024"]),
    (
        "VirtualService",
        "{hosts: [a.com], http: [{route: [{destination: {host: a.com, port: {}}}]}]}",
        ["port number 0 must be in the range 1..65535"],
        [],
    ),
]


def told(kind: str, spec: str) -> tuple[list[str], list[str]]:
    """The messages of IST0106, and the codes of the schema."""
    group = "security" if kind == "PeerAuthentication" else "networking"
    head = f"apiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{name: a, namespace: default}}\n"
    found = check(f"{head}spec: {spec}\n")
    refusals = [one.message.removeprefix("Schema validation error: ") for one in found if one.code == "IST0106"]
    return refusals, [one.code for one in found if "MESH020" <= one.code < "MESH029"]


@pytest.mark.parametrize(("kind", "spec", "messages", "codes"), ROWS)
def test_what_istio_says_of_what_the_schema_refuses(
    kind: str, spec: str, messages: list[str], codes: list[str]
) -> None:
    """In its words where its code refuses it too, else in ours."""
    refusals, schema = told(kind, spec)
    assert len(refusals) == len(messages)
    assert all(refusal.startswith(message) for refusal, message in zip(refusals, messages, strict=True))
    assert set(codes) <= set(schema)


def test_what_cannot_be_read_is_not_referred_to() -> None:
    """As in Istio: a Gateway of a wrong type is missing to those who name it."""
    route = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec: {hosts: [a.com], gateways: [entry], http: [{redirect: {uri: /}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: entry, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: NUMBER, name: http, protocol: HTTP}, hosts: [a.com]}]
"""
    assert "IST0101" not in {one.code for one in check(route.replace("NUMBER", "0"))}
    assert "IST0101" in {one.code for one in check(route.replace("NUMBER", "eighty"))}


def test_istio_does_not_know_what_a_later_definition_replaces() -> None:
    """There the last one is the only one; what is wrong with the one before has our code."""
    head = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a, namespace: default}\nspec: "
    bad = (
        "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: X}, hosts: [a.com]}]}"
    )
    good = bad.replace("protocol: X", "protocol: HTTP")
    assert [one.code for one in check(f"{head}{bad}\n---\n{head}{good}\n")] == ["MESH071"]
    assert [one.code for one in check(f"{head}{good}\n---\n{head}{bad}\n")] == ["IST0106"]
    assert [one.code for one in check(f"{head}{bad}\n---\n{head}{bad}\n")] == ["MESH071", "IST0106"]


@pytest.mark.parametrize(
    ("servers", "conflicts"),
    [
        (["x.com", "x.com"], ["x.com"]),
        (["x.com", "x.com, z.com"], ["x.com,z.com"]),
        (["x.com, z.com", "x.com"], ["x.com"]),
        (["x.com, q.com", "x.com", "q.com"], ["x.com", "q.com"]),
        (["x.com", "z.com"], []),
    ],
)
def test_a_host_twice_at_a_port_conflicts_with_everybody(servers: list[str], conflicts: list[str]) -> None:
    """As Istio 1.31 says of the later server, whatever the other Gateway listens for."""
    head = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {}, namespace: default}}\nspec:\n"
    text = ""
    for name, hosts in (("a", servers), ("b", ["other.com"])):
        text += head.format(name) + "  selector: {istio: ingressgateway}\n  servers:\n"
        for number, host in enumerate(hosts):
            text += f"  - {{port: {{number: 80, name: h{number}, protocol: HTTP}}, hosts: [{host}]}}\n"
        text += "---\n"
    found = [one for one in check(text) if one.code == "IST0145"]
    assert [one.message.partition(", hosts ")[2] for one in found] == [f"{hosts})." for hosts in conflicts]
    assert {one.resource for one in found} <= {"Gateway default/a"}


def test_the_same_message_about_an_object_is_istios_once() -> None:
    """As Istio counts them; each place is told, the others with our code."""
    text = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec: {host: a.com, subsets: [{name: a_b}, {name: a_c}, {name: a_b}]}
"""
    told = [(one.code, one.field) for one in check(text) if one.code in ("IST0106", "MESH077")]
    assert sorted(told) == [
        ("IST0106", "spec.subsets[0].name"),
        ("IST0106", "spec.subsets[1].name"),
        ("IST0106", "spec.subsets[2].name"),
        ("MESH077", "spec.subsets[2].name"),
    ]
