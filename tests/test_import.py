"""What `import meshlib` brings, and what it must not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import meshlib
from tests.patience import PATIENCE

HEAVY = {
    "aiohttp",
    "asyncio",
    "click",
    "cryptography",
    "httpx",
    "jwt",
    "msgspec",
    "opentelemetry",
    "prometheus_client",
    "pybreaker",
    "requests",
    "rich",
    "ssl",
    "tenacity",
    "yaml",
}


def run_python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter in ``cwd``, which comes first on its path."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_importing_meshlib_imports_no_library() -> None:
    """A fresh interpreter has none of the heavy libraries after `import meshlib`."""
    root = Path(meshlib.__file__).parents[1]
    done = run_python("import sys, meshlib; print(*sorted(sys.modules))", cwd=root)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "meshlib" in loaded
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("meshlib.")}


@pytest.mark.parametrize("name", [name for name in meshlib.__all__ if name != "__version__"])
def test_every_exported_name_is_found(name: str) -> None:
    """Each name of `__all__` resolves to an object that calls itself so."""
    assert getattr(meshlib, name).__name__ == name
    assert name in dir(meshlib)


def test_unknown_name_is_an_attribute_error() -> None:
    """A typing mistake is reported as Python reports it."""
    with pytest.raises(AttributeError, match="module 'meshlib' has no attribute 'Mash'"):
        meshlib.__getattr__("Mash")


@pytest.mark.parametrize("foreign", ["mrmeshpy.so", "mrmeshpy.pyd", "mrviewerpy.so"])
def test_a_mixture_with_the_3d_library_is_refused(foreign: str, tmp_path: Path) -> None:
    """Files of the package `meshlib` between ours: an ImportError that names the remedy."""
    package = tmp_path / "meshlib"
    package.mkdir()
    shutil.copy(meshlib.__file__, package)
    (package / foreign).touch()
    done = run_python("import meshlib", cwd=tmp_path)
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert "pip uninstall --yes meshlib meshlib-core proxyless-mesh" in done.stderr
