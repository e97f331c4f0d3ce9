"""Retry policies as data (semantics 3.1, 3.2)."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import Final

from meshlib._snapshot.routes import RetryPolicy
from meshlib.model.virtual_service import HTTPRetry

__all__ = ["DEFAULT_RETRY", "HASHED_RETRY", "compile_retry"]

DEFAULT_CONDITIONS: Final = frozenset(
    ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")
)
DEFAULT_RETRY: Final = RetryPolicy(attempts=2, conditions=DEFAULT_CONDITIONS)
"""What Istio gives every route that asks for nothing else."""

HASHED_RETRY: Final = RetryPolicy(attempts=2, conditions=DEFAULT_CONDITIONS, avoid_previous_hosts=False)
"""The same towards a destination with consistent hashing: a retry may go to the same endpoint."""

LEAST_BACKOFF: Final = 0.001

# The codes that Go's http.StatusText knows; Istio reads only these as numbers in retryOn.
STATUS_CODES: Final = frozenset(int(status) for status in HTTPStatus) | {418}


def compile_retry(retry: HTTPRetry | None, *, hashed: bool = False) -> RetryPolicy | None:
    """The policy of a route: the default if none is written, None if retries are off.

    What a written policy leaves out comes from the built-in default, not from the mesh.
    """
    if retry is None:
        return HASHED_RETRY if hashed else DEFAULT_RETRY
    return written_retry(retry, hashed)


@lru_cache(maxsize=1024)
def written_retry(retry: HTTPRetry, hashed: bool) -> RetryPolicy | None:  # noqa: FBT001 - a keyword would slow the cache
    """The policy of a written block; equal blocks share one."""
    attempts = retry.attempts or 0
    if attempts <= 0:
        return None
    conditions, codes = parse_retry_on(retry.retry_on) if retry.retry_on else (DEFAULT_CONDITIONS, frozenset[int]())
    ignored = retry.retry_ignore_previous_hosts
    return RetryPolicy(
        attempts=attempts,
        conditions=conditions,
        status_codes=codes,
        per_try_timeout=None if retry.per_try_timeout is None else float(retry.per_try_timeout),
        backoff=0.025 if retry.backoff is None else max(float(retry.backoff), LEAST_BACKOFF),
        avoid_previous_hosts=not hashed if ignored is None else ignored,
        remote_localities=bool(retry.retry_remote_localities),
    )


def parse_retry_on(text: str) -> tuple[frozenset[str], frozenset[int]]:
    """Conditions and status codes of a retryOn list; a code switches ``retriable-status-codes`` on.

    Where only codes are listed, Istio hands on an empty condition beside it, which means nothing.
    """
    tokens = [token for part in text.split(",") if (token := part.strip())]
    codes = frozenset(int(token) for token in tokens if token.isdigit() and int(token) in STATUS_CODES)
    conditions = {token for token in tokens if not (token.isdigit() and int(token) in codes)}
    if codes:
        conditions |= {"retriable-status-codes"} if conditions else {"", "retriable-status-codes"}
    return frozenset(conditions), codes
