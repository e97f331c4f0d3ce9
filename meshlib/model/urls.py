"""URLs as Go's ``url.ParseRequestURI`` reads them: by it the API server judges the URLs of a resource."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from meshlib.model.scalars import shown

__all__ = ["HttpUrl", "ImageUrl", "go_scheme", "http_url", "image_url"]

_LONGEST: Final = 2048
_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)?:")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_USER: Final = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
# A host keeps its escapes of non-ASCII bytes and of %; no sign that would end it.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>\"]|[^\x00-\x7f]|%[89a-fA-F][0-9a-fA-F]|%25)*")
_PORT: Final = re.compile(r"(?::[0-9]*)?")


class HttpUrl(str):
    """An http or https URL."""

    __slots__ = ()


class ImageUrl(str):
    """Where an extension is fetched from: http, https, file or oci; without a scheme it is oci."""

    __slots__ = ()


@lru_cache(maxsize=4096)
def http_url(text: str) -> HttpUrl:
    """The URL of a key set."""
    if len(text) > _LONGEST or go_scheme(text) not in ("http", "https"):
        raise ValueError(f"expected an http or https URL, got {shown(text)}")
    return HttpUrl(text)


@lru_cache(maxsize=4096)
def image_url(text: str) -> ImageUrl:
    """The URL of an extension; what is none may be one without its scheme."""
    scheme = go_scheme(text)
    if scheme is None and text:
        scheme = go_scheme(f"http://{text}")
    if scheme not in ("", "http", "https", "file", "oci"):
        raise ValueError(f"expected a URL with one of the schemes http, https, oci and file, got {shown(text)}")
    return ImageUrl(text)


def go_scheme(text: str) -> str | None:
    """The scheme of a URL, in small letters, or none (empty); None for what Go does not parse."""
    if not text or _CONTROL.search(text):
        return None
    found = _SCHEME.match(text)
    if found is not None and found[1] is None:
        return None
    scheme = found[1].lower() if found is not None else ""
    rest = (text[found.end() :] if found is not None else text).partition("?")[0]
    if not rest.startswith("/"):
        return scheme if scheme or text == "*" else None
    if scheme and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        if not _is_authority(authority):
            return None
        rest = slash + path
    return None if _BAD_ESCAPE.search(rest) else scheme


def _is_authority(text: str) -> bool:
    user, at, host = text.rpartition("@")
    if at and (_USER.fullmatch(user) is None or _BAD_ESCAPE.search(user)):
        return False
    if _HOST.fullmatch(host) is None:
        return False
    if host.startswith("["):
        address, bracket, port = host[1:].rpartition("]")
        return bool(bracket) and _PORT.fullmatch(port) is not None and _is_ipv6(address)
    _, colon, number = host.partition(":")
    return "[" not in host and _PORT.fullmatch(colon + number) is not None


def _is_ipv6(text: str) -> bool:
    address, percent, zone = text.partition("%25")
    try:
        IPv6Address(address)
    except ValueError:
        return False
    return bool(zone) or not percent
