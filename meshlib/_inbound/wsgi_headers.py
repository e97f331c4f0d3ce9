"""The header fields of a request as WSGI tells them.

WSGI makes one name of ``x-user`` and ``x_user``. Most servers drop the second, and a name is read as the first; but
where the configuration itself has a name with underscores, the application will take either for it, and so does the
mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshlib._http import Headers

__all__ = ["BARE", "headers_of", "text_of"]

BARE: Final = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}
"""The fields that have no ``HTTP_``."""


def headers_of(environ: Mapping[str, Any], underscored: Mapping[str, str]) -> Headers:
    """The fields. ``underscored`` as :class:`meshlib._snapshot.security.Security` has it."""
    headers = Headers(
        [
            (name[5:].replace("_", "-").lower(), text_of(value))
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ]
    )
    for name, header in BARE.items():
        if environ.get(name):
            headers[header] = text_of(environ[name])
    for name, other in underscored.items():
        value = environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        if value is not None:
            headers.popall(other, None)
            headers[name] = text_of(value)
    return headers


def text_of(value: str) -> str:
    """WSGI's text is bytes in disguise; what is no UTF-8 keeps its value."""
    return value.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
