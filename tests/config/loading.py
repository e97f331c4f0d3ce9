"""Short ways to load a text in a test."""

from __future__ import annotations

from meshlib._config.load import ConfigSet, load
from meshlib.diagnostics import Finding
from meshlib.sources.static import SourceText

__all__ = ["error_codes", "errors", "load_text", "virtual_service"]


def load_text(text: str | bytes, name: str = "test.yaml", *, namespace: str = "default") -> ConfigSet:
    """Load one text."""
    return load([SourceText(name, text)], default_namespace=namespace)


def errors(config: ConfigSet) -> list[Finding]:
    """The findings of level error."""
    return [finding for finding in config.findings if finding.level == "error"]


def error_codes(text: str) -> list[str]:
    """The codes of the errors in a text, in order."""
    return [finding.code for finding in errors(load_text(text))]


def virtual_service(rule: str) -> str:
    """A VirtualService with one http rule, given as a YAML flow mapping."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: b}\n"
        f"spec:\n  hosts: [a.example.com]\n  http:\n  - {rule}\n"
    )
