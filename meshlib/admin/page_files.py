"""The files of the live page: all of them ours, shipped with the package, read once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from meshlib.admin.messages import Answer

__all__ = ["page_file"]

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_FILES: Final = {
    f"/{name}": name
    for name in (
        "app.js", "dom.js", "explainer.js", "faults.js", "graph.js", "icon.svg", "layout.js", "model.js", "rates.js",
        "source.js", "style.css", "tables.js", "theme.js",
    )
} | {"/": "index.html"}  # fmt: skip


def page_file(path: str) -> Answer | None:
    """The file at a path; None if there is none. Nothing but the files listed here can be asked for."""
    name = _FILES.get(path)
    return None if name is None else _read(name)


@cache
def _read(name: str) -> Answer:
    content = (files("meshlib.admin") / "page" / name).read_bytes()
    return Answer(body=content, media_type=_TYPES[name.rpartition(".")[2]])
