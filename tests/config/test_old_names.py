"""Fields and kinds of old versions of Istio are recognised, and their successors named."""

from __future__ import annotations

import pytest

from meshlib._config.old_names import _FIELDS
from meshlib.model.kinds import kind_named, spec_class
from meshlib.model.shapes import shape_of, walk
from tests.config.loading import load_text, virtual_service

DESTINATION = "route: [{destination: {host: b}}]"


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        (f"{{{DESTINATION}, websocketUpgrade: true}}", "WebSockets pass without it"),
        (f"{{{DESTINATION}, appendHeaders: {{a: b}}}}", "headers.request.add"),
        (f"{{{DESTINATION}, fault: {{abort: {{httpStatus: 500, percent: 5}}}}}}", "percentage"),
        ("{route: [{destination: {name: b}}]}", "write host"),
        ("{match: [{name: a, x: b}], redirect: {uri: /}}", "remove it, or use"),
        (f"{{{DESTINATION}, trafficPolicy: {{}}}}", "trafficPolicy is a field of DestinationRule: spec.trafficPolicy"),
    ],
)
def test_an_unknown_field_names_what_to_write(rule: str, hint: str) -> None:
    """The successor, the right place, or else the fields that are known there."""
    hints = [one.hint for one in load_text(virtual_service(rule)).findings if one.code == "MESH023"]
    assert hint in hints[-1]


@pytest.mark.parametrize(
    ("api_version", "kind", "successor"),
    [
        ("rbac.istio.io/v1alpha1", "ServiceRole", "AuthorizationPolicy"),
        ("authentication.istio.io/v1alpha1", "Policy", "PeerAuthentication"),
        ("config.istio.io/v1alpha2", "RouteRule", "VirtualService"),
        ("config.istio.io/v1alpha2", "handler", "external authorizer"),
    ],
)
def test_an_old_kind_is_skipped_and_its_successor_named(api_version: str, kind: str, successor: str) -> None:
    """It is no error: the API server of today does not know the kind, and nothing else is wrong."""
    (found,) = load_text(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n").findings
    assert (found.code, found.level) == ("MESH029", "info")
    assert "old versions" in found.message and successor in found.message


def test_a_policy_of_an_old_group_is_never_skipped() -> None:
    """Who wrote an AuthorizationPolicy is protected by it, or is told."""
    (found,) = load_text(
        "apiVersion: rbac.istio.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n"
    ).findings
    assert (found.code, found.level) == ("MESH022", "error")


@pytest.mark.parametrize("kind", _FIELDS)
def test_no_field_of_today_is_called_old(kind: str) -> None:
    """Names that exist elsewhere in the kind need a neighbour, or stand where they are still unknown."""
    found = kind_named(kind)
    assert found is not None
    names = {path.rpartition(".")[2] for path, _ in walk(shape_of(spec_class(found)))}
    assert not {name for name in _FIELDS[kind] if "." not in name and name in names}
