"""WSGI: Flask, Django and whatever else speaks it.

``app.wsgi_app = MeshMiddleware(app.wsgi_app, mesh)`` in Flask, ``application =
MeshMiddleware(get_wsgi_application(), mesh)`` in Django.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from meshlib._http import RequestHead
from meshlib._inbound.bodies import WsgiBody
from meshlib._inbound.certificates import identity_of, identity_of_tls, server_name_of_tls
from meshlib._inbound.forbidden import forbid_in_wsgi
from meshlib._inbound.gate import Admitted, Arrival, Gate, HasRuntime, Refused
from meshlib._inbound.passage import Passage
from meshlib._inbound.targets import agreed_path, split_target
from meshlib._inbound.wsgi_headers import BARE, headers_of, text_of
from meshlib._inbound.wsgi_places import keep_place
from meshlib._runtime import runtime_of

__all__ = ["MeshMiddleware"]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
App: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]


class MeshMiddleware:
    """Applies the policies of the mesh to every request before ``app`` sees it.

    Arguments as those of :class:`meshlib.adapters.asgi.MeshMiddleware`. The application
    finds what was verified in ``environ["meshlib"]``, a :class:`meshlib.Inbound`.
    """

    def __init__(
        self,
        app: App,
        mesh: HasRuntime,
        *,
        health_paths: Collection[str] = (),
        trusted_proxies: Iterable[str] = (),
        debug_headers: bool = False,
    ) -> None:
        self.app = app
        self._gate = Gate(
            runtime_of(mesh, "MeshMiddleware"),
            health_paths=health_paths,
            trusted_proxies=trusted_proxies,
            debug_headers=debug_headers,
            forbid=forbid_in_wsgi,
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """One request, as WSGI has it."""
        passage = Passage(self._gate)
        keep_place(environ, self._gate.proxies)
        try:
            underscored = self._gate.runtime.published.snapshot.security.underscored
            verdict = passage.admit(_arrival(environ, underscored), WsgiBody(environ).read)
            if isinstance(verdict, Refused):
                passage.end()
                return _refuse(environ, start_response, verdict)
            _apply(environ, verdict)
            start = passage.watch_status(_adding(start_response, verdict.response_headers))
            body = self.app(environ, start)
        except BaseException:
            passage.end()
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            passage.end()  # the server may send the file by itself, and must see what it is
            return body
        return _Response(body, passage)


class _Response:
    """The application's response; the request is over when the server closes it.

    Test clients close nothing that nobody asks them to: a response that was read to its
    end, or thrown away, keeps no seat.
    """

    __slots__ = ("_body", "_passage")

    def __init__(self, body: Iterable[bytes], passage: Passage) -> None:
        self._body = body
        self._passage: Passage | None = passage

    def __iter__(self) -> Iterator[bytes]:
        for part in self._body:  # noqa: UP028 - yield from would close the body too, when the server stops early
            yield part
        if self._passage is not None:
            self._passage.leave()

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end()

    def __del__(self) -> None:
        self._end()

    def _end(self) -> None:
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.end()


def _arrival(environ: Environ, underscored: Mapping[str, str]) -> Arrival:
    headers = headers_of(environ, underscored)
    query = text_of(environ.get("QUERY_STRING", ""))
    path, authority = _path(environ)
    has_tls, identity = _peer(environ)
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    scheme = environ.get("wsgi.url_scheme", "http")
    head = RequestHead(
        environ["REQUEST_METHOD"],
        scheme,
        headers.get("host", ""),
        f"{path}?{query}" if query else path,
        headers,
        port=_port(environ),
    )
    return Arrival(
        head=head,
        source_address=environ.get("REMOTE_ADDR", ""),
        destination_address=_own_address(connection),
        peer=identity,
        has_tls=has_tls or scheme == "https",
        server_name=server_name_of_tls(connection),
        target_authority=authority,
        merges_slashes=True,
        prefix=environ.get("SCRIPT_NAME", ""),
    )


def _port(environ: Environ) -> int:
    """The port that the server listens on, 0 for none.

    On a socket in the file system gunicorn takes what the Host header says: a client
    would choose the policies that apply to it.
    """
    connection = environ.get("gunicorn.socket")
    if connection is not None and connection.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    number = str(environ.get("SERVER_PORT", ""))
    return int(number) if number.isdecimal() else 0


def _own_address(connection: Any) -> str:
    """The address that the client has connected to, where the server shows its socket; else it is not known."""
    try:
        name: object = connection.getsockname()
    except (AttributeError, OSError):
        return ""
    return str(name[0]) if isinstance(name, tuple) and len(name) >= 2 else ""


def _path(environ: Environ) -> tuple[str, str]:
    """The path as it was sent, where the server tells, else as it must have been; and the host in a target with one."""
    seen = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1", "replace")
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    sent, authority = split_target(raw.partition("?")[0].partition("#")[0])
    return agreed_path(text_of(sent), seen), authority


def _native(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


def _peer(environ: Environ) -> tuple[bool, str | None]:
    """Whether the connection is TLS, and the verified identity of its other end, as gunicorn and werkzeug tell."""
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        has_tls = hasattr(connection, "getpeercert")
        return has_tls, identity_of_tls(connection) if has_tls else None
    certificate = environ.get("SSL_CLIENT_CERT")
    if certificate and "werkzeug.socket" in environ:  # elsewhere a request header of a proxy may stand behind it
        return True, identity_of(certificate)
    return False, None


def _apply(environ: Environ, admitted: Admitted) -> None:
    environ["meshlib"] = admitted.inbound
    if admitted.headers is not None:
        for name in [name for name in environ if name.startswith("HTTP_")]:
            del environ[name]
        for name in dict.fromkeys(admitted.headers):
            key = name.upper().replace("-", "_")
            if key != "CONTENT_LENGTH":
                place = key if key in BARE else f"HTTP_{key}"
                environ[place] = _native(",".join(admitted.headers.getall(name)))
    if admitted.path is not None:
        raw, _, query = admitted.path.partition("?")
        prefix = environ.get("SCRIPT_NAME", "")
        path = unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("latin-1")
        if path.startswith(prefix):
            environ["PATH_INFO"] = path[len(prefix) :]
        else:
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = "", path
        environ["QUERY_STRING"] = _native(query)
        for name in ("RAW_URI", "REQUEST_URI"):
            if name in environ:
                environ[name] = _native(admitted.path)


def _adding(start_response: StartResponse, added: tuple[tuple[str, str], ...]) -> StartResponse:
    """The server's start_response, with more headers."""
    if not added:
        return start_response
    pairs = [(str(name), _native(value)) for name, value in added]  # PEP 3333: of that very type

    def start(status: str, headers: list[tuple[str, str]], *arguments: Any) -> Any:
        return start_response(status, [*headers, *pairs], *arguments)

    return start


def _refuse(environ: Environ, start_response: StartResponse, refused: Refused) -> Iterable[bytes]:
    try:
        phrase = HTTPStatus(refused.status).phrase
    except ValueError:
        phrase = "Refused"
    start_response(f"{refused.status} {phrase}", [(str(name), _native(value)) for name, value in refused.headers])
    # Not every server keeps back what must not follow the head: on a connection that stays it would be the next answer.
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [refused.body]
