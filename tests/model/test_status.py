"""The support matrix covers every field, and its rules are applied from the longest."""

from __future__ import annotations

import pytest

from meshlib.model.kinds import KINDS
from meshlib.model.status import FieldStatus, field_status
from meshlib.model.status_rules import RULES
from tests.corpus import load_corpus
from tests.model.samples import crd_fields

APPLIED = [kind.name for kind in KINDS.values() if kind.treatment != "discovery"]


@pytest.mark.parametrize("kind", load_corpus("crds/fields.json")["kinds"])
def test_every_field_of_the_crds_has_a_status(kind: str) -> None:
    """No path is left out of the matrix."""
    assert set(crd_fields(kind)) <= field_status(kind).keys()


@pytest.mark.parametrize("kind", APPLIED)
def test_every_rule_is_about_a_field(kind: str) -> None:
    """A rule whose path does not exist would be a typing error nobody sees."""
    assert {path for path, _, _ in RULES[kind]} <= {"", *field_status(kind)}


@pytest.mark.parametrize("kind", APPLIED)
def test_every_refusal_has_a_reason(kind: str) -> None:
    """Who is told that a field does nothing is told why."""
    assert [path for path, status in field_status(kind).items() if status.status == "refused" and not status.note] == []


ROWS = [
    ("VirtualService", "spec.http[].timeout", "honoured"),
    ("VirtualService", "spec.http[].corsPolicy.maxAge", "honoured"),
    ("VirtualService", "spec.http[].mirror_percent", "honoured"),
    ("VirtualService", "spec.tcp[].match[].port", "honoured"),
    ("DestinationRule", "spec.trafficPolicy.outlierDetection", "honoured"),
    ("DestinationRule", "spec.trafficPolicy.outlierDetection.interval", "honoured"),
    ("DestinationRule", "spec.trafficPolicy.outlierDetection.minHealthPercent", "honoured"),
    ("DestinationRule", "spec.trafficPolicy.loadBalancer.backendUtilization.weightUpdatePeriod", "honoured"),
    ("DestinationRule", "spec.subsets[].trafficPolicy.portLevelSettings[].loadBalancer.simple", "honoured"),
    ("DestinationRule", "spec.trafficPolicy.tls.subjectAltNames", "honoured"),
    ("DestinationRule", "spec.trafficPolicy.portLevelSettings[].tls.credentialName", "approximated"),
    ("EnvoyFilter", "spec.configPatches[].patch.value", "refused"),
    ("MeshConfig", "outboundTrafficPolicy.mode", "honoured"),
]


@pytest.mark.parametrize(("kind", "path", "status"), ROWS)
def test_the_longest_rule_decides(kind: str, path: str, status: str) -> None:
    """A rule covers what is below it, unless a longer one says otherwise."""
    assert field_status(kind)[path].status == status


def test_an_unknown_kind_has_no_matrix() -> None:
    """Asking for a kind without a table is a mistake of the caller."""
    with pytest.raises(KeyError):
        field_status("Service")


def test_a_message_that_works_in_part_says_so() -> None:
    """A refused message with an honoured field inside is approximated."""
    assert field_status("DestinationRule")["spec.trafficPolicy.loadBalancer"] == FieldStatus(
        "approximated", "in part: some of its fields have no effect"
    )
