"""Every benchmark runs and says what it found as JSON. How fast it was is not a test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.budgets import BUDGETS, Budget, Figure, budget_table
from benchmarks.harness import Comparison, Median, Timing, compare
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "governed_call": ("--rounds", "2", "--calls", "2"),
    "governed_function": ("--rounds", "2", "--calls", "2"),
    "loopback": ("--rounds", "1", "--calls", "32"),
    "reload": ("--rounds", "1", "--calls", "100"),
    "decision": ("--rounds", "1", "--calls", "1", "--most", "100"),
    "load": ("--rounds", "1", "--calls", "3"),
    "analyze": ("--rounds", "1", "--calls", "20"),
    "telemetry": ("--rounds", "1", "--calls", "2"),
    "middleware": ("--rounds", "1", "--calls", "2"),
    "simulation": ("--rounds", "1", "--calls", "20"),
    "clients": ("--rounds", "1", "--calls", "8"),
    "import_time": ("--rounds", "1"),
}


def run(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("name", TINY)
def test_prints_json_lines(name: str) -> None:
    """Nothing but JSON objects is on stdout, and a figure among them."""
    done = run(f"benchmarks.{name}", *TINY[name])
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(isinstance(record, dict) for record in records)
    names = {record["figure"] for record in records if "figure" in record}
    assert names
    assert names <= {budget.figure for budget in BUDGETS}


def test_hops_go_through_the_proxies_that_are_here() -> None:
    """A proxy that is not installed is named on stderr; of each other there are two figures."""
    done = run("benchmarks.hops", "--rounds", "2", "--calls", "3")
    assert done.returncode == 0, done.stderr
    figures = {json.loads(line)["figure"] for line in done.stdout.splitlines()}
    for name in ("nginx", "haproxy", "envoy"):
        is_here = f"hop through {name} ÷ ours: latency" in figures
        assert is_here is not any(line.startswith(name) and "left out" in line for line in done.stderr.splitlines())
    assert figures <= {budget.figure for budget in BUDGETS}


def test_all_prints_the_budgets() -> None:
    """`python -m benchmarks NAME` ends with the table of budgets."""
    done = run("benchmarks", "import_time", "--quick")
    assert done.returncode == 0, done.stderr
    assert "import meshlib" in done.stdout
    assert "not run" in done.stdout


def test_the_governed_session_really_calls() -> None:
    """Each governed call reaches an endpoint of its own choice, with the caller's Host."""
    code = (
        "import asyncio\n"
        "from meshlib import Mesh\n"
        "from benchmarks.governed_call import CONFIG, GOVERNED_URL\n"
        "from benchmarks.memory_client import MemoryLoop, gets\n"
        "async def main():\n"
        "    async with Mesh.load(CONFIG).aiohttp() as session:\n"
        "        await gets(session, GOVERNED_URL)(300)\n"
        "        async with session.get(GOVERNED_URL) as response: assert response.status == 200\n"
        "with asyncio.Runner(loop_factory=MemoryLoop) as runner:\n"
        "    runner.run(main())\n"
        "    print(sorted(one.requests for one in runner.get_loop().transports))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    requests = json.loads(done.stdout)
    assert len(requests) == 3
    assert sum(requests) == 301


def test_every_variant_has_its_turn() -> None:
    """A round runs each variant once, in an order drawn anew; a short warm-up goes before each measured turn."""
    seen: list[tuple[str, int]] = []
    variants = {name: lambda calls, name=name: seen.append((name, calls)) for name in "abc"}
    compare("x", variants, rounds=20, calls=30)
    orders = [[name for name, calls in seen[at : at + 6] if calls == 30] for at in range(3, len(seen), 6)]
    assert [sorted(order) for order in orders] == [["a", "b", "c"]] * 20
    assert len({tuple(order) for order in orders}) > 1


def test_added_is_paired_by_round() -> None:
    """A drift that all variants share does not show; what one adds to it does."""
    base = [1e-6, 5e-6, 3e-6]
    more = [value + 2e-6 for value in base]
    comparison = Comparison("x", 1, {"bare": Timing(base, base), "more": Timing(more, more)})
    assert comparison.added("more").value == pytest.approx(2.0)


def test_noise_is_what_the_base_adds_to_itself() -> None:
    """The A/A variant's interval, at its larger end."""
    comparison = Comparison("x", 1, {"a": Timing([1e-6] * 9, [1e-6] * 9), "b": Timing([9e-6] * 9, [2e-6] * 9)}, "b")
    assert comparison.noise == pytest.approx(1.0)


def test_median_interval_holds_the_median() -> None:
    """The interval is made of measured values around the middle."""
    assert Median.of([float(value) for value in range(101)]) == Median(50.0, 40.0, 61.0)


@pytest.mark.parametrize(
    ("value", "slowness", "verdict"),
    [(8.0, 1.0, "yes"), (16.0, 2.0, "at reference speed"), (30.0, 2.0, "NO")],
)
def test_budget_verdicts(value: float, slowness: float, verdict: str) -> None:
    """A time is judged as measured, then at the speed of the machine that the budgets were set on."""
    shown = budget_table({"governed call added": Figure(value, "µs")}, slowness).splitlines()[1]
    assert shown.endswith(f"  {verdict}")


def test_a_budget_may_be_a_floor() -> None:
    """`at_least` is met by more."""
    assert Budget("x", at_least=8).holds(9)
    assert not Budget("x", at_least=8).holds(7)
