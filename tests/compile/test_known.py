"""A reload that compiles only what has changed gives what compiling everything gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib._compile import compile_snapshot
from meshlib._compile.known import KnownCompilation
from meshlib._config.known import KnownTexts
from meshlib._config.load import load
from meshlib._snapshot.snapshot import Snapshot
from meshlib.diagnostics import Finding
from meshlib.sources import SourceText
from meshlib.workload import Workload
from tests.compile.configurations import RESOURCES, Doc, identity, text

PLAIN = Workload(namespace="default", labels={"app": "a", "version": "v1"}, service_account="a")
WORKLOADS = [PLAIN, Workload(namespace="shop", labels={"app": "a"}, gateway=True)]
EDITS = st.lists(st.one_of(RESOURCES, RESOURCES, st.integers(0, 30)), min_size=1, max_size=2)
"""Resources that come, or take the place of others, and the numbers of some that go."""


def contents(value: object) -> object:
    """What an object is made of: matchers are not equal to one another, only to themselves."""
    if isinstance(value, Mapping):
        return [(key, contents(item)) for key, item in value.items()]
    if isinstance(value, tuple | list):
        return [contents(item) for item in value]
    if value is None or isinstance(value, str | bytes | int | float | frozenset | Enum | Callable):  # type: ignore[arg-type]
        return value
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    fields = {name: getattr(value, name, None) for name in names if not name.startswith("__")}
    return type(value).__name__, contents(fields | getattr(value, "__dict__", {}))


class Reloads:
    """One configuration after another, compiled with and without what is known from before."""

    def __init__(self, workload: Workload = PLAIN) -> None:
        self.workload = workload
        self.texts = KnownTexts()
        self.known = KnownCompilation()

    def reload(self, *resources: Doc) -> Snapshot:
        """What is known must make no difference; also not to the order in which things stand."""
        config = load([SourceText("a.yaml", text(resources))], known=self.texts)
        findings: list[Finding] = []
        again = compile_snapshot(config.resources, self.workload, findings, self.known)
        expected: list[Finding] = []
        whole = compile_snapshot(config.resources, self.workload, expected)
        assert findings == expected
        assert contents(again) == contents(whole)
        return again


@pytest.mark.parametrize("workload", WORKLOADS, ids=["sidecar", "gateway"])
@given(first=st.lists(RESOURCES, min_size=4, max_size=16), edits=st.lists(EDITS, min_size=1, max_size=4))
@settings(max_examples=60)
def test_an_incremental_compilation_equals_a_full_one(
    workload: Workload, first: list[Doc], edits: list[list[Doc | int]]
) -> None:
    """Through any changes, additions and removals of resources of any kind."""
    reloads, resources = Reloads(workload), {identity(one): one for one in first}
    reloads.reload(*resources.values())
    for step in edits:
        for edit in step:
            if isinstance(edit, dict):
                resources[identity(edit)] = edit
            elif resources:
                del resources[list(resources)[edit % len(resources)]]
        reloads.reload(*resources.values())


def rule(name: str, seconds: int = 1, **spec: object) -> Doc:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "hosts": [name],
            "http": [{"timeout": f"{seconds}s", "route": [{"destination": {"host": name}}]}],
            **spec,
        },
    }


def test_what_did_not_change_is_not_compiled_again() -> None:
    """The very same virtual hosts stand for the VirtualServices that stayed as they were."""
    reloads = Reloads()
    before = reloads.reload(rule("a"), rule("b")).tables[80].exact
    after = reloads.reload(rule("a"), rule("b", 2)).tables[80].exact
    name = "{}.default.svc.cluster.local".format
    assert after[name("a")] is before[name("a")]
    assert after[name("b")] is not before[name("b")]


def test_what_is_gone_is_forgotten() -> None:
    """The memory is that of one compilation."""
    reloads = Reloads()
    for number in range(5):
        reloads.reload(rule("a", number + 1))
    assert repr(reloads.known) == "<KnownCompilation rules=1 hosts=1>"


def resource(kind: str, name: str, *, version: str = "networking.istio.io/v1", **spec: object) -> Doc:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def service(name: str, **spec: object) -> Doc:
    return resource("Service", name, version="v1", ports=[{"port": 80, "name": "http"}], **spec)


def hashed(name: str) -> dict[str, object]:
    return {"loadBalancer": {"consistentHash": {"httpHeaderName": name}}}


def leaf(seconds: int) -> Doc:
    return rule("leaf", seconds) | {
        "spec": {"http": [{"timeout": f"{seconds}s", "route": [{"destination": {"host": "a"}}]}]}
    }


ROOT = rule("b", http=[{"delegate": {"name": "leaf", "namespace": "default"}}])
ENTRY = resource(
    "ServiceEntry",
    "c",
    hosts=["c.example.com"],
    ports=[{"number": 80, "name": "http", "protocol": "HTTP"}],
    resolution="DNS",
)
RULE_A = resource("DestinationRule", "a", host="a", trafficPolicy=hashed("x"))
B_TO_A = rule("b", http=[{"route": [{"destination": {"host": "a"}}]}])
FAULTY = rule("b", http=[{"fault": {"delay": {"percentage": {"value": 1}}}, "route": [{"destination": {"host": "b"}}]}])
CHANGES: dict[str, tuple[list[Doc], list[Doc]]] = {
    "the policy of a destination": (
        [B_TO_A, service("a"), RULE_A],
        [B_TO_A, service("a"), resource("DestinationRule", "a", host="a", trafficPolicy=hashed("y"))],
    ),
    "the first DestinationRule of all": ([B_TO_A, service("a")], [B_TO_A, service("a"), RULE_A]),
    "a DestinationRule that is merged into another": (
        [B_TO_A, service("a"), RULE_A, resource("DestinationRule", "a2", host="a", subsets=[{"name": "v1"}])],
        [B_TO_A, service("a"), RULE_A, resource("DestinationRule", "a2", host="a", subsets=[{"name": "v2"}])],
    ),
    "a service that had a DestinationRule before it was there": ([B_TO_A, RULE_A], [B_TO_A, RULE_A, service("a")]),
    "what an ExternalName stands for": (
        [B_TO_A, service("a", type="ExternalName", externalName="one.example.com")],
        [B_TO_A, service("a", type="ExternalName", externalName="two.example.com")],
    ),
    "a delegate": ([ROOT, leaf(1)], [ROOT, leaf(2)]),
    "a delegate that was missing": ([ROOT], [ROOT, leaf(1)]),
    "a destination that was unknown": ([B_TO_A], [B_TO_A, service("a")]),
    "a host that becomes a service": ([rule("b")], [rule("b"), service("b")]),
    "a host that is a service no more": ([rule("b"), service("b")], [rule("b")]),
    "a wildcard that covered the service of another rule": (
        [rule("w", hosts=["*.example.com", "b"]), rule("c.example.com"), ENTRY],
        [rule("w", hosts=["*.example.com", "b"]), rule("c.example.com")],
    ),
    "a host that an older rule takes": ([rule("b")], [rule("b"), rule("a") | {"spec": rule("b", 9)["spec"]}]),
    "retries of the mesh": ([rule("b")], [rule("b"), {"defaultHttpRetryPolicy": {"attempts": 7}}]),
    "another resource than a doubtful one": ([FAULTY, rule("c")], [FAULTY, rule("c", 2)]),
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_what_depends_on_a_change_is_compiled_again(before: list[Doc], after: list[Doc]) -> None:
    """One by one: each of these is asked while something else is compiled, which did not change itself."""
    reloads = Reloads()
    first = contents(reloads.reload(*before))
    assert contents(reloads.reload(*after)) != first
    assert contents(reloads.reload(*before)) == first
