"""A governed aiohttp session on which every call has been prepared before: as if it had been made already."""

from __future__ import annotations

import contextlib
from typing import Any

import aiohttp

from meshlib.adapters.aiohttp.calls import Calls
from meshlib.adapters.aiohttp.prepared import Asked

__all__ = ["is_prepared", "prepare_calls"]


class _PreparedError(Exception):
    """Ends a call before it is sent."""


def prepare_calls(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Let aiohttp prepare each call of the session, and keep what comes of it, before the call is made."""
    calls: Calls = session._request.__self__  # type: ignore[attr-defined]

    async def request(method: str, url: Any, **arguments: Any) -> aiohttp.ClientResponse:
        await _prepare(session, calls, method, url, arguments)
        return await calls.request(method, url, **arguments)

    object.__setattr__(session, "_request", request)
    return session


def is_prepared(session: aiohttp.ClientSession, method: str, url: str, **arguments: Any) -> bool:
    """Whether the session would make this call of one that it has prepared."""
    calls: Calls = session._request.__self__  # type: ignore[attr-defined]
    return calls._prepared is not None and calls._prepared.make(_asked(method, url, arguments)) is not None


_ASKED = ("params", "headers", "data", "json")


def _asked(method: str, url: Any, arguments: dict[str, Any]) -> Asked:
    params, headers, data, json = (arguments.get(name) for name in _ASKED)
    return method, url, params, headers, data, json


async def _prepare(
    session: aiohttp.ClientSession, calls: Calls, method: str, url: Any, arguments: dict[str, Any]
) -> None:
    prepared, asked = calls._prepared, _asked(method, url, arguments)
    known = {*_ASKED, "allow_redirects"}
    if prepared is None or session.closed or not known.issuperset(arguments):
        return
    if not isinstance(arguments.get("data"), bytes | str | None):
        return  # aiohttp closes what it has made of them

    async def keep(request: Any, handler: Any) -> Any:
        prepared.keep(asked, request, handler)
        raise _PreparedError

    request = aiohttp.ClientSession._request
    # Of what is wrong with it the call itself tells.
    with contextlib.suppress(_PreparedError, aiohttp.ClientError, TypeError, ValueError):
        await request(session, method, url, middlewares=(keep,), timeout=calls._unlimited, **arguments)
