"""Metrics of prefork servers: files in prometheus_client's own format, which its MultiProcessCollector adds up.

Each process writes files of its own name, a second behind what it has counted, from a
daemon thread, so that no request pays for it. Counters of a worker that has ended stay
(that is what a counter is), its gauges are removed by whoever writes next.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from prometheus_client.mmap_dict import MmapedDict, mmap_key

from meshlib.telemetry.counters import SeriesKey, Total
from meshlib.telemetry.families import DESCRIPTIONS
from meshlib.telemetry.prometheus import LIMITS

__all__ = ["MetricFiles", "directory"]

_SECONDS: Final = 1.0
_PREFIX: Final = {"counter": "counter", "histogram": "histogram", "gauge": "gauge_livesum"}
_OLDEST: Final = frozenset(
    {"meshlib_config_published_timestamp_seconds", "istio_build", "meshlib_config_info", "meshlib_endpoints"}
)
"""Gauges that would be nonsense as a sum over the workers: the largest one is shown."""


def directory() -> str:
    """Where prometheus_client keeps the files of all processes; empty if it does not."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")


class MetricFiles:
    """The files of this process. ``totals`` reads what was counted."""

    def __init__(self, totals: Callable[[], Mapping[SeriesKey, Total]]) -> None:
        self._totals = totals
        self._reset()
        reference: weakref.ref[MetricFiles] = weakref.ref(self)
        atexit.register(_flush_at_exit, reference)

    def _reset(self) -> None:
        self._files: dict[str, MmapedDict] = {}
        self._keys: dict[SeriesKey, list[str]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write every second from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="meshlib-metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write once more and let go of the files."""
        self._ended.set()
        self.flush()
        with self._lock:
            for file in self._files.values():
                file.close()  # type: ignore[no-untyped-call]
            self._files.clear()

    def restart(self) -> None:
        """In a forked child: the parent's files are the parent's."""
        self._reset()
        self.start()

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.flush()

    def flush(self) -> None:
        """Write what was counted."""
        with self._lock:
            _remove_dead_gauges(Path(directory()))
            for key, total in self._totals().items():
                file = self._file(_file_name(key.metric))
                names = self._keys.get(key)
                if names is None:
                    names = self._keys[key] = _keys(key)
                values = (*total[0], total[1]) if isinstance(total, tuple) else (total,)
                for name, value in zip(names, values, strict=True):
                    file.write_value(name, float(value), 0.0)  # type: ignore[no-untyped-call]

    def _file(self, name: str) -> MmapedDict:
        file = self._files.get(name)
        if file is None:
            path = Path(directory()) / f"{name}_meshlib{os.getpid()}.db"
            file = self._files[name] = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        return file

    def __repr__(self) -> str:
        return f"<MetricFiles {directory()} files={len(self._files)}>"


def _file_name(metric: str) -> str:
    """The beginning of a file's name tells prometheus_client what is in it and how processes are put together."""
    return "gauge_livemax" if metric in _OLDEST else _PREFIX[DESCRIPTIONS[metric][0]]


def _keys(series: SeriesKey) -> list[str]:
    """The names of a series' values as prometheus_client writes them; buckets are added up by the reader."""
    kind, text = DESCRIPTIONS[series.metric]
    names, values = [name for name, _ in series.labels], [value for _, value in series.labels]
    metric = series.metric.removesuffix("_total")
    if kind != "histogram":
        return [mmap_key(metric, series.metric, names, values, text)]
    buckets = [mmap_key(metric, f"{metric}_bucket", [*names, "le"], [*values, limit], text) for limit in LIMITS]
    return [*buckets, mmap_key(metric, f"{metric}_sum", names, values, text)]


def _remove_dead_gauges(place: Path) -> None:
    """prometheus_client's mark_process_dead does not know our names."""
    for file in place.glob("gauge_live*_meshlib*.db"):
        pid = file.stem.rpartition("meshlib")[2]
        if pid.isdigit() and not _is_alive(int(pid)):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush_at_exit(reference: weakref.ref[MetricFiles]) -> None:
    files = reference()
    if files is not None:
        with contextlib.suppress(OSError, ValueError):
            files.stop()
