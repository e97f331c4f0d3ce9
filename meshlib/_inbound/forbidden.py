"""The 403 of whatever framework serves: its own exception, and ours at the same time."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, Final

from meshlib._inbound.inbound import ForbiddenError

__all__ = ["forbid_in_asgi", "forbid_in_wsgi"]

_BODY: Final = "RBAC: access denied"


def forbid_in_asgi(reason: str) -> ForbiddenError:
    """For Starlette, FastAPI, Litestar, Quart and Django."""
    return _kind(("starlette.exceptions", "litestar.exceptions", "quart", "django.core.exceptions"))(reason)


def forbid_in_wsgi(reason: str) -> ForbiddenError:
    """For Flask and Django."""
    return _kind(("werkzeug.exceptions", "django.core.exceptions"))(reason)


def _kind(modules: tuple[str, ...]) -> type[ForbiddenError]:
    """An error that each of the frameworks knows. One that is not imported serves nothing here."""
    return _made(tuple(name for name in modules if name in sys.modules))


@cache
def _made(modules: tuple[str, ...]) -> type[ForbiddenError]:
    bases: dict[type, None] = {ForbiddenError: None}
    for name in modules:
        module = sys.modules[name]
        match name:
            case "starlette.exceptions":
                bases[module.HTTPException] = None
            case "litestar.exceptions":
                bases[module.PermissionDeniedException] = None
            case "quart" | "werkzeug.exceptions":
                bases[sys.modules["werkzeug.exceptions"].Forbidden] = None
            case _:
                bases[module.PermissionDenied] = None
    members: dict[str, Any] = {"__init__": _begin, "__str__": lambda error: error.reason}
    return type("ForbiddenError", tuple(bases), members)  # pyright: ignore[reportReturnType]


def _begin(error: Any, reason: str) -> None:
    """What the frameworks look at; the client is told nothing but that."""
    Exception.__init__(error, reason)
    error.reason = reason
    error.status_code, error.detail, error.headers = 403, _BODY, None  # Starlette and Litestar
    error.extra = None
    error.description, error.response = _BODY, None  # werkzeug
