"""Optional packages: one clear error each, naming the remedy."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from meshlib._outbound.packages import require
from meshlib.errors import MeshError, MissingExtraError, UnsupportedVersionError


def test_a_missing_package_names_its_extra() -> None:
    """What to install."""
    with pytest.raises(MissingExtraError, match=r"pip install 'proxyless-mesh\[httpx\]'") as raised:
        require("no_such_package_here", "1.0", extra="httpx", purpose="a governed client")
    assert isinstance(raised.value, ImportError)
    assert "a governed client needs the package 'no_such_package_here'" in str(raised.value)


def test_a_package_that_always_comes_needs_no_extra() -> None:
    """Somebody has taken it away."""
    with pytest.raises(MissingExtraError, match=r"install it with: pip install 'proxyless-mesh'$"):
        require("no_such_package_here", "1.0", extra="", purpose="a governed client")


OLD = """
import {package}
{package}.__version__ = "0.1.0"
from meshlib import Mesh
mesh = Mesh.load("apiVersion: v1\\nkind: Namespace\\nmetadata: {{name: x}}\\n")
try:
    mesh.{verb}()
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("package", "verb"),
    [("aiohttp", "aiohttp"), ("httpx", "httpx"), ("requests", "requests"), ("urllib3", "urllib3")],
)
def test_a_client_of_an_old_library_is_one_clear_error(package: str, verb: str) -> None:
    """It says which release is needed; an old aiohttp would work, and mix up TLS connections."""
    code = OLD.format(package=package, verb=verb)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"UnsupportedVersionError {package} 0.1.0 is not supported: meshlib needs {package}>")
    assert f"pip install --upgrade '{package}>=" in done.stdout


@pytest.mark.parametrize(("found", "works"), [("0.27.9", False), ("0.28.0", True), ("0.28", False), ("1.0.dev3", True)])
def test_an_old_package_names_the_version(found: str, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there, and what is needed."""
    module = types.ModuleType("oldie")
    module.__version__ = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "oldie", module)
    if works:
        assert require("oldie", "0.28.0", extra="x", purpose="y") is module
        return
    with pytest.raises(
        UnsupportedVersionError, match=r"oldie 0.2\S+ is not supported: meshlib needs oldie>=0.28.0"
    ) as e:
        require("oldie", "0.28.0", extra="x", purpose="y")
    assert isinstance(e.value, MeshError)


def test_a_package_that_is_broken_inside_says_so_itself(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not called missing."""
    from pathlib import Path

    place = Path(str(tmp_path))
    (place / "broken_inside.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(place))
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there") as raised:
        require("broken_inside", "1.0", extra="x", purpose="y")
    assert not isinstance(raised.value, MissingExtraError)
