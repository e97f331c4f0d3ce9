"""Istio's analysis messages that a configuration alone can give rise to.

Codes, levels, names and wording are Istio's (pkg/config/analysis/msg/messages.yaml of
Istio 1.31), so that a message can be looked up at
https://istio.io/latest/docs/reference/config/analysis/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshlib._analyze.message_table import ROWS
from meshlib.diagnostics import Level

__all__ = ["MESSAGES", "Message", "quoted", "render"]

_VERB: Final = re.compile(r"%[sdqv]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A row of the table: ``template`` has Go's verbs, one for each parameter."""

    code: str
    level: Level
    name: str
    template: str
    remedy: str

    @property
    def url(self) -> str:
        """Istio's page about the message."""
        return f"https://istio.io/latest/docs/reference/config/analysis/{self.code.lower()}/"


def render(message: Message, *parameters: object) -> str:
    """The text of a message as Go formats it: ``%q`` quotes, lists are ``[a b]``."""
    values = iter(parameters)
    return _VERB.sub(lambda verb: _shown(next(values), verb[0]), message.template)


def quoted(text: str) -> str:
    """As Go's ``%q``."""
    return json.dumps(text, ensure_ascii=False)


def _shown(value: object, verb: str) -> str:
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(str, value))}]"
    return quoted(str(value)) if verb == "%q" else str(value)


MESSAGES: Final[Mapping[str, Message]] = {
    code: Message(code=code, level=level, name=name, template=template, remedy=remedy)
    for code, level, name, template, remedy in ROWS
}
"""The messages by code."""
