"""Resources: immutable and comparable."""

from __future__ import annotations

import pytest

from meshlib.model.kubernetes import SecretSpec
from meshlib.model.resource import Metadata, Resource, RuleLines
from meshlib.model.virtual_service import HTTPRoute, VirtualServiceSpec


def make(**changes: object) -> Resource:
    spec = VirtualServiceSpec(hosts=("a",), http=(HTTPRoute(),))
    metadata = Metadata(name="a", namespace="b")
    arguments = {"kind": "VirtualService", "metadata": metadata, "spec": spec, "file": "a.yaml", "line": 3, **changes}
    return Resource(**arguments)  # type: ignore[arg-type]  # a table of keyword arguments


def test_a_resource_says_what_it_is() -> None:
    """``str`` is the name in messages, ``repr`` adds the place."""
    assert (str(make()), repr(make())) == ("VirtualService b/a", "<VirtualService b/a a.yaml:3>")


def test_a_resource_cannot_be_changed() -> None:
    """Attributes are read-only, those of the contents too."""
    for name in ("kind", "spec", "anything"):
        with pytest.raises(AttributeError):
            setattr(make(), name, None)


def test_resources_are_equal_by_contents() -> None:
    """Two readings of one text are equal; another line, name or spec is another resource."""
    assert make() == make()
    assert make(line=4) != make()
    assert make(metadata=Metadata(name="c")) != make()
    assert make() != "VirtualService b/a"


def test_lines_of_rules_are_a_mapping() -> None:
    """Sections keep their lines; an unknown one has none."""
    lines = RuleLines({"http": (7, 12), "tls": (70_000,)})
    assert dict(lines) == {"http": (7, 12), "tls": (70_000,)}
    assert lines.get("tcp", ()) == ()
    assert repr(lines) == "RuleLines({'http': (7, 12), 'tls': (70000,)})"


def test_a_secret_never_shows_its_values() -> None:
    """The repr of a Secret has its keys only; values are decoded on request."""
    secret = SecretSpec(type="Opaque", data={"key": "aHVzaA==", "bad": "<base64>"}, string_data={"plain": "hush"})
    assert repr(secret) == "<SecretSpec Opaque keys=bad,key,plain>"
    assert (secret.value("key"), secret.value("plain"), secret.value("bad"), secret.value("none")) == (
        b"hush",
        b"hush",
        None,
        None,
    )
