"""Claims as header values, as Envoy writes them (jwt_authn/authenticator.cc; observed on Envoy 1.39).

Texts and booleans as they are, numbers as numbers of double precision, lists and
mappings as JSON in base64. A null gives no header.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["claim_text"]

_UNSIGNED: Final = 2**64
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header value may hold."""
_ESCAPED: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "\u2028": "\\u2028", "\u2029": "\\u2029", "\x7f": "\\u007f"}
)


def claim_text(value: Any) -> str | None:
    """The header value of a claim; None if it cannot be one."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value if value.isprintable() or _CONTROL.search(value) is None else None
        case int() | float():
            return _number(float(value))
        case list() | dict():
            return b64encode(_json(value).encode()).decode()
        case _:
            return None


def _number(value: float) -> str:
    """Whole numbers that are not negative as such, all others with six decimals."""
    if 0 <= value < _UNSIGNED and value.is_integer():
        return str(int(value))
    return f"{value:.6f}"


def _json(value: Any) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case int() | float():
            return repr(float(value)).removesuffix(".0")
        case str():
            return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)
        case list():
            return f"[{','.join(map(_json, value))}]"
        case Mapping():
            return f"{{{','.join(f'{_json(name)}:{_json(one)}' for name, one in value.items())}}}"
        case _:
            raise TypeError(value)
