"""Changes to requests and replies: header operations, path rewrite, Location. Pure functions (semantics 2.4–2.6)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from multidict import CIMultiDict

from meshlib._http import Headers, HeadersView, RequestHead
from meshlib._snapshot.routes import Cors, DirectResponse, HeaderOps, HeaderValue, Redirect, Rewrite

__all__ = [
    "apply_levels",
    "as_sent",
    "cors_allows",
    "cors_headers",
    "is_preflight",
    "path_after",
    "preflight_headers",
    "redirect_location",
    "rewrite_path",
]

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def apply_levels(
    levels: tuple[HeaderOps, ...],
    headers: Headers,
    request: RequestHead,
    *,
    source: HeadersView | None = None,
    now: float | None = None,
    own: str = "",
) -> None:
    """Run header operations on ``headers``, in place: per level all removes, then all sets, then all adds.

    ``source`` are the request headers that ``%REQ(…)%`` reads: absent, those of
    ``request``; pass ``headers`` itself when they are the request's. ``now`` is the Unix
    time for ``%START_TIME%``, ``own`` the address of this workload, whose requests they are where no gateway
    passes them on. A value that comes out empty changes nothing.
    """
    fields = request.headers if source is None else source
    for level in levels:
        for name in level.remove:
            headers.popall(name, None)
        # All values are computed before the first one is written.
        sets = [(name, header_text(value, request, fields, now, own)) for name, value in level.set]
        adds = [(name, header_text(value, request, fields, now, own)) for name, value in level.add]
        for name, text in sets:
            if text:
                headers[name] = text
        for name, text in adds:
            if text:
                headers.add(name, text)


def header_text(value: HeaderValue, request: RequestHead, fields: HeadersView, now: float | None, own: str = "") -> str:
    """A header value with its operators filled in; what is not known is empty."""
    parts = value.parts
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    texts = [part if isinstance(part, str) else operator_text(part, request, fields, now, own) for part in parts]
    return "".join(texts)


def operator_text(
    operator: tuple[str, ...], request: RequestHead, fields: HeadersView, now: float | None, own: str
) -> str:
    """The value of one format operator: its name, then its arguments."""
    name, *arguments = operator
    if name == "REQ":
        return request_field(arguments, request, fields)
    if name == "START_TIME":
        return "" if now is None else start_time(now, arguments[0] if arguments else "")
    if name == "PROTOCOL":
        return "HTTP/1.1"
    if name == "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
        return request.source or own
    if name == "DOWNSTREAM_REMOTE_ADDRESS" and request.source:
        host = f"[{request.source}]" if ":" in request.source else request.source
        return f"{host}:{request.source_port}"
    return ""


def request_field(arguments: list[str], request: RequestHead, fields: HeadersView) -> str:
    """``%REQ(first?second):length%``: the first of two request headers that is there, cut to a length."""
    *names, length = arguments
    for name in names:
        text = PSEUDO[name](request) if name in PSEUDO else fields.get(name)
        if text is not None:
            return text[: int(length)] if length else text
    return ""


PSEUDO: Final[dict[str, Callable[[RequestHead], str]]] = {
    ":authority": lambda request: request.authority,
    ":method": lambda request: request.method,
    ":path": lambda request: request.path,
    ":scheme": lambda request: request.scheme,
    "host": lambda request: request.authority,
}


def start_time(now: float, form: str) -> str:
    """The time as Envoy prints it: ISO with milliseconds, or a strftime form."""
    moment = datetime.fromtimestamp(now, UTC)
    if form:
        return moment.strftime(form)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def as_sent(request: RequestHead, headers: HeadersView, authority: str, path: str) -> RequestHead:
    """A request with what its route has changed."""
    sent = RequestHead(request.method, request.scheme, authority, path, headers, port=request.port, host=request.host)
    sent.source, sent.source_port = request.source, request.source_port
    return sent


def rewrite_path(rewrite: Rewrite, path: str) -> str:
    """The path (with its query) that is sent instead of ``path``. Slashes are joined literally, as Envoy does."""
    plain = path.partition("?")[0].partition("#")[0]
    if rewrite.regex is not None:
        changed = rewrite.regex.apply(plain)
        return changed + path[len(plain) :] if changed else path
    if rewrite.path is None:
        return path
    cut = len(plain) if rewrite.cut is None else rewrite.cut
    return rewrite.path + path[cut:]


def redirect_location(redirect: Redirect, request: RequestHead) -> str:
    """The Location of a redirect. A path without leading slash gets one."""
    scheme = redirect.scheme or request.scheme
    port = "" if redirect.port is None else f":{request.port if redirect.port == 'request' else redirect.port}"
    host = redirect.authority or redirect_host(redirect, request, scheme, port)
    path = redirect_path(redirect, request.path)
    return f"{scheme}://{host}{port}{path if path.startswith('/') else '/' + path}"


def redirect_host(redirect: Redirect, request: RequestHead, scheme: str, port: str) -> str:
    """The request's Host header. Its port goes where a new one comes, or where it only was the old scheme's default."""
    host = request.authority
    if redirect.keep_port:
        return host
    name, colon, number = host.rpartition(":")
    if not colon or (host.startswith("[") and not name.endswith("]")):
        return host
    is_default = scheme != request.scheme and _DEFAULT_PORTS.get(request.scheme) == f":{number}"
    return name if port or is_default else host


def redirect_path(redirect: Redirect, path: str) -> str:
    """The path of a redirect: the query of the request is kept unless the new path has one."""
    if redirect.prefix_rewrite is not None:
        return redirect.prefix_rewrite + path[redirect.prefix_cut :]
    if redirect.path is None:
        return path
    _, mark, query = path.partition("?")
    return redirect.path if "?" in redirect.path else f"{redirect.path}{mark}{query}"


def path_after(redirect: Redirect | DirectResponse, path: str) -> str | None:
    """The path that operations on the reply of a redirect see, if it is another one.

    Envoy 1.40 changes the request's own path where a redirect replaces a prefix, and only there.
    """
    if not isinstance(redirect, Redirect) or redirect.prefix_rewrite is None:
        return None
    return redirect_path(redirect, path)


def is_preflight(request: RequestHead) -> bool:
    """True for a CORS preflight request."""
    headers = request.headers
    if request.method != "OPTIONS":
        return False
    return bool(headers.get("origin")) and bool(headers.get("access-control-request-method"))


def cors_allows(cors: Cors, request: RequestHead) -> bool:
    """True if the policy allows the Origin of the request; without one, or with an empty one, there is none."""
    origin = request.headers.get("origin", "")
    return origin != "" and any(text.matches(origin) for text in cors.origins)


def cors_headers(cors: Cors, request: RequestHead) -> Headers:
    """What the policy adds to the response of an allowed request; each field replaces the upstream's."""
    headers: Headers = CIMultiDict({"access-control-allow-origin": request.headers["origin"]})
    if cors.credentials:
        headers["access-control-allow-credentials"] = "true"
    if cors.expose_headers:
        headers["access-control-expose-headers"] = ",".join(cors.expose_headers)
    return headers


def preflight_headers(cors: Cors, request: RequestHead) -> Headers | None:
    """The headers of the 200 that answers a preflight; None if it is forwarded upstream."""
    allowed = cors_allows(cors, request)
    if not allowed and cors.forward_unmatched:
        return None
    headers: Headers = CIMultiDict()
    if allowed:
        headers["access-control-allow-origin"] = request.headers["origin"]
    if cors.credentials:
        headers["access-control-allow-credentials"] = "true"
    asked = request.headers
    for name, listed, echo in (
        ("access-control-allow-methods", cors.methods, "access-control-request-method"),
        ("access-control-allow-headers", cors.allow_headers, "access-control-request-headers"),
    ):
        if listed == ("*",):
            headers[name] = asked.get(echo, "")  # Envoy 1.39 echoes what was not asked for as an empty field
        elif listed:
            headers[name] = ",".join(listed)
    if allowed and cors.expose_headers:  # Envoy 1.39: although only actual responses need it
        headers["access-control-expose-headers"] = ",".join(cors.expose_headers)
    if cors.max_age is not None:
        headers["access-control-max-age"] = str(int(cors.max_age))
    return headers
