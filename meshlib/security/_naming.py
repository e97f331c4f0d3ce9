"""Which files an error of OpenSSL is about."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["naming"]


@contextmanager
def naming(*files: str | os.PathLike[str]) -> Iterator[None]:
    """Have OpenSSL's errors name the files: ``[SSL] PEM lib`` tells nobody what to mend."""
    try:
        yield
    except ssl.SSLError as error:
        error.strerror = f"{' with '.join(map(str, files))}: {error.strerror}"
        raise
