"""`meshlib analyze`: what it prints, when it fails, and what can be left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from meshlib.cli.analyze import analyze

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
SERVICE = """\
---
apiVersion: v1
kind: Service
metadata: {name: nowhere, namespace: default}
spec:
  ports: [{name: http, port: 80}]
"""
CHAIN = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - retries: {attempts: 4}
    route: [{destination: {host: nowhere}}]
"""


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(analyze, ["-f", "-", *arguments], input=text)


def codes(result: Result) -> list[str]:
    return [row["code"] for row in json.loads(result.stdout)]


def test_nothing_wrong_is_said_in_one_line() -> None:
    """The first line is the result."""
    result = run(text=ROUTE + SERVICE)
    assert (result.exit_code, result.stdout) == (0, "ok: nothing wrong; 2 usable resources\n")


def test_a_missing_host_fails_with_its_place() -> None:
    """Istio's code, words and level; our file, line, column, field and remedy."""
    result = run("-o", "json", text=ROUTE)
    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {
            "code": "IST0101",
            "level": "error",
            "resource": "VirtualService default/shop",
            "file": "<stdin>",
            "line": 8,
            "column": 27,
            "field": "spec.http[0].route[0].destination.host",
            "message": 'Referenced host not found: "nowhere"',
            "hint": "add the object that is named, or correct the name",
        }
    ]


@pytest.mark.parametrize(
    "value", ["IST0101=VirtualService shop.default", "IST0101=VirtualService default/*", "IST0101=*.default"]
)
def test_a_code_is_suppressed_for_an_object(value: str) -> None:
    """In both ways to write an object, with a wildcard; how many were left out is told."""
    result = run("--suppress", value, text=ROUTE)
    assert (result.exit_code, result.stdout) == (0, "ok: nothing wrong; 1 usable resource, 1 finding suppressed\n")


@pytest.mark.parametrize("value", ["IST0102=VirtualService shop.default", "IST0101=Service *", "IST0101=Virtual*x"])
def test_another_object_is_not_suppressed(value: str) -> None:
    """Neither another code, nor another kind, nor part of a name."""
    assert run("-S", value, text=ROUTE).exit_code == 1


@pytest.mark.parametrize("value", ["IST0101", "IST0101=", "=x", "IST0101=a=b"])
def test_a_suppression_of_another_form_is_refused(value: str) -> None:
    """Status 2: the user must know that nothing is suppressed."""
    assert run("-S", value, text=ROUTE).exit_code == 2


def test_a_suppression_of_an_unknown_code_is_told() -> None:
    """On standard error, as istioctl does."""
    result = run("-S", "IST9999=*", "-o", "json", text=ROUTE)
    assert "IST9999" in result.stderr
    assert codes(result) == ["IST0101"]


def test_an_object_suppresses_codes_by_annotation() -> None:
    """Listed without blanks, or all of them."""
    for value, expected in (("IST0101", 0), ("IST0002,IST0101", 0), ("*", 0), ("IST0002, IST0101", 1)):
        text = ROUTE.replace("default}", f"default, annotations: {{galley.istio.io/analyze-suppress: '{value}'}}}}")
        assert run(text=text).exit_code == expected


def test_the_thresholds_are_independent() -> None:
    """What is shown, and what fails."""
    text = (ROUTE + SERVICE).replace("name: http", "name: web")
    assert (codes(run("-o", "json", text=text)), run(text=text).exit_code) == (["IST0118"], 0)
    result = run("-o", "json", "--failure-threshold", "info", "--output-threshold", "warning", text=text)
    assert (codes(result), result.exit_code) == ([], 1)


def test_a_chain_multiplies_its_retries() -> None:
    """Only the reader knows who calls whom: the option tells."""
    result = run("--chain", "web,reviews", "-o", "json", text=CHAIN)
    (message,) = [row["message"] for row in json.loads(result.stdout) if row["code"] == "MESH137"]
    assert message == "along web → reviews one request may become 3 × 5 = 15 at reviews"
    assert "MESH137" not in codes(run("-o", "json", text=CHAIN))


def test_production_can_be_named() -> None:
    """Other names than the usual ones."""
    text = (
        ROUTE.replace("  - route:", "  - fault: {abort: {httpStatus: 500, percentage: {value: 1}}}\n    route:")
        + SERVICE
    )
    assert "MESH141" not in codes(run("-o", "json", text=text))
    assert "MESH141" in codes(run("-o", "json", "--production", "def*", text=text))


def test_strict_makes_refused_fields_errors() -> None:
    """As in validate."""
    text = ROUTE.replace("  - route:", "  - match: [{uri: {prefix: /}, statPrefix: all}]\n    route:") + SERVICE
    assert (run(text=text).exit_code, run("--strict", text=text).exit_code) == (0, 1)


def test_colours_can_be_forced_and_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CI log is no terminal, but shows colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in run("--color", text=ROUTE).stdout
    assert "\x1b[" not in run("--no-color", text=ROUTE).stdout


def test_sarif_names_istios_codes() -> None:
    """With what they mean, and where to read on."""
    (sarif,) = json.loads(run("-o", "sarif", text=ROUTE).stdout)["runs"]
    (rule,) = sarif["tool"]["driver"]["rules"]
    assert rule["id"] == "IST0101"
    assert rule["helpUri"] == "https://istio.io/latest/docs/reference/config/analysis/ist0101/"
    assert sarif["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] == 8


def test_a_directory_is_read_whole(tmp_path: Path) -> None:
    """With and without the flag that istioctl had for it."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.yaml").write_text(ROUTE, encoding="utf-8")
    for flags in ([], ["--recursive"], ["-R"]):
        result = CliRunner().invoke(analyze, ["-f", str(tmp_path), "-o", "json", *flags])
        assert codes(result) == ["IST0101"]


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    """Status 2, and nothing on standard output."""
    result = CliRunner().invoke(analyze, ["-f", str(tmp_path / "none.yaml")])
    assert (result.exit_code, result.stdout) == (2, "")
