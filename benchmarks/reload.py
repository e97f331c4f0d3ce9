"""How long a reload takes after one VirtualService of 10,000 has changed, and how long it makes requests wait.

The configuration is a directory of a hundred files of a hundred VirtualServices each, as ``load`` makes them. The
first reload is not measured: it reads everything, and remembers it. Then one VirtualService changes before each.

For the stall an event loop makes governed calls, answered from memory, one after another, while a thread reloads. What
a call waits is the processor time that the other thread used during it: by the clock on the wall it would be that of
other processes as well, which on a busy machine is most of it.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.governed_call import CONFIG, GOVERNED_URL
from benchmarks.harness import Median, arguments, emit_figure, table
from benchmarks.load import generate
from benchmarks.memory_client import MemoryLoop
from meshlib import Mesh

__all__ = ["main"]

FILES = 100
SEPARATOR = "---\n"


class Configuration:
    """The directory, and one change after another."""

    def __init__(self, place: Path, count: int) -> None:
        self.place = place
        self.changes = 0
        documents = generate(count).split(SEPARATOR)
        size = max(count // FILES, 1)
        for number in range(0, count, size):
            text = SEPARATOR.join(documents[number : number + size])
            Path(place, f"team-{number // size:03d}.yaml").write_text(text, encoding="utf-8")
        Path(place, "reviews.yaml").write_text(CONFIG, encoding="utf-8")

    def change(self) -> None:
        """Another timeout for one VirtualService, somewhere in the middle."""
        file = sorted(self.place.glob("team-*.yaml"))[self.changes * 37 % FILES % len(list(self.place.glob("team-*")))]
        before, word, after = file.read_text(encoding="utf-8").partition("  - timeout: ")
        self.changes += 1
        seconds = f"{30 + self.changes % 20}s"
        file.write_text(f"{before}{word}{seconds}{after[after.index(chr(10)) :]}", encoding="utf-8")


def reload_times(mesh: Mesh, configuration: Configuration, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of processor and wall clock of each reload."""
    wall, cpu = [], []
    for _ in range(rounds):
        configuration.change()
        start, spent = time.perf_counter(), time.process_time()
        mesh.reload()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
    return cpu, wall


async def call_times(mesh: Mesh, is_over: Callable[[], bool]) -> list[float]:
    """Seconds of processor time that other threads used during each of the calls that are made until it is over."""
    times = []
    async with mesh.aiohttp() as session:
        while not is_over():
            all_threads, own = time.process_time(), time.thread_time()
            async with session.get(GOVERNED_URL) as response:
                await response.read()
            await asyncio.sleep(0)
            times.append(max(time.process_time() - all_threads - (time.thread_time() - own), 0.0))
    return times


def stalls(mesh: Mesh, configuration: Configuration, rounds: int) -> tuple[list[float], list[float]]:
    """What calls waited without a reload, and while a thread reloads; in seconds."""
    with asyncio.Runner(loop_factory=MemoryLoop) as runner:
        until = time.monotonic() + 1.0
        quiet = runner.run(call_times(mesh, lambda: time.monotonic() > until))
        thread = threading.Thread(target=reload_times, args=(mesh, configuration, rounds))
        thread.start()
        busy = runner.run(call_times(mesh, lambda: not thread.is_alive()))
        thread.join()
    return quiet, busy


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=7, calls=10_000, argv=argv)
    with tempfile.TemporaryDirectory() as directory:
        configuration = Configuration(Path(directory), options.calls)
        with Mesh.load(directory) as mesh:
            first = reload_times(mesh, configuration, 1)[0][0]
            gc.collect()
            cpu, wall = reload_times(mesh, configuration, options.rounds)
            quiet, busy = stalls(mesh, configuration, options.rounds)
    heads = ("ms", "median", "p99", "worst")
    rows = [
        ["reload that reads everything", f"{first * 1e3:.1f}", "", ""],
        ["reload after one change, processor", f"{statistics.median(cpu) * 1e3:.1f}", "", f"{max(cpu) * 1e3:.1f}"],
        ["reload after one change, wall", f"{statistics.median(wall) * 1e3:.1f}", "", f"{max(wall) * 1e3:.1f}"],
        ["wait of a call, no reload", *_shown(quiet)],
        ["wait of a call, reloading", *_shown(busy)],
    ]
    print(f"\nreload: {options.rounds} changes among {options.calls} VirtualServices", file=sys.stderr)
    print(table(rows, heads), file=sys.stderr)
    emit_figure("reload after one change", _in_ms(cpu), "ms")
    emit_figure("stall during a reload: p99", _p99(busy) * 1e3, "ms", noise=_p99(quiet) * 1e3)
    emit_figure("stall during a reload: worst", max(busy) * 1e3, "ms", noise=max(quiet) * 1e3)


def _in_ms(seconds: Sequence[float]) -> Median:
    return Median.of([one * 1e3 for one in seconds])


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def _shown(times: Sequence[float]) -> list[str]:
    return [f"{one * 1e3:.3f}" for one in (statistics.median(times), _p99(times), max(times))]


if __name__ == "__main__":
    main()
