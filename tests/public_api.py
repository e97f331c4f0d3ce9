"""The public names of meshlib, one a line. `python -m tests.public_api` rewrites public_api.txt."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Container, Iterator
from pathlib import Path
from types import ModuleType

import meshlib

LIST = Path(__file__).parents[1] / "public_api.txt"
# Packages whose public names are those of the package, wherever in it they live.
FACES = ("meshlib.adapters.", "meshlib.admin.", "meshlib.testing.")
# What is used from a shell, not by import.
NOT_AN_API = ("meshlib.cli", "meshlib.dashboard", "meshlib.__main__")


def public_modules() -> Iterator[ModuleType]:
    """Every module whose dotted name has no part with a leading underscore; of a package with a face, that alone."""
    yield meshlib
    for info in pkgutil.walk_packages(meshlib.__path__, "meshlib.", onerror=_reraise):
        is_part = info.name.startswith(FACES) and info.name.count(".") > (2 if ".adapters." in info.name else 1)
        if "._" not in info.name and not info.name.startswith(NOT_AN_API) and not is_part:
            yield importlib.import_module(info.name)


def _reraise(name: str) -> None:
    raise ImportError(name)


def public_names() -> list[str]:
    """``module.Name`` for every name a module declares, and ``module.Name.member`` for what a class adds to it."""
    modules = {module.__name__: module for module in public_modules()}
    lines: set[str] = set()
    for home, module in modules.items():
        for name in getattr(module, "__all__", ()):
            lines.add(f"{home}.{name}")
            lines.update(f"{home}.{name}.{member}" for member in _members(getattr(module, name), home, modules))
    return sorted(lines)


def _members(thing: object, home: str, modules: Container[str]) -> Iterator[str]:
    """What a class adds, and its bases that nobody imports; a class that is exported twice is listed where it lives."""
    if not inspect.isclass(thing) or (thing.__module__ != home and thing.__module__ in modules):
        return
    # The fields of the models are Istio's: the support matrix has them.
    if not home.startswith("meshlib.model."):
        for base in thing.__mro__:
            if base is thing or (base.__module__.startswith("meshlib.") and base.__module__ not in modules):
                yield from (member for member in vars(base) if not member.startswith("_"))


if __name__ == "__main__":
    LIST.write_text("".join(f"{line}\n" for line in public_names()), encoding="utf-8")
