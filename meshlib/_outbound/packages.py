"""Optional packages: one clear error where one is missing or too old."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

from meshlib.errors import MissingExtraError, UnsupportedVersionError

__all__ = ["require"]


def require(package: str, minimum: str, *, extra: str, purpose: str) -> ModuleType:
    """The package. Raises :class:`MissingExtraError` or :class:`UnsupportedVersionError`."""
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(package, extra, purpose) from error
    found = str(getattr(module, "__version__", "0"))
    if _numbers(found) < _numbers(minimum):
        raise UnsupportedVersionError(package, found, minimum)
    return module


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
