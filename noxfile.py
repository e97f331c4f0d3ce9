"""Everything that is run on meshlib, by name: `nox -s tests`, `nox -s demo`, `nox -s lint`, …

Each session installs what it needs from pyproject.toml into an environment of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import nox
import nox.command
from packaging.requirements import Requirement

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str, extras: str = "all", constraints: str | None = None) -> None:
    """Install meshlib from this checkout with ``extras``, and the named dependency groups."""
    tools = nox.project.dependency_groups(PYPROJECT, *groups)
    limits = ("--constraint", constraints) if constraints else ()
    session.install("--editable", f".[{extras}]", *tools, *limits)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite. Arguments go to pytest: `nox -s tests -- tests/config -x`."""
    install(session, "test")
    session.run("pytest", *(session.posargs or ("--numprocesses=auto", "--dist=worksteal")))


@nox.session
def oldest(session: nox.Session) -> None:
    """The adapters' tests on the oldest library versions that pyproject.toml allows."""
    constraints = Path(session.create_tmp(), "oldest.txt")
    constraints.write_text("".join(f"{pin}\n" for pin in oldest_versions()), encoding="utf-8")
    install(session, "test", constraints=str(constraints))
    session.run("pytest", *(session.posargs or ("tests/adapters", "tests/test_import.py")))


def oldest_versions() -> list[str]:
    """``name==floor`` for every requirement of the package and of its extras."""
    project = PYPROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    requirements = [Requirement(line) for line in lines]
    return [
        f"{requirement.name}=={specifier.version}"
        for requirement in requirements
        for specifier in requirement.specifier
        if specifier.operator == ">="
    ]


@nox.session
def demo(session: nox.Session) -> None:
    """Bookinfo on loopback, governed by its Istio YAML: `nox -s demo -- --seconds 20`."""
    install(session, extras="cli,watch,hash")
    session.run("python", "-m", "meshlib", "demo", *session.posargs)


CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("pyright", "--warnings"),
    ("lint-imports", "--no-logo"),
    ("towncrier", "build", "--draft", "--version", "next"),
)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, types, import contracts and changelog fragments; all of them run, whichever fails."""
    install(session, "lint", "test")
    failed = [" ".join(check) for check in CHECKS if not passes(session, check)]
    if failed:
        session.error(f"failed: {', '.join(failed)}")


def passes(session: nox.Session, check: Sequence[str]) -> bool:
    """Whether a check ends well."""
    try:
        session.run(*check)
    except nox.command.CommandFailed:
        return False
    return True


@nox.session
def docs(session: nox.Session) -> None:
    """Write the generated pages and build the site into site/; broken links fail."""
    install(session, "docs")
    session.run("python", "docs/generate.py")
    session.run("zensical", "build", "--strict", "--clean")


@nox.session
def page(session: nox.Session) -> None:
    """The live page in headless Chromium, the metrics in a Prometheus server: `apt install chromium prometheus`."""
    install(session, "test", "browser")
    session.run("pytest", *(session.posargs or ("tests/admin/test_page.py", "tests/telemetry/test_prometheus.py")))


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks: one interleaved run, medians, ratios with their own noise."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel, install the wheel alone, import it away from the checkout."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "package"))
    out = Path(session.create_tmp(), "dist")
    for old in out.glob("*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(out), silent=True)
    (wheel,) = out.glob("*.whl")
    session.install("--force-reinstall", str(wheel))
    with session.chdir(os.fspath(out)):
        session.run(
            "python",
            "-c",
            "import meshlib, pathlib; home = pathlib.Path(meshlib.__file__).parent;"
            "assert (home / 'py.typed').exists(); print(meshlib.__version__, meshlib.Mesh, home)",
        )
