"""Takes secrets out of what the admin interface shows, wherever they stand.

Two nets: values under a name that sounds like a secret, and texts that look like one
(private keys, tokens, credentials in a URL). The views leave out what they know to be
secret; this is for what users wrote into headers, matches and bodies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from meshlib._explain.explanation import Json
from meshlib._http import REDACTED

__all__ = ["HIDDEN", "is_secret", "is_secret_name", "redacted", "redacted_text", "redacted_yaml"]

HIDDEN: Final = REDACTED

_NAMES: Final = re.compile(
    r"authorization|cookie|secret|passw|api[-_]?key|access[-_]?key|private[-_]?key|credential$|(^|[-_.])token$"
    r"|(^|[-_.])(access|id|refresh|auth|csrf|xsrf|session|bearer|jwt)[-_]?token|jwt[-_]assertion|session[-_]?id$",
    re.IGNORECASE,
)
_TEXTS: Final = re.compile(
    r"-----BEGIN[ A-Z0-9]*PRIVATE KEY-----.*?(?:-----END[ A-Z0-9]*PRIVATE KEY-----|\Z)"
    r"|eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"
    r"|(?i:\b(?:bearer|basic|digest|negotiate) +)[A-Za-z0-9._~+/=-]{4,}"
    r"|(?<=//)[^/\s@:\"']*:[^/\s@\"']*(?=@)",
    re.DOTALL,
)
_SUSPECT: Final = re.compile(r"[ ?&;]|eyJ|//|-----BEGIN")
"""What every one of the secrets below has in it; most texts are names without."""
_PARAMETERS: Final = re.compile(
    r"(?i)([?&;][^=&\s\"']*(?:token|secret|passw|api[-_]?key|signature|code)[^=&\s\"']*=)[^&\s\"'#]+"
)
_QUOTED: Final = re.compile(
    r"((?:header|query parameter|cookie) (?P<name>[\w.-]+) (?:exact|prefix|regex) )"
    r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
)
_KEY: Final = re.compile(r"""(?P<name>[\w.@/-]+)["']?\s*:(?=\s|$)""")
_JWK_PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether what stands under a name is not shown."""
    return _NAMES.search(name) is not None


def redacted_text(text: str) -> str:
    """A text with what looks like a secret taken out."""
    if len(text) < 6 or _SUSPECT.search(text) is None:
        return text
    found = _PARAMETERS.sub(rf"\1{HIDDEN}", _TEXTS.sub(HIDDEN, text))
    return _QUOTED.sub(_hide_quoted, found)


def _hide_quoted(match: re.Match[str]) -> str:
    return f"{match[1]}{HIDDEN}" if is_secret_name(match["name"]) else match[0]


def redacted_yaml(lines: Iterable[str]) -> Iterator[str]:
    """Lines of YAML: of a key that sounds like a secret only the key, whatever stands under it."""
    deeper_than: int | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip(" -"))
        if deeper_than is not None and (indent > deeper_than or not line.strip()):
            yield line[:indent] + HIDDEN if line.strip() else line
            continue
        deeper_than = None
        secret = next(
            (key for key in _KEY.finditer(line) if key["name"] == "jwks" or is_secret_name(key["name"])), None
        )
        if secret is None:
            yield redacted_text(line)
            continue
        if len(line[: secret.start()].strip(" -\"'")) == 0:
            deeper_than = indent
        yield f"{line[: secret.end()]} {HIDDEN}"


def redacted(value: Json) -> Json:
    """A JSON value without secrets; numbers, truth values and null are never one."""
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, list):
        return [redacted(item) for item in value]
    if isinstance(value, dict):
        is_key = "kty" in value
        return {
            key: HIDDEN if is_secret(key, item) or (is_key and key in _JWK_PRIVATE) else redacted(item)
            for key, item in value.items()
        }
    return value


def is_secret(key: str, value: object) -> bool:
    """Whether a value is not shown for the name it stands under: a text or a structure, unless it is empty."""
    return bool(value) and isinstance(value, str | list | dict) and is_secret_name(key)
