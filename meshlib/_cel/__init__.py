"""Expressions in CEL, the language of Telemetry filters and tags: their syntax."""

from meshlib._cel.nodes import Call, Literal, Make, Mapping, Name, Node, Select, Sequence
from meshlib._cel.parser import CelError, parse

__all__ = ["Call", "CelError", "Literal", "Make", "Mapping", "Name", "Node", "Select", "Sequence", "parse"]
