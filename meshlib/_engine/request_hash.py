"""The hash of a request for consistent balancing (semantics 4.2, Envoy's ``hash_policy.cc``)."""

from __future__ import annotations

from typing import Final

from meshlib._engine.xxh64 import xxh64
from meshlib._http import RequestHead
from meshlib._random import Chance
from meshlib._snapshot.routes import HashKey

__all__ = ["RequestHash", "hash_request"]

_MASK: Final = 2**64 - 1


class RequestHash:
    """``value`` is None where nothing of the request could be hashed; ``cookies`` are those to be issued."""

    __slots__ = ("cookies", "value")

    def __init__(self) -> None:
        self.value: int | None = None
        self.cookies: tuple[str, ...] = ()

    def add(self, value: int) -> None:
        """Combine with one more key."""
        before = self.value
        self.value = value if before is None else (((before << 1) | (before >> 63)) & _MASK) ^ value


def hash_request(keys: tuple[HashKey, ...], request: RequestHead, chance: Chance, own: str = "") -> RequestHash:
    """Hash what the keys name. A key that the request lacks adds nothing.

    ``own`` is the address of this workload, the source of the requests that it makes itself.
    """
    found = RequestHash()
    for key in keys:
        match key.kind:
            case "header":
                _add_header(found, key, request)
            case "query":
                _add_parameter(found, key, request)
            case "cookie":
                _add_cookie(found, key, request, chance)
            case "source_ip":
                source = request.source or own
                if source:
                    found.add(xxh64(source.encode()))
    return found


def _bytes(value: str) -> bytes:
    """As it came, also if it is no UTF-8."""
    return value.encode("utf-8", "surrogateescape")


def _add_header(found: RequestHash, key: HashKey, request: RequestHead) -> None:
    values = request.headers.getall(key.name, ())
    if values:
        seed = 0
        for value in sorted(values):
            seed = xxh64(_bytes(value), seed)
        found.add(seed)


def _add_parameter(found: RequestHash, key: HashKey, request: RequestHead) -> None:
    for item in request.query.split("&"):
        name, _, value = item.partition("=")
        if name == key.name:
            found.add(xxh64(_bytes(value)))
            return


def _add_cookie(found: RequestHash, key: HashKey, request: RequestHead, chance: Chance) -> None:
    value = _cookie(request, key.name)
    if not value and key.ttl is not None:
        value = f"{chance.getrandbits(64):016x}"
        found.cookies += (_set_cookie(key, value),)
    if value:
        found.add(xxh64(_bytes(value)))


def _cookie(request: RequestHead, name: str) -> str:
    for field in request.headers.getall("cookie", ()):
        for item in field.split(";"):
            key, _, value = item.strip().partition("=")
            if key == name:
                return value.removeprefix('"').removesuffix('"')
    return ""


def _set_cookie(key: HashKey, value: str) -> str:
    """The Set-Cookie field as Envoy writes it; a ttl of 0 is a session cookie."""
    parts = [f'{key.name}="{value}"']
    if key.ttl:
        parts.append(f"Max-Age={int(key.ttl)}")
    if key.path:
        parts.append(f"Path={key.path}")
    parts += [f"{name}={text}" if text else name for name, text in key.attributes]
    return "; ".join([*parts, "HttpOnly"])
