"""Telemetry resources merged. Expected is what Istio 1.31 generates: the filters in the listeners of a sidecar."""

from __future__ import annotations

import pytest

from meshlib import Mesh, Workload
from meshlib._snapshot.telemetry import MetricRules, Telemetry
from meshlib.telemetry.log_format import DEFAULT_FIELDS, DEFAULT_TEXT

ME = Workload(namespace="foo", labels={"app": "web", "version": "v1"}, name="web")
PROMETHEUS = "providers: [{name: prometheus}]"
ENVOY = "providers: [{name: envoy}]"
PROVIDERS = """\
extensionProviders:
- {name: filelog, envoyFileAccessLog: {path: /tmp/x.log, logFormat: {text: "%START_TIME%"}}}
- {name: jsonlog, envoyFileAccessLog: {logFormat: {labels: {a: "%PROTOCOL%"}}, omitEmptyValues: true}}
- {name: jsonempty, envoyFileAccessLog: {path: /dev/stdout, logFormat: {labels: {}}}}
- {name: als, envoyHttpAls: {service: als.foo.svc.cluster.local, port: 9000}}
- {name: otel, opentelemetry: {service: otel.foo.svc.cluster.local, port: 4317}}
- {name: zip, zipkin: {service: zip.foo.svc.cluster.local, port: 9411}}
"""


def resource(spec: str, namespace: str = "istio-system", name: str = "m", age: str = "") -> str:
    created = f", creationTimestamp: {age}" if age else ""
    return (
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\n"
        f"metadata: {{name: {name}, namespace: {namespace}{created}}}\nspec: {spec}\n"
    )


def compiled(*resources: str, mesh: str = "", workload: Workload = ME) -> Telemetry:
    documents = [*resources, *([mesh] if mesh else [])]
    return Mesh.load("---\n".join(documents) or "{}", workload=workload).snapshot.telemetry


def metrics(*overrides: str, providers: str = PROMETHEUS) -> str:
    parts = [providers] if providers else []
    if overrides:
        parts.append(f"overrides: [{', '.join(overrides)}]")
    return f"{{metrics: [{{{', '.join(parts)}}}]}}"


OFF = "{disabled: true}"


def seen(rules: MetricRules) -> tuple[bool, dict[str, object]]:
    """Whether there are metrics, and what becomes of those that an override names: off, or their tags."""
    return rules.enabled, {
        name: "off" if change.disabled else dict(change.tags)
        for name, change in rules.changes.items()
        if name in ("requests_total", "request_bytes", "response_bytes") and (change.disabled or change.tags)
    }


@pytest.mark.parametrize(
    ("resources", "mesh", "client", "server"),
    [
        pytest.param([resource(metrics())], "", (True, {}), (True, {}), id="provider alone"),
        pytest.param([resource(metrics(OFF))], "", (False, {}), (False, {}), id="all off"),
        pytest.param(
            [resource(metrics("{match: {metric: ALL_METRICS}, disabled: true}"))],
            "",
            (False, {}),
            (False, {}),
            id="all off by name",
        ),
        pytest.param(
            [
                resource(metrics(OFF)),
                resource(metrics("{match: {metric: REQUEST_COUNT}, disabled: false}", providers=""), "foo", "low"),
            ],
            "",
            (True, {}),
            (True, {}),
            id="all off, one on again below: the filter is back, with all metrics",
        ),
        pytest.param(
            [resource(metrics("{match: {mode: CLIENT}, disabled: true}"))], "", (False, {}), (True, {}), id="client off"
        ),
        pytest.param(
            [resource(metrics("{match: {metric: REQUEST_COUNT, mode: SERVER}, disabled: true}"))],
            "",
            (True, {}),
            (True, {"requests_total": "off"}),
            id="one off at the server",
        ),
        pytest.param(
            [
                resource(metrics('{tagOverrides: {a: {value: "1"}}}')),
                resource(
                    metrics(
                        '{match: {metric: REQUEST_COUNT}, tagOverrides: {a: {value: "2"}, b: {value: "3"}}}',
                        providers="",
                    ),
                    "foo",
                    "low",
                ),
            ],
            "",
            (True, {"requests_total": {"a": "2", "b": "3"}, "request_bytes": {"a": "1"}, "response_bytes": {"a": "1"}}),
            (True, {"requests_total": {"a": "2", "b": "3"}, "request_bytes": {"a": "1"}, "response_bytes": {"a": "1"}}),
            id="tags are merged one by one",
        ),
        pytest.param(
            [
                resource(metrics('{tagOverrides: {a: {value: "1"}}}')),
                resource(metrics(providers="providers: [{name: stackdriver}]"), "foo", "low"),
            ],
            "",
            (False, {}),
            (False, {}),
            id="another provider below replaces the one above",
        ),
        pytest.param(
            [resource(metrics(providers="providers: [{name: zzz}]"))],
            "",
            (False, {}),
            (False, {}),
            id="unknown provider",
        ),
        pytest.param(
            [resource(metrics("{match: {metric: REQUEST_SIZE}, disabled: true}", providers=""), "foo")],
            "defaultProviders: {metrics: [prometheus]}\n",
            (True, {"request_bytes": "off"}),
            (True, {"request_bytes": "off"}),
            id="the default provider",
        ),
        pytest.param(
            [resource(metrics("{match: {metric: REQUEST_SIZE}, disabled: true}", providers=""), "foo")],
            "defaultProviders: {metrics: [stackdriver]}\n",
            (False, {}),
            (False, {}),
            id="another default provider",
        ),
        pytest.param(
            [
                resource(
                    metrics("{match: {metric: REQUEST_SIZE}, disabled: true}"), "foo", "b", "2020-01-02T00:00:00Z"
                ),
                resource(
                    metrics("{match: {metric: REQUEST_COUNT}, disabled: true}"), "foo", "a", "2020-01-01T00:00:00Z"
                ),
            ],
            "",
            (True, {"requests_total": "off"}),
            (True, {"requests_total": "off"}),
            id="of two for the namespace the older one",
        ),
        pytest.param(
            [
                resource(
                    "{selector: {matchLabels: {app: web}}, "
                    + metrics("{match: {metric: REQUEST_SIZE}, disabled: true}")[1:],
                    "foo",
                    "w2",
                ),
                resource(
                    "{selector: {matchLabels: {version: v1}}, "
                    + metrics("{match: {metric: REQUEST_COUNT}, disabled: true}")[1:],
                    "foo",
                    "w1",
                ),
            ],
            "",
            (True, {"requests_total": "off", "request_bytes": "off"}),
            (True, {"requests_total": "off", "request_bytes": "off"}),
            id="all that select the workload",
        ),
        pytest.param(
            [resource("{selector: {matchLabels: {app: other}}, " + metrics(OFF)[1:], "foo")],
            "",
            (True, {}),
            (True, {}),
            id="for another workload",
        ),
        pytest.param(
            [resource("{selector: {matchLabels: {app: web}}, " + metrics(OFF)[1:])],
            "",
            (True, {}),
            (True, {}),
            id="a selector in the root namespace is about that namespace",
        ),
        pytest.param(
            [resource('{targetRefs: [{kind: Service, name: web, group: ""}], ' + metrics(OFF)[1:], "foo")],
            "",
            (True, {}),
            (True, {}),
            id="a Service is a target of waypoints only",
        ),
        pytest.param(
            [
                resource(
                    metrics("{match: {metric: REQUEST_COUNT}, disabled: true}", '{tagOverrides: {a: {value: "1"}}}')
                )
            ],
            "",
            (True, {"requests_total": "off", "request_bytes": {"a": "1"}, "response_bytes": {"a": "1"}}),
            (True, {"requests_total": "off", "request_bytes": {"a": "1"}, "response_bytes": {"a": "1"}}),
            id="what is off stays off",
        ),
        pytest.param(
            [
                resource(
                    metrics('{match: {metric: REQUEST_SIZE}, tagOverrides: {a: {value: "1"}}}'),
                    "istio-system",
                ),
                resource(
                    metrics(
                        '{disabled: true, tagOverrides: {b: {value: "2"}}}',
                        "{match: {metric: RESPONSE_SIZE, mode: CLIENT}, disabled: true}",
                    ),
                    "foo",
                ),
            ],
            "",
            (True, {"request_bytes": {"a": "1"}, "response_bytes": "off"}),
            (False, {}),
            id="what comes back has the tags that it had, and none of those that came with its end",
        ),
        pytest.param(
            [resource(metrics("{match: {customMetric: istio_requests_total}, disabled: true}"))],
            "",
            (True, {}),
            (True, {}),
            id="names of metrics have no prefix",
        ),
        pytest.param(
            [resource(metrics("{match: {customMetric: requests_total}, tagOverrides: {a: {operation: REMOVE}}}"))],
            "",
            (True, {"requests_total": {"a": None}}),
            (True, {"requests_total": {"a": None}}),
            id="by its name",
        ),
    ],
)
def test_metrics(
    resources: list[str],
    mesh: str,
    client: tuple[bool, dict[str, object]],
    server: tuple[bool, dict[str, object]],
) -> None:
    """Which metrics there are, and their tags."""
    found = compiled(*resources, mesh=mesh)
    assert (seen(found.client_metrics), seen(found.server_metrics)) == (client, server)


def test_without_any_configuration_there_are_metrics_and_no_logs() -> None:
    """Istio's profiles name prometheus as the default provider; here it is one without being named."""
    found = compiled("outboundTrafficPolicy: {mode: ALLOW_ANY}\n")
    assert found.client_metrics.enabled
    assert found.client_logs == found.server_logs == ()


def logging(*entries: str) -> str:
    return f"{{accessLogging: [{', '.join(f'{{{entry}}}' for entry in entries)}]}}"


def over(code: int) -> str:
    return f'filter: {{expression: "response.code >= {code}"}}'


LOG, FILTERED = [("envoy", "")], [("envoy", "response.code >= 400")]
CLIENT, SERVER = "match: {mode: CLIENT}", "match: {mode: SERVER}"
DEFAULT_ENVOY = "defaultProviders: {accessLogging: [envoy]}\n"
STDOUT = "accessLogFile: /dev/stdout\n"


@pytest.mark.parametrize(
    ("resources", "mesh", "client", "server"),
    [
        pytest.param([], STDOUT, LOG, LOG, id="accessLogFile"),
        pytest.param([resource(logging("disabled: true"), "foo")], STDOUT, LOG, LOG, id="nobody named is switched off"),
        pytest.param([resource(logging(""), "foo")], STDOUT, LOG, LOG, id="an empty entry"),
        pytest.param([resource(metrics(), "foo")], STDOUT, LOG, LOG, id="metrics only"),
        pytest.param([resource(logging(f"{ENVOY}, disabled: true"), "foo")], STDOUT, [], [], id="switched off by name"),
        pytest.param([resource(logging(ENVOY), "foo")], "", LOG, LOG, id="envoy"),
        pytest.param([], DEFAULT_ENVOY, LOG, LOG, id="default provider"),
        pytest.param([resource(logging("disabled: true"), "foo")], DEFAULT_ENVOY, [], [], id="default switched off"),
        pytest.param(
            [resource(logging(f"{SERVER}, disabled: true"), "foo")],
            DEFAULT_ENVOY,
            [],
            [],
            id="an entry for one side leaves the other without any",
        ),
        pytest.param(
            [resource(logging(f"{CLIENT}, disabled: true", SERVER), "foo")], DEFAULT_ENVOY, [], LOG, id="both sides"
        ),
        pytest.param([resource(logging(f"{CLIENT}, {ENVOY}"), "foo")], "", LOG, [], id="client only"),
        pytest.param([resource(logging(f"{CLIENT}, {ENVOY}", SERVER), "foo")], "", LOG, [], id="server names nobody"),
        pytest.param(
            [resource(logging(ENVOY, f"{CLIENT}, disabled: true"), "foo")], "", [], LOG, id="client switched off"
        ),
        pytest.param([resource(logging(f"{ENVOY}, {over(400)}"), "foo")], "", FILTERED, FILTERED, id="filter"),
        pytest.param([resource(logging(over(400)), "foo")], DEFAULT_ENVOY, LOG, LOG, id="filter without a provider"),
        pytest.param(
            [resource(logging(f"{ENVOY}, {over(400)}")), resource(logging(""), "foo", "low")],
            "",
            FILTERED,
            FILTERED,
            id="filter of the parent",
        ),
        pytest.param(
            [resource(logging(f"{ENVOY}, {over(400)}")), resource(logging(over(500)), "foo", "low")],
            "",
            FILTERED,
            FILTERED,
            id="a child that names nobody keeps the filter",
        ),
        pytest.param(
            [resource(logging(f"{ENVOY}, {over(500)}")), resource(logging(f"{ENVOY}, {over(400)}"), "foo", "low")],
            "",
            FILTERED,
            FILTERED,
            id="a child that names it sets the filter",
        ),
        pytest.param(
            [resource(logging(f"{ENVOY}, {over(400)}")), resource(logging(ENVOY), "foo", "low")],
            "",
            LOG,
            LOG,
            id="a child that names it drops the filter",
        ),
        pytest.param(
            [resource(logging(f"{CLIENT}, {ENVOY}, {over(400)}", f"{SERVER}, {ENVOY}, {over(500)}"))],
            "",
            FILTERED,
            [("envoy", "response.code >= 500")],
            id="a filter for each side",
        ),
        pytest.param(
            [resource(logging("providers: [{name: filelog}]")), resource(logging(ENVOY), "foo", "low")],
            PROVIDERS,
            LOG,
            LOG,
            id="a child replaces",
        ),
        pytest.param(
            [
                resource(logging("providers: [{name: filelog}, {name: envoy}]")),
                resource(logging(f"{ENVOY}, disabled: true"), "foo", "low"),
            ],
            PROVIDERS,
            [],
            [],
            id="a child that disables one replaces all",
        ),
        pytest.param(
            [resource(logging("providers: [{name: filelog}]", ENVOY), "foo")],
            PROVIDERS,
            [("envoy", ""), ("filelog", "")],
            [("envoy", ""), ("filelog", "")],
            id="two of one level",
        ),
        pytest.param(
            [resource(logging(f"{ENVOY}, disabled: true")), resource(logging("disabled: false"), "foo", "low")],
            "",
            LOG,
            LOG,
            id="on again",
        ),
        pytest.param(
            [
                resource(logging(f"{ENVOY}, {over(400)}")),
                resource(logging("providers: [{name: filelog}]"), "foo", "low"),
                resource("{selector: {matchLabels: {app: web}}, " + logging(over(500))[1:], "foo", "w"),
            ],
            PROVIDERS,
            [("filelog", "")],
            [("filelog", "")],
            id="three levels",
        ),
        pytest.param([resource(logging("providers: [{name: zzz}]"), "foo")], "", [], [], id="unknown"),
        pytest.param(
            [resource(logging("providers: [{name: zzz}]"), "foo")], STDOUT, LOG, LOG, id="unknown, with accessLogFile"
        ),
        pytest.param(
            [resource(logging("providers: [{name: filelog}]"), "foo")],
            PROVIDERS + STDOUT,
            [("filelog", "")],
            [("filelog", "")],
            id="a provider goes before accessLogFile",
        ),
    ],
)
def test_access_logs(
    resources: list[str], mesh: str, client: list[tuple[str, str]], server: list[tuple[str, str]]
) -> None:
    """Which providers log, and what they leave out."""
    found = compiled(*resources, mesh=mesh)
    assert [(log.provider, log.filter) for log in found.client_logs] == client
    assert [(log.provider, log.filter) for log in found.server_logs] == server


@pytest.mark.parametrize(
    ("mesh", "provider", "text", "fields"),
    [
        pytest.param(STDOUT, "", DEFAULT_TEXT, None, id="text"),
        pytest.param(STDOUT + "accessLogEncoding: JSON\n", "", "", DEFAULT_FIELDS, id="JSON"),
        pytest.param(STDOUT + 'accessLogFormat: "abc %PROTOCOL%"\n', "", "abc %PROTOCOL%\n", None, id="format"),
        pytest.param(
            STDOUT + 'accessLogEncoding: JSON\naccessLogFormat: \'{"a": "%PROTOCOL%"}\'\n',
            "",
            "",
            {"a": "%PROTOCOL%"},
            id="JSON format",
        ),
        pytest.param(
            STDOUT + "accessLogEncoding: JSON\naccessLogFormat: abc\n", "", "", DEFAULT_FIELDS, id="no JSON object"
        ),
        pytest.param("accessLogEncoding: JSON\n", "envoy", "", DEFAULT_FIELDS, id="envoy follows MeshConfig"),
        pytest.param(PROVIDERS, "filelog", "%START_TIME%\n", None, id="its own text"),
        pytest.param(PROVIDERS, "jsonlog", "", {"a": "%PROTOCOL%"}, id="its own fields"),
        pytest.param(PROVIDERS, "jsonempty", "", DEFAULT_FIELDS, id="no fields"),
    ],
)
def test_formats(mesh: str, provider: str, text: str, fields: dict[str, object] | None) -> None:
    """MeshConfig's format is that of accessLogFile and of the provider envoy; others have their own."""
    resources = [resource(logging(f"providers: [{{name: {provider}}}]"), "foo")] if provider else []
    (log,) = compiled(*resources, mesh=mesh).client_logs
    assert (log.text, log.fields) == (text, fields)


def tracing(*entries: str) -> str:
    return f"{{tracing: [{', '.join(f'{{{entry}}}' for entry in entries)}]}}"


OTEL = "providers: [{name: otel}]"


@pytest.mark.parametrize(
    ("resources", "mesh", "client", "server"),
    [
        pytest.param([], "enableTracing: true\n", 1.0, 1.0, id="default"),
        pytest.param([], "enableTracing: false\n", None, None, id="off"),
        pytest.param([], "defaultConfig: {tracing: {sampling: 42}}\n", 42.0, 42.0, id="MeshConfig"),
        pytest.param([], "defaultConfig: {tracing: {sampling: 142}}\n", 1.0, 1.0, id="no percentage"),
        pytest.param(
            [resource(tracing("randomSamplingPercentage: 10"))], "enableTracing: true\n", None, None, id="no provider"
        ),
        pytest.param([resource(tracing(""))], "enableTracing: true\n", None, None, id="an empty entry"),
        pytest.param([resource(tracing(f"{OTEL}, randomSamplingPercentage: 10"))], PROVIDERS, 10.0, 10.0, id="both"),
        pytest.param([resource(tracing(f"{OTEL}, randomSamplingPercentage: 0"))], PROVIDERS, 0.0, 0.0, id="none"),
        pytest.param(
            [resource(tracing(OTEL))],
            PROVIDERS + "defaultConfig: {tracing: {sampling: 42}}\n",
            42.0,
            42.0,
            id="inherits",
        ),
        pytest.param(
            [
                resource(tracing(f"{OTEL}, randomSamplingPercentage: 10")),
                resource(tracing("randomSamplingPercentage: 20"), "foo", "low"),
            ],
            PROVIDERS,
            20.0,
            20.0,
            id="the child",
        ),
        pytest.param(
            [resource(tracing(f"{CLIENT}, {OTEL}, randomSamplingPercentage: 7"))], PROVIDERS, 7.0, None, id="client"
        ),
        pytest.param(
            [resource(tracing(f"{OTEL}, randomSamplingPercentage: 3", f"{CLIENT}, randomSamplingPercentage: 7"))],
            PROVIDERS,
            7.0,
            3.0,
            id="both sides",
        ),
        pytest.param(
            [resource(tracing(f"{OTEL}, disableSpanReporting: true"))], PROVIDERS, None, None, id="not reported"
        ),
        pytest.param(
            [resource(tracing(OTEL, f"{CLIENT}, disableSpanReporting: true"))], PROVIDERS, None, 1.0, id="client silent"
        ),
        pytest.param([], PROVIDERS + "defaultProviders: {tracing: [otel]}\n", 1.0, 1.0, id="default provider"),
        pytest.param(
            [resource(tracing("providers: [{name: zzz}]"))], "enableTracing: true\n", None, None, id="unknown"
        ),
        pytest.param([resource(tracing("providers: [{name: zip}]"))], PROVIDERS, 1.0, 1.0, id="Zipkin"),
    ],
)
def test_sampling(resources: list[str], mesh: str, client: float | None, server: float | None) -> None:
    """The percentage of requests that are traced; None: no tracing at all."""
    found = compiled(*resources, mesh=mesh)
    sides = (found.client_tracing, found.server_tracing)
    assert tuple(side.sampling if side.enabled else None for side in sides) == (client, server)


def test_custom_tags_of_the_lowest_level_replace_all_others() -> None:
    """The map is not merged, unlike those of metrics."""
    root = tracing(f"{OTEL}, customTags: {{a: {{literal: {{value: x}}}}}}")
    child = tracing("customTags: {b: {header: {name: x-b, defaultValue: d}}, c: {environment: {name: HOME}}}")
    tags = compiled(resource(root), resource(child, "foo", "low"), mesh=PROVIDERS).client_tracing.tags
    assert [(tag.name, tag.source, tag.value, tag.default) for tag in tags] == [
        ("b", "header", "x-b", "d"),
        ("c", "environment", "HOME", ""),
    ]


def test_the_rest_of_tracing() -> None:
    """Istio's tags, propagation, the length of paths."""
    text = tracing(f"{OTEL}, enableIstioTags: false, disableContextPropagation: true")
    mesh = PROVIDERS + "defaultConfig: {tracing: {maxPathTagLength: 77}}\n"
    found = compiled(resource(text), mesh=mesh).client_tracing
    assert (found.istio_tags, found.propagates, found.path_length) == (False, False, 77)


@pytest.mark.parametrize(
    ("provider", "length"),
    [
        pytest.param("opentelemetry: {service: a.b, port: 1, maxTagLength: 20}", 20, id="OpenTelemetry"),
        pytest.param("zipkin: {service: a.b, port: 1, maxTagLength: 20}", 20, id="Zipkin"),
        pytest.param("datadog: {service: a.b, port: 1, maxTagLength: 20}", 20, id="Datadog"),
        pytest.param("skywalking: {service: a.b, port: 1, maxTagLength: 20}", 77, id="SkyWalking has none"),
        pytest.param("opentelemetry: {service: a.b, port: 1, maxTagLength: 0}", 77, id="0 is unset"),
    ],
)
def test_the_provider_limits_the_length_of_paths(provider: str, length: int) -> None:
    """It wins over the mesh's limit (max_path_tag_length of Istio 1.31's listeners)."""
    mesh = f"extensionProviders: [{{name: otel, {provider}}}]\ndefaultConfig: {{tracing: {{maxPathTagLength: 77}}}}\n"
    found = compiled(resource(tracing(OTEL)), mesh=mesh)
    assert (found.client_tracing.path_length, found.server_tracing.path_length) == (length, length)


TWO = "extensionProviders: [{name: p1, prometheus: {}}]\n"
BOTH = "providers: [{name: prometheus}, {name: p1}]"


def test_of_two_prometheus_providers_the_first_that_is_on_counts() -> None:
    """Istio makes a filter for each that is on, with rules of its own."""
    mine = "{match: {metric: REQUEST_COUNT}, tagOverrides: {a: {value: '1'}}}"
    off = resource(
        f"{{metrics: [{{{PROMETHEUS}, overrides: [{OFF}]}}, {{providers: [{{name: p1}}], overrides: [{mine}]}}]}}"
    )
    last = resource(f"{{metrics: [{{{BOTH}}}]}}", "foo")
    found = compiled(off, last, mesh=TWO)
    assert seen(found.client_metrics) == (True, {"requests_total": {"a": "1"}})
    assert not [one for one in Mesh.load(f"{off}---\n{last}---\n{TWO}", workload=ME).findings if one.code == "MESH126"]


@pytest.mark.parametrize(
    ("spec", "mesh", "code", "text"),
    [
        pytest.param(logging("providers: [{name: zzz}]"), "", "MESH126", "'zzz'", id="unknown logger"),
        pytest.param(logging("providers: [{name: als}]"), PROVIDERS, "MESH126", "remote", id="remote logger"),
        pytest.param(tracing("providers: [{name: zzz}]"), "", "MESH126", "'zzz'", id="unknown tracer"),
        pytest.param(f"{{metrics: [{{{BOTH}}}]}}", TWO, "MESH126", "by the rules of prometheus", id="two Prometheus"),
        pytest.param(
            logging(f'{ENVOY}, filter: {{expression: "[1].all(x, x > 0)"}}'), "", "MESH125", "all", id="a macro"
        ),
        pytest.param(
            logging(f"{ENVOY}, filter: {{expression: \"node.id == 'x'\"}}"), "", "MESH125", "node.id", id="an attribute"
        ),
        pytest.param(metrics('{tagOverrides: {a: {value: "frob(1)"}}}'), "", "MESH125", "frob", id="a function"),
        pytest.param("{}", STDOUT + 'accessLogFormat: "%FROB%"\n', "MESH125", "%FROB%", id="an operator"),
        *(
            # Envoy 1.39.3 refuses each: "Couldn't find valid command at position …".
            pytest.param("{}", STDOUT + f"accessLogFormat: '{text}'\n", "MESH125", repr(text[at:]), id=text)
            for text, at in (("%REQ(unclosed", 0), ("a%b", 1), ("%% 100%", 6), ("%REQ(A):-1%", 0), ("%protocol%", 0))
        ),
        pytest.param(
            "{}", STDOUT + 'accessLogEncoding: JSON\naccessLogFormat: \'{"a": "5%"}\'\n', "MESH125", "'%'", id="a field"
        ),
    ],
)
def test_what_has_no_effect_is_said(spec: str, mesh: str, code: str, text: str) -> None:
    """Nothing is ignored silently."""
    documents = "---\n".join(filter(None, (resource(spec, "foo"), mesh)))
    findings = [one for one in Mesh.load(documents, workload=ME).findings if one.code == code]
    assert [text in one.message for one in findings] == [True]


def test_the_services_of_the_workload_are_known_by_port() -> None:
    """They are the destination of what it serves."""
    service = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: shop, namespace: foo}\n"
        "spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}\n"
    )
    own = compiled(service).services[8080]
    assert (own.host, own.name, own.namespace) == ("shop.foo.svc.cluster.local", "shop", "foo")
