"""Files, directories, patterns, texts and values become texts; their changes are noticed."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from meshlib._config.reader import read
from meshlib.errors import SourceError
from meshlib.sources import SourceText
from meshlib.sources.files import MAX_FILE, ConfigInput, expand, fingerprint, watch_paths, written
from tests.patience import PATIENCE


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with configuration, other files, and hidden ones."""
    for name in (
        "b.yaml",
        "a/x.yml",
        "a/y.json",
        "a/deep/z.YAML",
        "README.md",
        ".hidden.yaml",
        ".git/c.yaml",
        "empty/.k",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file: {name}\n")
    return tmp_path


def names(config: ConfigInput, top: Path) -> list[str]:
    """The names of the texts, relative to ``top``."""
    return [os.path.relpath(text.name, top) for text in expand(config)]


def test_a_directory_is_read_recursively_in_order(tree: Path) -> None:
    """Only YAML and JSON, nothing hidden."""
    assert names(tree, tree) == ["a/deep/z.YAML", "a/x.yml", "a/y.json", "b.yaml"]
    assert names(str(tree), tree) == names(tree, tree)
    assert expand(tree / "b.yaml") == [SourceText(str(tree / "b.yaml"), b"file: b.yaml\n")]


def test_a_file_is_read_whatever_its_name(tree: Path) -> None:
    """Naming it is enough."""
    assert names(tree / "README.md", tree) == ["README.md"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.yaml", ["b.yaml"]),
        ("a/*", ["a/x.yml", "a/y.json"]),
        ("**/*.y*ml", ["a/x.yml", "b.yaml"]),
        ("[ab].yaml", ["b.yaml"]),
    ],
)
def test_a_pattern_is_expanded(tree: Path, pattern: str, expected: list[str]) -> None:
    """Also through directories."""
    assert names(str(tree / pattern), tree) == expected


def test_a_file_with_the_name_of_a_pattern_is_that_file(tree: Path) -> None:
    """The literal name comes first, and a Path is never a pattern."""
    (tree / "[ab].yaml").write_text("a: 1")
    assert names(str(tree / "[ab].yaml"), tree) == ["[ab].yaml"]
    with pytest.raises(SourceError, match="no such file"):
        expand(tree / "*.yaml")


def test_each_file_is_read_once(tree: Path) -> None:
    """However often and by whatever name it is reached."""
    (tree / "a" / "again.yaml").symlink_to(tree / "b.yaml")
    (tree / "loop").symlink_to(tree)
    config: list[Path | str] = [tree / "b.yaml", tree, str(tree / "*.yaml"), tree / "a" / ".." / "b.yaml"]
    assert names(config, tree) == ["b.yaml", "a/deep/z.YAML", "a/x.yml", "a/y.json"]


def _project(mount: Path, revision: str, files: dict[str, str]) -> None:
    """Write a ConfigMap volume as the kubelet does: a new directory, then an atomic swap of ``..data``."""
    folder = mount / f"..{revision}"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(Path("..data") / name)
    (mount / "..data_tmp").symlink_to(folder.name)
    (mount / "..data_tmp").rename(mount / "..data")


def test_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    """By the names of its keys, not by those of the links behind them."""
    _project(tmp_path, "1", {"mesh.yaml": "a: 1", "other.yaml": "b: 1"})
    _project(tmp_path, "2", {"mesh.yaml": "a: 2", "other.yaml": "b: 2"})
    assert [(Path(text.name).name, text.text) for text in expand(tmp_path)] == [
        ("mesh.yaml", b"a: 2"),
        ("other.yaml", b"b: 2"),
    ]


@pytest.mark.parametrize("text", ["a: 1", "a:\n  b", "{a}", '[{"a": 1}]', "  {x}", "\n"])
def test_a_text_is_a_text(text: str) -> None:
    """A line break, a colon with a space, or a brace at the start tell it from a path."""
    assert expand(text) == [SourceText("<text>", text)]


def test_bytes_and_texts_with_a_name_are_taken_as_they_are() -> None:
    """Nothing is read from disk for them."""
    named = SourceText("here", "a")
    assert expand([b"a", named, ["b: 1"], ()]) == [SourceText("<text>", b"a"), named, SourceText("<text>", "b: 1")]


def test_standard_input_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for most commands."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a: 1")))
    assert expand("-") == [SourceText("<stdin>", b"a: 1")]


def test_values_are_resources() -> None:
    """Mappings are read as if they had been YAML, without positions."""
    first, second = expand([{"kind": "A", "spec": {"hosts": ("a",), "weight": 1.0}}, {"kind": "B", "x": [None, 0.5]}])
    assert [first.name, second.name] == ["<resource 1>", "<resource 2>"]
    [document] = read(first.text, first.name, [])
    assert document.value == {"kind": "A", "spec": {"hosts": ["a"], "weight": 1}}
    assert isinstance(document.value["spec"]["weight"], int)
    assert document.locate(("spec",)) == (0, 0)
    assert document.line == 0


def _nested(depth: int) -> dict[str, Any]:
    return {"a": _nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"spec": {"when": date(2026, 1, 1)}}, "spec.when is date"),
        ({"spec": {"hosts": [{1}]}}, r"spec.hosts\[0\] is set"),
        ({"spec": {1: 2}}, "spec has the key 1"),
        ({None: 2}, "the resource has the key None"),
        ({"x": float("inf")}, "x is inf"),
        ({"x": b""}, "x is bytes"),
        (_nested(200), "100 levels"),
    ],
)
def test_values_that_yaml_cannot_say_are_refused(value: dict[str, Any], words: str) -> None:
    """With the path of the value."""
    with pytest.raises(SourceError, match=words):
        expand(value)


def test_what_cannot_be_read_is_an_error_with_its_cause(tree: Path) -> None:
    """Missing, empty, without match, broken link: each says so, and what to do."""
    (tree / "broken").symlink_to("nowhere")
    cases = {
        str(tree / "nothing.yaml"): "no such file or directory",
        str(tree / "*.toml"): "no file matches",
        str(tree / "empty"): "holds no .yaml",
        str(tree / "broken"): "link leads nowhere",
        "": "no such file",
    }
    for path, words in cases.items():
        with pytest.raises(SourceError, match=words) as raised:
            expand(path)
        assert raised.value.source == path
        assert raised.value.remedy


def test_links_in_a_circle_are_an_error_with_its_cause(tree: Path) -> None:
    """Not one of the system, which ended the thread that watches; so is a name that is too long."""
    before = fingerprint(tree)
    (tree / "a" / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(SourceError, match="cannot be read") as raised:
        expand(tree)
    assert raised.value.source == str(tree / "a" / "loop.yaml")
    assert fingerprint(tree) != before
    with pytest.raises(SourceError, match="cannot be read"):
        expand("x" * 5000)


def test_standard_input_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for a process that was started without one."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="standard input is closed"):
        expand("-")


class _Writer(threading.Event):
    """A pause in which somebody writes the file, for the first ``rounds`` times."""

    def __init__(self, path: Path, rounds: int) -> None:
        super().__init__()
        self._path, self._rounds = path, rounds

    def wait(self, timeout: float | None = None) -> bool:
        """Not that long: what happens meanwhile is done at once."""
        assert timeout
        if self._rounds:
            self._rounds -= 1
            with self._path.open("a") as file:
                file.write("a: 1\n")
        return False


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_a_file_that_was_emptied_is_given_a_moment(tree: Path, rounds: int) -> None:
    """Until it stands still, be it empty."""
    file = tree / "b.yaml"
    file.write_text("a: 1")
    before = fingerprint(tree)
    file.write_text("")
    found = written(tree, fingerprint(tree), before, _Writer(file, rounds))
    assert found == fingerprint(tree)
    assert file.read_text() == "a: 1\n" * rounds


def test_a_file_that_always_was_empty_is_not_waited_for(tree: Path) -> None:
    """Nor one that holds something."""
    file = tree / "b.yaml"
    for text in ("", "a: 1"):
        file.write_text(text)
        before = fingerprint(tree)
        (tree / "new.yaml").write_text(text)
        assert written(tree, fingerprint(tree), before, _Writer(file, 1)) == fingerprint(tree)
        assert file.read_text() == text


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser reads everything")
def test_a_file_without_permission_is_an_error(tree: Path) -> None:
    """Also a directory in the tree."""
    (tree / "a").chmod(0)
    try:
        with pytest.raises(SourceError, match="cannot be read: Permission denied"):
            expand(tree)
    finally:
        (tree / "a").chmod(0o700)


def test_a_file_that_is_too_large_is_an_error(tree: Path) -> None:
    """It is not read into memory first."""
    with (tree / "b.yaml").open("r+b") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(SourceError, match="larger than 64 MiB"):
        expand(tree)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless file here")
def test_an_endless_file_is_an_error() -> None:
    """A device ends where the cap is."""
    with pytest.raises(SourceError, match="larger than 64 MiB"):
        expand("/dev/zero")


def test_a_pipe_is_read(tmp_path: Path) -> None:
    """As a shell's ``<(command)`` gives it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a: 1",))
    writer.start()
    assert expand(pipe) == [SourceText(str(pipe), b"a: 1")]
    writer.join()


def test_other_types_are_refused() -> None:
    """A number is no configuration."""
    with pytest.raises(TypeError, match="int"):
        expand(5)  # type: ignore[arg-type]


def test_the_fingerprint_changes_with_the_files(tree: Path) -> None:
    """A new, changed, replaced or removed file; not one that is no configuration."""
    config = [str(tree), "text: is ignored"]
    seen = [fingerprint(config)]

    def changed() -> bool:
        seen.append(fingerprint(config))
        return seen[-1] != seen[-2]

    assert not changed()
    (tree / "b.yaml").write_text("longer than before")
    assert changed()
    (tree / "new.yaml").write_text("a: 1")
    assert changed()
    (tree / "other").write_text("a: 1")
    (tree / "other").replace(tree / "new.yaml")
    assert changed()
    (tree / "notes.txt").write_text("a: 1")
    assert not changed()
    (tree / "new.yaml").unlink()
    assert changed()


def test_the_fingerprint_of_what_is_missing_is_no_error(tree: Path) -> None:
    """It just changes when it appears."""
    path = tree / "later" / "x.yaml"
    before = fingerprint(path)
    path.parent.mkdir()
    path.write_text("a: 1")
    assert fingerprint(path) != before
    assert fingerprint("a: 1") == ()


@contextmanager
def _watched(config: ConfigInput, *, fails: bool = False, interval: float = 0.05) -> Iterator[threading.Semaphore]:
    """A watch in a thread; the semaphore counts its calls."""
    calls, stop = threading.Semaphore(0), threading.Event()

    def on_change() -> None:
        calls.release()
        if fails:
            raise RuntimeError("a bad update")

    arguments = {"interval": interval, "stop": stop}
    thread = threading.Thread(target=watch_paths, args=(config, on_change), kwargs=arguments, daemon=True)
    thread.start()
    try:
        yield calls
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture(params=["notified", "polling"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "polling":
        monkeypatch.setitem(sys.modules, "watchfiles", None)
    else:
        pytest.importorskip("watchfiles")


@pytest.mark.usefixtures("_both_ways")
def test_changes_are_noticed_again_and_again(tree: Path) -> None:
    """In a directory, also after an error of the callee."""
    with _watched(tree, fails=True) as calls:
        for number in range(3):
            _touch_until(tree / "a" / "x.yml", calls, number)


@pytest.mark.usefixtures("_both_ways")
def test_a_config_map_swap_is_noticed_for_a_single_file(tmp_path: Path) -> None:
    """The path stays, what it leads to is replaced."""
    mount = tmp_path / "mount"
    _project(mount, "0", {"mesh.yaml": "a: 0"})
    with _watched(mount / "mesh.yaml") as calls:
        for revision in range(1, 500):
            _project(mount, str(revision), {"mesh.yaml": f"a: {revision}"})
            if calls.acquire(timeout=0.2):
                break
        else:
            pytest.fail("no swap was noticed")


@pytest.mark.usefixtures("_both_ways")
def test_files_may_vanish_and_come_back(tmp_path: Path) -> None:
    """Even the directory."""
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "a.yaml").write_text("a: 1")
    with _watched(folder) as calls:
        _touch_until(folder / "a.yaml", calls, 0)
        (folder / "a.yaml").unlink()
        folder.rmdir()
        assert calls.acquire(timeout=PATIENCE)
        folder.mkdir()
        _touch_until(folder / "a.yaml", calls, 1)


def _touch_until(path: Path, calls: threading.Semaphore, number: int) -> None:
    """Write until it is noticed: nothing tells when the watch has begun."""
    for attempt in range(200):
        path.write_text(f"a: {'x' * attempt}{number}")
        if calls.acquire(timeout=0.2):
            while calls.acquire(timeout=0.3):
                pass
            return
    pytest.fail("the change was not noticed")


def test_a_watch_of_text_ends_at_once() -> None:
    """There is nothing that could change."""
    watch_paths(["a: 1", {"kind": "A"}, "-"], pytest.fail, interval=1.0, stop=threading.Event())
