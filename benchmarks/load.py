"""Loading 10,000 VirtualServices (7 MB of YAML), against PyYAML's C loader that only parses them.

Each turn is a process of its own: what one load leaves behind in the allocator would otherwise help the next. The time
starts with the text in memory and everything imported.

The resources are VirtualServices alone, each with a host of its own, two routes and two subsets: no Service or
DestinationRule stands beside them, so routes are compiled but no clusters.

``Mesh.load`` switches garbage collection off while it works; the bare parse gets the same favour.

Kept memory is counted twice: the Python objects alive afterwards (tracemalloc, in a process that is not timed, over a
quarter of the resources), which is the figure of the budget, and the growth of the resident set over all of them, with
what the allocator could not give back.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import SelfTimed, Unit, arguments, compare_processes, emit, emit_figure

__all__ = ["generate", "main"]

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: service-{number:05d}
  namespace: team-{team:03d}
spec:
  hosts:
  - service-{number:05d}.team-{team:03d}.svc.cluster.local
  http:
  - match:
    - headers:
        x-canary:
          exact: "true"
      uri:
        prefix: /api/v{version}
    route:
    - destination:
        host: service-{number:05d}.team-{team:03d}.svc.cluster.local
        subset: v2
  - timeout: {timeout}s
    retries:
      attempts: 3
      perTryTimeout: 2s
      retryOn: 5xx,connect-failure,reset
    route:
    - destination:
        host: service-{number:05d}.team-{team:03d}.svc.cluster.local
        subset: v1
      weight: {weight}
    - destination:
        host: service-{number:05d}.team-{team:03d}.svc.cluster.local
        subset: v2
      weight: {rest}
"""
PARSE, AGAIN, LOAD = "parse", "parse again", "Mesh.load"


def generate(count: int) -> str:
    """``count`` different VirtualServices of some 700 bytes each, as one multi-document text."""
    return "---\n".join(
        DOCUMENT.format(
            number=number,
            team=number % 200,
            version=number % 3,
            timeout=1 + number % 20,
            weight=100 - number % 50,
            rest=number % 50,
        )
        for number in range(count)
    )


def parse(text: str) -> object:
    """The bare parse: plain dicts and lists, no positions, no checks. Collection is off."""
    gc.disable()
    try:
        # The C loader is safe as the name says; it is here for its speed.
        return list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    finally:
        gc.enable()


def load(text: str) -> object:
    """All of it: positions, typed models, findings, compiled snapshot."""
    from meshlib import Mesh

    return Mesh.load(text)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; ``--child`` is how it calls itself."""
    arguments_given = sys.argv[1:] if argv is None else list(argv)
    if arguments_given[:1] == ["--child"]:
        _child(*arguments_given[1:])
        return
    options = arguments(__doc__ or "", rounds=3, calls=10_000, argv=argv)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "mesh.yaml")
        file.write_text(generate(options.calls), encoding="utf-8")
        _measure(file, rounds=options.rounds, count=options.calls)


def _measure(file: Path, *, rounds: int, count: int) -> None:
    resident: list[float] = []
    variants = {
        PARSE: _timed("parse", file),
        AGAIN: _timed("parse", file),
        LOAD: _timed("load", file, resident),
    }
    comparison = compare_processes("load", variants, rounds=rounds, unit=Unit.SECONDS, again=AGAIN)
    emit(comparison)
    kept = _kept_bytes(file.with_name("part.yaml"), max(count // 4, 1))
    grown = statistics.median(resident) * 1024 / count
    print(
        json.dumps(
            {
                "benchmark": "load",
                "resources": count,
                "yaml_bytes": file.stat().st_size,
                "kept_bytes_each": round(kept),
                "resident_bytes_each": round(grown) if math.isfinite(grown) else None,
            }
        )
    )
    emit_figure("load ÷ parse", comparison.ratio(LOAD), "×", noise=abs(comparison.ratio(AGAIN).value - 1))
    emit_figure("load", comparison.median(LOAD), "s", noise=comparison.noise)
    emit_figure("kept for each VirtualService", kept / 1000, "kB")


def _kept_bytes(file: Path, count: int) -> float:
    file.write_text(generate(count), encoding="utf-8")
    return _spawn("kept", "load", file)["kib"] * 1024 / count


def _timed(what: str, file: Path, resident: list[float] | None = None) -> SelfTimed:
    def run() -> tuple[float, float]:
        answer = _spawn("time", what, file)
        if resident is not None:
            resident.append(answer["kib"])
        return answer["wall"], answer["cpu"]

    return run


def _spawn(measure: str, what: str, file: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.load", "--child", measure, what, str(file)]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
    parsed: dict[str, float] = json.loads(answer.stdout)
    return parsed


def _child(measure: str, what: str, file: str) -> None:
    run = {"parse": parse, "load": load}[what]
    text = Path(file).read_text(encoding="utf-8")
    run(generate(1))  # imports, lazy tables
    gc.collect()
    answer: dict[str, Any] = {"time": _time, "kept": _kept}[measure](lambda: run(text))
    print(json.dumps(answer))


def _time(run: Callable[[], object]) -> dict[str, float]:
    before = _resident_kib()
    wall, cpu = time.perf_counter(), time.process_time()
    made = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    gc.collect()
    after = _resident_kib()
    del made
    return {"wall": wall, "cpu": cpu, "kib": after - before}


def _kept(run: Callable[[], object]) -> dict[str, float]:
    tracemalloc.start()
    made = run()
    gc.collect()
    kib = tracemalloc.get_traced_memory()[0] / 1024
    del made
    return {"kib": kib}


def _resident_kib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return math.nan
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmRSS:"))
    return float(line.split()[1])


if __name__ == "__main__":
    main()
