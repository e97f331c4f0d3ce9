"""What ``import meshlib`` costs a fresh interpreter, against one that does nothing.

Bytecode is cached, as in any second start. Names of the package are imported when they are first used, so the line
that every program has, ``from meshlib import Mesh``, is shown too. The modules that the budget forbids (aiohttp and
its kin are imported when they are used) are looked for, since they are what usually breaks it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import SelfTimed, Unit, arguments, compare_processes, emit, emit_figure

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
LAZY = ("aiohttp", "cryptography", "prometheus_client", "pybreaker", "tenacity", "opentelemetry")
BARE, AGAIN, IMPORT, MESH = "python -c pass", "python -c pass again", "import meshlib", "from meshlib import Mesh"


def interpreter(code: str) -> SelfTimed:
    """A variant: start an interpreter that runs ``code``."""

    def start() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), _children_seconds()
        _run(code)
        return time.perf_counter() - wall, _children_seconds() - cpu

    return start


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=15, calls=1, argv=argv)
    variants = {BARE: interpreter("pass"), AGAIN: interpreter("pass")}
    variants |= {code: interpreter(code) for code in (IMPORT, MESH)}
    for code in variants:
        variants[code]()  # writes the bytecode
    comparison = compare_processes("import_time", variants, rounds=options.rounds, unit=Unit.MILLISECONDS, again=AGAIN)
    emit(comparison)
    for code in (IMPORT, MESH):
        early = _run(f"{code}; import sys, json; print(json.dumps([m for m in {LAZY!r} if m in sys.modules]))")
        print(json.dumps({"benchmark": "import_time", "variant": code, "imported_too_early": json.loads(early)}))
    emit_figure("import meshlib", comparison.added(IMPORT), "ms", noise=comparison.noise)


def _run(code: str) -> str:
    return subprocess.run(  # noqa: S603 - our own interpreter with our own code
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def _children_seconds() -> float:
    try:
        import resource
    except ImportError:  # Windows does not count the time of children
        return 0.0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
