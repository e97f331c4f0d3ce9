"""Where tokens stand in a request, and the request without them (Envoy's jwt_authn extractor)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from meshlib._http import REDACTED, Headers, RequestHead
from meshlib._snapshot.authentication import Authentication, TokenRule

__all__ = ["Found", "find_tokens", "without_param", "without_tokens"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9_\-.]")


class Found(NamedTuple):
    """A token and where it stood: the name of a header or of a query parameter; both empty for a cookie."""

    text: str
    header: str = ""
    param: str = ""

    def __repr__(self) -> str:  # a token is a secret
        return f"<Found header={self.header!r} param={self.param!r}>"


def find_tokens(rule: TokenRule, head: RequestHead) -> list[Found]:
    """Every token at the locations of a rule: headers, then parameters, then cookies."""
    found = []
    for location in rule.headers:
        name = location.name
        values = head.values(name)
        if len(values) > 1 and name == "authorization":
            values = (",".join(values),)  # Envoy keeps one of it, and puts those that are repeated together
        for value in values:
            token = _after(location.prefix, value)
            if token is not None:
                found.append(Found(token, name))
    if rule.params and "?" in (path := head.path):
        has_escapes = "%" in path
        for name in rule.params:
            # A name that does not stand in a path could only be there in escapes.
            token = _param(head.query, name) if has_escapes or name in path else None
            if token is not None:
                found.append(Found(token, param=name))
    if rule.cookies:
        cookies = _cookies(head)
        found += [Found(cookies[name]) for name in rule.cookies if name in cookies]
    return found


def _after(prefix: str, value: str) -> str | None:
    """The token in a header value: all of it, or what follows the prefix, wherever that stands, to the end.

    Whatever comes after a token is part of it, and spoils it (observed on Envoy 1.39):
    one good token does not vouch for another.
    """
    if not prefix:
        return value
    _, found, rest = value.partition(prefix)
    if not found:
        return None
    if rest.startswith("e"):  # as most do, since their header is JSON
        return rest
    start = _TOKEN.search(rest)
    return value if start is None else rest[start.start() :]


def _param(query: str, wanted: str) -> str | None:
    """The first value of a query parameter."""
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote(name) == wanted:  # a plus sign is itself, and spoils a token (observed on Envoy 1.40)
            return unquote(value)
    return None


def without_param(path: str, wanted: str) -> str:
    """A path whose query has lost a parameter."""
    raw, _, query = path.partition("?")
    left = [pair for pair in query.split("&") if unquote(pair.partition("=")[0]) != wanted]
    return f"{raw}?{'&'.join(left)}" if left else raw


def without_tokens(authentication: Authentication, headers: Headers, path: str) -> str:
    """For logs: put other text into ``headers`` where tokens may stand, in place; the path that has it too."""
    for rule in authentication.rules:
        names = [location.name for location in rule.headers] + ["cookie"] * bool(rule.cookies)
        for name in names:
            if name in headers:
                headers[name] = REDACTED
    params = {name for rule in authentication.rules for name in rule.params}
    raw, mark, query = path.partition("?")
    if not params or not query:
        return path
    pairs = (pair.partition("=") for pair in query.split("&"))
    shown = [f"{name}{equals}{REDACTED if unquote(name) in params else value}" for name, equals, value in pairs]
    return f"{raw}{mark}{'&'.join(shown)}"


def _cookies(head: RequestHead) -> dict[str, str]:
    """The cookies of a request; of a repeated one the first."""
    found: dict[str, str] = {}
    for header in head.values("cookie"):
        for pair in header.split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals:
                is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
                found.setdefault(name, value[1:-1] if is_quoted else value)
    return found
