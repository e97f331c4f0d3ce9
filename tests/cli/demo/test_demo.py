"""The demo itself, on loopback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import meshlib
from meshlib.cli.demo.command import demo
from tests.patience import PATIENCE

ROOT = Path(meshlib.__file__).parents[1]
COMMAND = (sys.executable, "-m", "meshlib", "demo")

ONE_VERSION = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: second}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: second, labels: {version: v2}}
"""


TOKENS = ("a valid token is accepted", "a forged token is refused", "no token, no account")
SECONDS = ("3", "12", "60")
"""Of runs, the next one where the last was so short for a busy machine that claims stayed open."""
IDENTITIES = (
    "every call is mutual TLS",
    "plaintext is refused",
    "only reviews may call ratings",
    "new certificates are shown",
)


def test_the_demo_keeps_its_claims() -> None:
    """Three seconds of Bookinfo: split, header route, faults, retries, ejection and return, nothing lost."""
    for seconds in SECONDS:
        command = [*COMMAND, "--seconds", seconds, "--no-ui"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        if "\n open " not in done.stdout:
            break
    assert "\nok: " in done.stdout
    for claim in ("reviews-v1-1 comes back", *TOKENS, *IDENTITIES):
        assert f"kept   {claim}" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_ends_the_demo_with_the_table() -> None:
    """What is in flight is answered, nothing is left running, and nothing is called broken for not having come yet."""
    with subprocess.Popen(
        [*COMMAND, "--seconds", "0", "--no-ui"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE)
    assert first
    assert process.returncode == 0, errors
    assert "no request is lost" in rest
    assert errors == ""


def test_other_rules_make_other_claims(tmp_path: Path) -> None:
    """With `--config`, what is claimed is what that configuration says."""
    (tmp_path / "rules.yaml").write_text(ONE_VERSION, encoding="utf-8")
    for seconds in SECONDS:
        result = CliRunner().invoke(demo, ["--seconds", seconds, "--no-ui", "--config", str(tmp_path)])
        assert result.exit_code == 0, result.output
        if "\n open " not in result.output:
            break
    claims = [line.split(maxsplit=1)[1] for line in result.output.splitlines() if line.startswith(" kept")]
    assert [claim.split("  ")[0] for claim in claims] == [
        "no request is lost",
        "errors only where injected",
        "reviews v2 for everyone",
        *TOKENS,
        *IDENTITIES,
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--seconds", "1"), 2, "at least 3 seconds"),
        (("--seconds", "-1"), 2, "--seconds"),
        (("--config", "no/such/directory"), 2, "no/such/directory"),
    ],
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...], status: int, message: str) -> None:
    """Nothing is started."""
    result = CliRunner().invoke(demo, [*arguments])
    assert (result.exit_code, result.stdout) == (status, "")
    assert message in result.stderr


def test_rules_with_an_error_are_status_1(tmp_path: Path) -> None:
    """The finding is told with its place, and no server stays behind."""
    (tmp_path / "rules.yaml").write_text(ONE_VERSION.replace("route:", "rout:"), encoding="utf-8")
    result = CliRunner().invoke(demo, ["--seconds", "3", "--no-ui", "--config", str(tmp_path)])
    assert result.exit_code == 1
    assert "rules.yaml:7:" in result.stderr
    assert "Traceback" not in result.stderr
