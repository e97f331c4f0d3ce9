"""Bodies of requests that clients of all kinds take."""

from __future__ import annotations

import inspect
from typing import Final

__all__ = ["SPENT", "is_spent"]

SPENT: Final = "the body of the request is a generator that was consumed; make a new one"


def is_spent(content: object) -> bool:
    """Whether it is a generator, of either kind, that is over: an empty body would be sent in its place."""
    if inspect.isgenerator(content):
        return content.gi_frame is None
    return inspect.isasyncgen(content) and content.ag_frame is None
