"""Run every benchmark, each in an interpreter of its own, and print the figures beside their budgets.

``python -m benchmarks [NAME…] [--quick] [--json FILE]``. The exit status tells whether the benchmarks ran, never
whether a budget was met.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.budgets import Figure, budget_table
from benchmarks.machine import slowness

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = (
    "governed_call",
    "governed_function",
    "loopback",
    "hops",
    "decision",
    "load",
    "reload",
    "analyze",
    "telemetry",
    "middleware",
    "cardinality",
    "simulation",
    "clients",
    "import_time",
)
QUICK = {
    "governed_call": ("--rounds", "21"),
    "governed_function": ("--rounds", "11"),
    "loopback": ("--rounds", "11"),
    "hops": ("--rounds", "11"),
    "decision": ("--rounds", "5", "--calls", "64"),
    "load": ("--rounds", "1", "--calls", "2000"),
    "reload": ("--rounds", "3", "--calls", "2000"),
    "analyze": ("--rounds", "1", "--calls", "2000"),
    "telemetry": ("--rounds", "9"),
    "middleware": ("--rounds", "9"),
    "cardinality": ("--calls", "10000"),
    "simulation": ("--rounds", "1", "--calls", "1000"),
    "clients": ("--rounds", "3", "--calls", "64"),
    "import_time": ("--rounds", "5"),
}


def run(name: str, extra: Sequence[str]) -> tuple[list[str], bool]:
    """The JSON lines of one benchmark and whether it ended well; its tables go to stderr as they come."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *extra]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
    return done.stdout.splitlines(), done.returncode == 0


def figures(lines: Iterable[str]) -> Iterator[tuple[str, Figure]]:
    """The figures among the JSON lines, by name."""
    for line in lines:
        record = json.loads(line)
        if name := record.pop("figure", None):
            yield name, Figure(**record)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 if a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What meshlib costs, beside its budgets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all if none is given")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that they run, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all JSON lines there as well")
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}")
    lines: list[str] = []
    failed, speeds, begin = [], [slowness()], time.monotonic()
    for name in options.names or BENCHMARKS:
        print(f"\n== {name}", file=sys.stderr, flush=True)
        printed, well = run(name, QUICK[name] if options.quick else ())
        lines += printed
        speeds.append(slowness())
        failed += [] if well else [name]
    typical = statistics.median(speeds)
    if options.json is not None:
        machine = {"slowness": round(typical, 3), "low": round(min(speeds), 3), "high": round(max(speeds), 3)}
        options.json.write_text("\n".join([*lines, json.dumps({"machine": machine})]) + "\n", encoding="utf-8")
    print(f"\n{budget_table(dict(figures(lines)), typical)}\n")
    spread = f"{min(speeds):.2f}–{max(speeds):.2f}"
    print(f"Python takes {typical:.2f} × as long here as on the machine of the budgets ({spread}).")
    print(f"{time.monotonic() - begin:.0f} s{'; QUICK: the figures mean little' if options.quick else ''}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
