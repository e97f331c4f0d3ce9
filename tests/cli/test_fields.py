"""`meshlib fields`: the support matrix."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meshlib.cli.fields import fields
from tests.corpus import load_corpus

STATUSES = {"honoured", "approximated", "refused"}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(fields, [*arguments])


def matrix(*arguments: str) -> dict[str, dict[str, Any]]:
    kinds: dict[str, dict[str, Any]] = json.loads(run(*arguments, "-o", "json").stdout)["kinds"]
    return kinds


def test_every_field_has_a_status_and_a_note() -> None:
    """The shape of the contract."""
    entries = [entry for paths in matrix().values() for entry in paths.values()]
    assert all(entry.keys() == {"status", "note"} and entry["status"] in STATUSES for entry in entries)


@pytest.mark.parametrize("kind", list(load_corpus("crds/fields.json")["kinds"]))
def test_every_field_of_istio_is_in_the_matrix(kind: str) -> None:
    """Each `spec` path of the CRDs is listed, so nothing is left unsaid."""
    rows = load_corpus("crds/fields.json")["kinds"][kind]["fields"]
    paths = {row["path"] for row in rows if row["path"].startswith("spec.")}
    assert paths <= matrix()[kind].keys()


def test_kinds_and_statuses_can_be_chosen() -> None:
    """In any case of letters."""
    assert list(matrix("virtualservice", "Gateway")) == ["VirtualService", "Gateway"]
    assert {
        entry["status"] for entry in matrix("VirtualService", "--status", "honoured")["VirtualService"].values()
    } == {"honoured"}


def test_text_begins_with_the_counts() -> None:
    """The first line is the result, then one field a line."""
    first, _, kind, *rows = run("VirtualService").stdout.splitlines()
    assert first.split()[1:5] == ["fields", "of", "1", "kind:"]
    assert kind == "VirtualService"
    assert any(row.split()[:2] == ["spec.http[].timeout", "honoured"] for row in rows)


def test_an_unknown_kind_is_status_2() -> None:
    """The message lists the kinds there are."""
    result = run("VirtualServce")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'VirtualServce' is none of AuthorizationPolicy, " in result.stderr
