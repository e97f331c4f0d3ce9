"""`meshlib validate`: output, exit status, and nothing but JSON on standard output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from meshlib.cli.validate import validate
from tests.corpus import corpus_path

GOOD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
"""
BAD = GOOD.replace("  - route:", "  - timeuot: 5s\n    route:")
REFUSED = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lua, namespace: shop}
spec:
  priority: 10
"""


def run(*arguments: str, text: str = "") -> Result:
    return CliRunner().invoke(validate, [*arguments], input=text)


def test_a_good_configuration_is_fine() -> None:
    """One line says so, and the status is 0."""
    result = run("-f", "-", text=GOOD)
    assert (result.exit_code, result.stdout) == (0, "ok: nothing wrong; 1 usable resource\n")


def test_an_error_fails_and_has_its_place() -> None:
    """Status 1, and line and column of the mistake."""
    result = run("-f", "-", "-o", "json", text=BAD)
    (finding,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (finding["level"], finding["file"], finding["line"], finding["column"]) == ("error", "<stdin>", 7, 5)
    assert finding["field"] == "spec.http[0].timeuot"
    assert "timeout" in finding["hint"]


def test_all_documents_of_all_files_are_looked_at(tmp_path: Path) -> None:
    """A directory is walked, and one bad file does not hide the next."""
    (tmp_path / "a.yaml").write_text(BAD, encoding="utf-8")
    (tmp_path / "b.yml").write_text(f"{GOOD}---\n{BAD}", encoding="utf-8")
    result = run("-f", str(tmp_path), "-o", "json")
    findings = json.loads(result.stdout)
    errors = [(Path(one["file"]).name, one["line"]) for one in findings if one["level"] == "error"]
    assert errors == [("a.yaml", 7), ("b.yml", 16)]


def test_skipped_kinds_are_named() -> None:
    """What is not looked at is said in the first line."""
    result = run(
        "-f", "-", text=GOOD + "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: z}\n"
    )
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].endswith("; 1 usable resource, 1 document skipped (HTTPRoute)")


def test_strict_makes_refused_fields_errors() -> None:
    """Without it they are warnings and the status is 0."""
    relaxed, strict = run("-f", "-", text=REFUSED), run("-f", "-", "--strict", text=REFUSED)
    assert (relaxed.exit_code, strict.exit_code) == (0, 1)
    assert strict.stdout.startswith("FAILED: ")


def test_expectations_of_istios_test_files_are_dropped() -> None:
    """A top-level `_err`, even one that is no YAML, is as if it were not there; lines keep their numbers."""
    result = run("-f", "-", "-o", "json", text=f"_err: a: b\n  more\n{BAD}")
    (finding,) = json.loads(result.stdout)
    assert finding["line"] == 9


def test_namespace_is_that_of_resources_without_one() -> None:
    """As for kubectl."""
    result = run("-f", "-", "-n", "web", "-o", "json", text=BAD.replace(", namespace: shop", ""))
    assert json.loads(result.stdout)[0]["resource"] == "VirtualService web/reviews"


def test_sarif_is_one_log() -> None:
    """Code hosts read it as it is."""
    result = run("-f", "-", "-o", "sarif", text=BAD)
    assert json.loads(result.stdout)["runs"][0]["results"][0]["ruleId"].startswith("MESH")
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--config'"),
        (("-f", "no/such/file.yaml"), "no/such/file.yaml"),
        (("-f", "-", "-o", "yaml"), "Invalid value for '--output'"),
        (("-f", "-", "--label", "novalue"), "'novalue' is not of the form key=value"),
        (("-f", "-", "--mesh-config", "no/such/file.yaml"), "no/such/file.yaml"),
    ],
    ids=["no-config", "no-file", "format", "label", "mesh-config"],
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...], message: str) -> None:
    """Standard output stays empty, standard error names the mistake."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: [", b"\x00", b"", b"- 1\n- 2\n", b"[" * 20_000])
def test_hostile_input_is_a_finding_or_nothing(content: bytes, tmp_path: Path) -> None:
    """No content ends in a traceback."""
    path = tmp_path / "hostile.yaml"
    path.write_bytes(content)
    result = run("-f", str(path), "-o", "json")
    assert result.exit_code in (0, 1)
    assert result.exit_code == any(finding["level"] == "error" for finding in json.loads(result.stdout))


def test_files_of_the_corpus_with_expectations_are_read() -> None:
    """Istio's own test file of bad resources: every document with `_err` is an error, none because of the key."""
    result = run("-f", str(corpus_path("validation/crds/reqauth-invalid.yaml")), "-o", "json")
    findings = json.loads(result.stdout)
    assert not [finding for finding in findings if "_err" in finding["field"]]
