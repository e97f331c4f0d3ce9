"""Loading: many texts, all findings, little memory."""

from __future__ import annotations

import pytest

from meshlib._config.load import ConfigSet, load
from meshlib._config.report import report
from meshlib.model.mesh_config import MeshConfig
from meshlib.sources.static import SourceText
from tests.config.loading import errors, load_text, virtual_service

GOOD = virtual_service("{route: [{destination: {host: b}}]}")


def test_every_text_is_read() -> None:
    """Resources come in order, with the name of their text."""
    config = load([SourceText("a.yaml", GOOD), SourceText("b.yaml", GOOD.replace("name: a", "name: c"))])
    assert [(str(one), one.file, one.line) for one in config.resources] == [
        ("VirtualService b/a", "a.yaml", 1),
        ("VirtualService b/c", "b.yaml", 1),
    ]


def test_nothing_is_a_configuration_too() -> None:
    """No texts, empty texts."""
    assert load([]) == ConfigSet()
    assert load_text("") == ConfigSet()


def test_a_later_definition_wins_with_a_warning() -> None:
    """As in a cluster, there is one object of a name."""
    changed = GOOD.replace("host: b}", "host: c}")
    config = load([SourceText("a.yaml", GOOD), SourceText("b.yaml", changed)])
    (resource,) = config.resources
    (finding,) = config.findings
    assert (resource.file, finding.code, finding.file) == ("b.yaml", "MESH034", "b.yaml")
    assert "a.yaml:1" in finding.message


def test_lists_are_taken_apart() -> None:
    """``kubectl get -o yaml`` gives a List; its items are resources with their own lines."""
    items = "".join("- " + GOOD.replace("\n", "\n  ").rstrip() + "\n" for _ in range(1))
    config = load_text(f"apiVersion: v1\nkind: List\nitems:\n{items}")
    assert [(str(one), one.line, dict(one.rule_lines)) for one in config.resources] == [
        ("VirtualService b/a", 4, {"http": (10,)})
    ]


def test_json_is_read() -> None:
    """JSON is YAML, in one line or many."""
    text = '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}'
    assert [str(one) for one in load_text(text).resources] == ["Service default/a"]


def test_progress_is_reported_and_ends_at_the_total() -> None:
    """Bytes never go back; the last call says that all is done."""
    calls: list[tuple[int, int, int]] = []
    texts = [SourceText(f"{name}.yaml", "---\n".join([GOOD] * 500)) for name in "ab"]
    load(texts, progress=lambda *numbers: calls.append(numbers))
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert calls[-1] == (done[-1], done[-1], 1)
    assert len(calls) >= 5


def test_findings_know_how_many_there_are() -> None:
    """The repr of a configuration shows its counts."""
    shown = repr(load_text(GOOD + "---\nkind: 5\n"))
    assert shown == "<ConfigSet resources=1 skipped=0 errors=1 findings=1>"


# -- mesh configuration ------------------------------------------------------------------------------

CONFIG_MAP = """apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  {key}: |-
    trustDomain: example.com
    {line}
"""


def mesh_config(config: ConfigSet) -> MeshConfig:
    (resource,) = config.resources
    assert (resource.kind, isinstance(resource.spec, MeshConfig)) == ("MeshConfig", True)
    assert isinstance(resource.spec, MeshConfig)
    return resource.spec


def test_mesh_config_stands_in_the_config_map() -> None:
    """Key ``mesh`` of ConfigMap ``istio``, decoded as protobuf JSON: snake_case, null, quoted numbers."""
    line = "{root_namespace: a, proxyListenPort: '15001', defaultConfig: null, connectTimeout: 5s}"
    text = CONFIG_MAP.format(key="mesh", line="rootNamespace: b").replace("\n    rootNamespace: b", "")
    spec = mesh_config(load_text(text.replace("trustDomain: example.com", line)))
    assert (spec.root_namespace, spec.proxy_listen_port, spec.default_config, spec.connect_timeout) == (
        "a",
        15001,
        None,
        5.0,
    )


def test_another_key_is_read_with_a_warning() -> None:
    """The founding article writes meshConfig.yaml."""
    config = load_text(CONFIG_MAP.format(key="meshConfig.yaml", line="rootNamespace: b"))
    assert mesh_config(config).root_namespace == "b"
    assert "MESH032" in [finding.code for finding in config.findings]


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        ("rootNamespac: b", "MESH023", "rootNamespac"),
        ("connectTimeout: 5", "MESH024", "connectTimeout"),
        ("outboundTrafficPolicy: {mode: registry_only}", "MESH027", "outboundTrafficPolicy.mode"),
        ("a: b: c", "MESH001", ""),
    ],
)
def test_errors_in_the_text_of_a_config_map_have_the_line_of_the_file(line: str, code: str, field: str) -> None:
    """Line 7 of the file is line 2 of the text inside."""
    config = load_text(CONFIG_MAP.format(key="mesh", line=line))
    (found,) = errors(config)
    assert (found.code, found.field, found.line, found.resource) == (code, field, 7, "MeshConfig istio-system/istio")
    assert config.resources == ()


def test_a_bare_mesh_config_is_known_by_its_fields() -> None:
    """``--mesh-config FILE`` takes the text without a ConfigMap around it."""
    spec = mesh_config(load_text("outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n"))
    assert spec.outbound_traffic_policy is not None
    assert spec.outbound_traffic_policy.mode == "REGISTRY_ONLY"


def test_other_config_maps_are_config_maps() -> None:
    """Only ``istio`` with a mesh key is special."""
    text = CONFIG_MAP.format(key="other", line="x")
    assert [str(one) for one in load_text(text).resources] == ["ConfigMap istio-system/istio"]


# -- report and memory -------------------------------------------------------------------------------


def test_the_report_lists_written_fields_with_their_status() -> None:
    """Only what is written, down to the leaves."""
    text = virtual_service("{match: [{statPrefix: a}], route: [{destination: {host: b}}], timeout: 5s}")
    found = report(load_text(text + "---\napiVersion: v1\nkind: Secretary\n"))
    assert [(field.path, field.status) for field in found.resources[0].fields] == [
        ("spec.hosts", "honoured"),
        ("spec.http", "honoured"),
        ("spec.http[0].match", "honoured"),
        ("spec.http[0].match[0].statPrefix", "refused"),
        ("spec.http[0].route", "honoured"),
        ("spec.http[0].route[0].destination", "honoured"),
        ("spec.http[0].route[0].destination.host", "honoured"),
        ("spec.http[0].timeout", "honoured"),
    ]
    assert found.counts == {"honoured": 7, "refused": 1}
    assert [(one.level, one.field, one.line) for one in found.refusals("error")] == [
        ("error", "spec.http[0].match[0].statPrefix", 7)
    ]
    assert [one.kind for one in found.skipped] == ["Secretary"]
    assert repr(found) == "<Report resources=1 skipped=1 honoured=7 refused=1>"
