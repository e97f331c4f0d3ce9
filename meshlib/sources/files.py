"""Configuration from files and directories, and their changes.

A directory is read recursively: ``*.yaml``, ``*.yml`` and ``*.json`` in the order of
their paths. Names that begin with a dot are left out. That also does for a mounted
ConfigMap, whose files are links through ``..data``: each is read once, by its own name.
"""

from __future__ import annotations

import glob
import importlib
import importlib.util
import logging
import math
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from meshlib._config.document import ValueText
from meshlib.errors import SourceError
from meshlib.sources import SourceText

__all__ = [
    "MAX_FILE",
    "MAX_TOTAL",
    "ConfigInput",
    "Fingerprint",
    "expand",
    "fingerprint",
    "import_notifier",
    "watch_paths",
    "written",
]

ConfigInput: TypeAlias = "str | bytes | os.PathLike[str] | Mapping[str, Any] | SourceText | Sequence[ConfigInput]"
"""What :meth:`meshlib.Mesh.load` takes: see :func:`expand`."""

Fingerprint: TypeAlias = "tuple[tuple[str, int, int, int], ...]"
"""What :func:`fingerprint` compares; equal as long as nothing changed."""

MAX_FILE = 64 << 20
"""The size in bytes up to which a file is read."""

MAX_TOTAL = 512 << 20
"""The size in bytes up to which all files together are read."""

_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_DEPTH = 100
_SETTLE, _SETTLE_ROUNDS = 0.05, 20

_log = logging.getLogger("meshlib")


def expand(config: ConfigInput) -> list[SourceText]:
    """The texts that ``config`` stands for.

    * a directory, a file, or a glob pattern (``**`` goes through directories);
    * ``-``: standard input;
    * YAML or JSON text: a string with a line break or ``": "`` in it, or that begins
      with a brace or bracket. A :class:`pathlib.Path` is always a path;
    * a mapping: one resource as Python values;
    * a :class:`SourceText`, or any of these in a list.

    A file that is reached in several ways is read once. Raises
    :class:`meshlib.errors.SourceError` for what is missing, empty, unreadable or too large.
    """
    collection = _Collection()
    collection.add(config)
    return collection.texts


class _Collection:
    """The texts collected so far."""

    def __init__(self) -> None:
        self.texts: list[SourceText] = []
        self._seen: set[str] = set()
        self._size = 0
        self._values = 0

    def add(self, config: ConfigInput) -> None:
        match config:
            case SourceText():
                self.texts.append(config)
            case Mapping():
                self._values += 1
                name = f"<resource {self._values}>"
                self.texts.append(SourceText(name, ValueText.of(_plain(config, name, "", 0))))
            case bytes():
                self.texts.append(SourceText("<text>", config))
            case "-":
                self._add_text("<stdin>", _standard_input())
            case str() if _is_text(config):
                self.texts.append(SourceText("<text>", config))
            case str() | os.PathLike():
                for path in _files(os.fspath(config), is_pattern=isinstance(config, str)):
                    self._add_file(path)
            case Sequence():
                parts: Sequence[Any] = config
                for part in parts:
                    self.add(part)
            case _:
                raise TypeError(f"configuration cannot be read from {type(config).__name__}")

    def _add_file(self, path: str) -> None:
        real = os.path.realpath(path)
        if real in self._seen:
            return
        self._seen.add(real)
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a Path for each costs more than to open it
                # Room for what is there, and no more than that: the size of a pipe is not known before.
                size = min(os.fstat(file.fileno()).st_size, MAX_FILE)
                text = file.read(size + 1)
                if len(text) > size:
                    text += file.read(MAX_FILE + 1 - len(text))
        except OSError as error:
            raise _unreadable(path, error) from error
        self._add_text(path, text)

    def _add_text(self, name: str, text: bytes) -> None:
        self._size += len(text)
        if len(text) > MAX_FILE:
            raise SourceError(name, f"the file is larger than {MAX_FILE >> 20} MiB", "split it into several files")
        if self._size > MAX_TOTAL:
            raise SourceError(name, f"all files together exceed {MAX_TOTAL >> 20} MiB", "name fewer files")
        self.texts.append(SourceText(name, text))


def _standard_input() -> bytes:
    if sys.stdin is None:  # the process was started without one
        raise SourceError("<stdin>", "standard input is closed", "name a file, or write the text to it")
    return sys.stdin.buffer.read(MAX_FILE + 1)


def _is_text(config: str) -> bool:
    return "\n" in config or ": " in config or config.lstrip().startswith(("{", "["))


def _plain(value: object, name: str, where: str, depth: int) -> Any:
    """A resource's values as the reader would give them; SourceError for what YAML cannot say."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 1e21 else value
    if depth > _MAX_DEPTH:
        raise SourceError(name, f"nested deeper than {_MAX_DEPTH} levels", "flatten the resource")
    if isinstance(value, Mapping):
        return {_key(key, name, where): _plain(item, name, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(item, name, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    shown = repr(value) if isinstance(value, float) else type(value).__name__
    raise SourceError(name, f"{where.lstrip('.')} is {shown}", "use dicts, lists, strings, numbers, booleans and None")


def _key(key: object, name: str, where: str) -> str:
    if isinstance(key, str):
        return key
    raise SourceError(name, f"{where.lstrip('.') or 'the resource'} has the key {key!r}", "use strings as keys")


# -- from a path to files --------------------------------------------------------------------------


def _files(path: str, *, is_pattern: bool) -> list[str]:
    """The files at ``path``, which may be a directory or, unless something has that very name, a pattern."""
    if not path:
        raise SourceError(
            path, "no such file or directory, as the path is empty", "name a file, a directory or a pattern"
        )
    try:
        return _found(path, is_pattern=is_pattern)
    except OSError as error:  # no right to look, links in a circle, a name that is too long, a disk that is gone
        raise _unreadable(os.fspath(error.filename or path), error) from error


def _found(path: str, *, is_pattern: bool) -> list[str]:
    place = Path(path)
    if place.is_dir():
        files = sorted(_walk(path))
        if not files:
            raise SourceError(path, "the directory holds no .yaml, .yml or .json file", "name the right directory")
        return files
    if place.exists():
        return [path]
    if is_pattern and glob.has_magic(path):
        found = glob.iglob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        matches = sorted(match for match in found if not Path(match).is_dir())
        if not matches:
            raise SourceError(path, "no file matches the pattern", "correct the pattern, or quote it from the shell")
        return matches
    if place.is_symlink():
        raise SourceError(path, "the link leads nowhere", "correct the link")
    raise SourceError(path, "no such file or directory", "correct the path; text needs a line break to count as YAML")


def _walk(top: str) -> Iterator[str]:
    """The files below a directory by name; links to directories are followed, but none is visited twice."""
    visited = {os.path.realpath(top)}
    pending = [top]
    while pending:
        directory = pending.pop()
        with os.scandir(directory) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
        yield from (entry.path for entry in shown if entry.name.lower().endswith(_SUFFIXES) and entry.is_file())
        for entry in shown:
            if entry.is_dir() and (real := os.path.realpath(entry.path)) not in visited:
                visited.add(real)
                pending.append(entry.path)


def _unreadable(path: str, error: OSError) -> SourceError:
    remedy = "give the process the right to read it" if isinstance(error, PermissionError) else "correct the path"
    return SourceError(path, f"cannot be read: {error.strerror or error}", remedy)


# -- changes ---------------------------------------------------------------------------------------


def fingerprint(config: ConfigInput) -> Fingerprint:
    """Names, sizes, times and identities of all files of ``config``; costs one ``stat`` a file.

    Never raises: what cannot be looked at just looks different. Text has no files.
    """
    found: dict[str, tuple[str, int, int, int]] = {}
    for path, is_pattern in _paths(config):
        try:
            files = _files(path, is_pattern=is_pattern)
        except SourceError as error:
            found[path] = (error.reason, 0, 0, 0)
            continue
        for file in files:
            found[file] = _look(file)
    return tuple(found[path] for path in sorted(found))


def _look(path: str) -> tuple[str, int, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each costs more than to look at it
    except OSError:
        return (path, 0, 0, 0)
    if not stat.S_ISREG(status.st_mode):
        return (path, 0, 0, 0)
    return (path, status.st_mtime_ns, status.st_size, status.st_ino)


def _paths(config: ConfigInput) -> Iterator[tuple[str, bool]]:
    """The paths named by ``config``, and whether each may be a pattern."""
    if isinstance(config, str):
        if config != "-" and not _is_text(config):
            yield config, True
    elif isinstance(config, os.PathLike):
        yield os.fspath(config), False
    elif isinstance(config, Sequence) and not isinstance(config, bytes):
        for part in config:
            yield from _paths(part)


def watch_paths(
    config: ConfigInput,
    on_change: Callable[[], None],
    *,
    interval: float,
    stop: threading.Event,
    known: Fingerprint | None = None,
    is_notified: bool = True,
) -> None:
    """Call ``on_change`` after every change of the files of ``config``, until ``stop`` is set.

    Blocks: run it in a thread of its own. Changes are noticed at once where watchfiles is
    installed and the file system tells of them (unless ``is_notified`` is false), else within
    ``interval`` seconds. A burst of changes is one call. An error of ``on_change``, or files
    that vanish for a while, end nothing.
    ``known`` is the fingerprint of what was read, so that no change before the first look is missed.
    Returns at once when ``config`` names no files.
    """
    paths = [path for path, _ in _paths(config)]
    if not paths:
        return
    known = fingerprint(config) if known is None else known
    wait = _Notified(paths, interval, stop) if is_notified and _has_watchfiles() else None
    while not stop.is_set():
        current = fingerprint(config)
        if current == known:
            if wait is None or not wait():
                stop.wait(interval)
            continue
        known = _settled(config, current, stop)
        try:
            on_change()
        except Exception:  # noqa: BLE001 - whatever it is, the files may be right again next time
            _log.exception("the change of %s could not be applied", ", ".join(paths))


def written(config: ConfigInput, current: Fingerprint, before: Fingerprint, pause: threading.Event) -> Fingerprint:
    """The fingerprint once it stands still, if a file that held something before holds nothing now.

    Who writes a file over empties it first. One that stays empty is meant to be.
    """
    held = {path for path, _, size, _ in before if size}
    is_emptied = any(size == 0 and path in held for path, _, size, _ in current)
    return _settled(config, current, pause) if is_emptied else current


def _settled(config: ConfigInput, current: Fingerprint, stop: threading.Event) -> Fingerprint:
    """The fingerprint once it stands still: a file that is being written is not read half."""
    for _ in range(_SETTLE_ROUNDS):
        if stop.wait(_SETTLE):
            break
        before, current = current, fingerprint(config)
        if before == current:
            break
    return current


def import_notifier() -> None:
    """Import watchfiles, where it is installed, before a thread does: a fork in between leaves the child half of it."""
    if _has_watchfiles():
        importlib.import_module("watchfiles")


def _has_watchfiles() -> bool:
    return importlib.util.find_spec("watchfiles") is not None


class _Notified:
    """Waits for a notification of the system, at most ``interval`` seconds.

    Directories are watched, never files: a ConfigMap, and most editors, replace what a
    path leads to, and a watch on the file would go on looking at the old one.
    """

    def __init__(self, paths: Sequence[str], interval: float, stop: threading.Event) -> None:
        self._paths, self._interval, self._stop = paths, interval, stop
        self._changes: Iterator[object] | None = None

    def __call__(self) -> bool:
        """Whether it waited; False when nothing can be watched now."""
        try:
            if self._changes is None:
                self._changes = self._watch()
            return next(self._changes, None) is not None
        except (OSError, RuntimeError):  # a directory is gone, or there are no watches left
            self._changes = None
            return False

    def _watch(self) -> Iterator[object]:
        from watchfiles import watch

        directories = [path for path in self._paths if Path(path).is_dir()]
        # A recursive watch on the parent of a file could be one on the whole disk.
        watched = directories or sorted({_existing_parent(path) for path in self._paths})
        return watch(
            *watched,
            watch_filter=None,
            stop_event=self._stop,
            rust_timeout=max(1, int(self._interval * 1000)),
            yield_on_timeout=True,
            debounce=200,
            step=20,
            recursive=bool(directories),
            raise_interrupt=False,
        )


def _existing_parent(path: str) -> str:
    """The nearest directory above a file or a pattern."""
    parents = (str(parent) for parent in Path(path).parents if parent.is_dir())
    return next((parent for parent in parents if not glob.has_magic(parent)), ".")
