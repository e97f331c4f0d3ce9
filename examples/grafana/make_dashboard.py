"""Makes dashboard.json: ``python examples/grafana/make_dashboard.py > examples/grafana/dashboard.json``.

Every query is over metrics that ``Mesh.metrics()`` shows; a test checks their names and labels, and asks a real
Prometheus where there is one.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

Json = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
CALLS = 'reporter="source",source_canonical_service=~"$source",destination_service_name=~"$destination"'
SERVED = 'reporter="destination",destination_canonical_service=~"$source"'
RATE = "[$__rate_interval]"


class Query(NamedTuple):
    """A line of a panel."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A graph, or a single number."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    about: str = ""


def quantile(share: float, metric: str, selector: str, by: str) -> str:
    """The value that this share of the requests stays below."""
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket{{{selector}}}{RATE})))"


def rate(metric: str, by: str, selector: str = "") -> str:
    """Events in a second."""
    return f"sum by ({by}) (rate({metric}{{{selector}}}{RATE}))"


def share(part: str, whole: str) -> str:
    """One rate of another."""
    return f"sum(rate({part}{RATE})) / sum(rate({whole}{RATE}))"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Calls",
        (
            Panel(
                "Answered without an error",
                "percentunit",
                (
                    Query(
                        share(
                            f'istio_requests_total{{{CALLS},response_code!~"5..|0"}}',
                            f"istio_requests_total{{{CALLS}}}",
                        ),
                        "share",
                    ),
                ),
                kind="stat",
                about="Neither 5xx nor no response at all.",
            ),
            Panel(
                "Rate by destination",
                "reqps",
                (
                    Query(
                        rate("istio_requests_total", "destination_service_name", CALLS), "{{destination_service_name}}"
                    ),
                ),
            ),
            Panel(
                "Rate by status",
                "reqps",
                (Query(rate("istio_requests_total", "response_code", CALLS), "{{response_code}}"),),
            ),
            Panel(
                "Latency",
                "ms",
                tuple(
                    Query(
                        quantile(part, "istio_request_duration_milliseconds", CALLS, "destination_service_name"),
                        f"p{part * 100:g} {{{{destination_service_name}}}}",
                    )
                    for part in (0.5, 0.95, 0.99)
                ),
            ),
            Panel(
                "Response flags",
                "reqps",
                (
                    Query(
                        rate("istio_requests_total", "response_flags", f'{CALLS},response_flags!="-"'),
                        "{{response_flags}}",
                    ),
                ),
                about="Why the mesh refused or failed a call, in Envoy's letters.",
            ),
            Panel(
                "Sizes (p95)",
                "bytes",
                (
                    Query(quantile(0.95, "istio_request_bytes", CALLS, "reporter"), "requests"),
                    Query(quantile(0.95, "istio_response_bytes", CALLS, "reporter"), "responses"),
                ),
            ),
        ),
    ),
    (
        "Requests served",
        (
            Panel(
                "Rate by status",
                "reqps",
                (Query(rate("istio_requests_total", "response_code", SERVED), "{{response_code}}"),),
            ),
            Panel(
                "Latency (p95)",
                "ms",
                (
                    Query(
                        quantile(0.95, "istio_request_duration_milliseconds", SERVED, "destination_canonical_service"),
                        "{{destination_canonical_service}}",
                    ),
                ),
            ),
            Panel(
                "By source and security",
                "reqps",
                (
                    Query(
                        rate("istio_requests_total", "source_canonical_service, connection_security_policy", SERVED),
                        "{{source_canonical_service}} {{connection_security_policy}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "What the mesh does",
        (
            Panel(
                "Attempts and retries",
                "reqps",
                (
                    Query(rate("meshlib_attempts_total", "cluster"), "attempts {{cluster}}"),
                    Query(rate("meshlib_retries_total", "cluster, reason"), "retries {{cluster}} {{reason}}"),
                ),
            ),
            Panel(
                "Ejected endpoints",
                "short",
                (
                    Query("sum by (cluster) (meshlib_ejected_endpoints)", "{{cluster}}"),
                    Query(rate("meshlib_ejections_total", "cluster, reason"), "ejections {{cluster}} {{reason}}"),
                ),
            ),
            Panel("Overflows", "reqps", (Query(rate("meshlib_overflows_total", "cluster"), "{{cluster}}"),)),
            Panel(
                "On their way",
                "short",
                (
                    Query("sum by (cluster) (meshlib_active_requests)", "requests {{cluster}}"),
                    Query("sum by (cluster) (meshlib_active_retries)", "retries {{cluster}}"),
                ),
            ),
            Panel(
                "Faults injected", "reqps", (Query(rate("meshlib_faults_total", "kind, route"), "{{kind}} {{route}}"),)
            ),
            Panel(
                "Breakers not closed",
                "short",
                (Query('sum by (host) (meshlib_breaker_state{state!="closed"})', "{{host}}"),),
            ),
            Panel(
                "Age of the configuration",
                "s",
                (Query("max(time() - meshlib_config_published_timestamp_seconds)", "age"),),
                kind="stat",
            ),
            Panel(
                "Updates of the configuration",
                "short",
                (Query("sum by (result) (meshlib_config_updates_total)", "{{result}}"),),
            ),
        ),
    ),
)


def panels() -> list[Json]:
    """The rows with their panels, three beside each other."""
    made: list[Json] = []
    top = 0
    for title, row in ROWS:
        made.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(top, 0, 24, 1), "panels": []})
        top += 1
        for number, panel in enumerate(row):
            made.append(_panel(panel, _place(top + number // 3 * 8, number % 3 * 8, 8, 8)))
        top += (len(row) + 2) // 3 * 8
    return [{"id": number, **panel} for number, panel in enumerate(made, 1)]


def _place(top: int, left: int, width: int, height: int) -> Json:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel, place: Json) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(65 + number),
                "expr": query.expression,
                "legendFormat": query.legend,
                "datasource": DATASOURCE,
            }
            for number, query in enumerate(panel.queries)
        ],
    }


def _variable(name: str, label: str, values_of: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": f"label_values(istio_requests_total, {values_of})",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> Json:
    """What Grafana imports."""
    return {
        "title": "meshlib",
        "uid": "meshlib",
        "schemaVersion": 39,
        "tags": ["meshlib", "istio"],
        "time": {"from": "now-30m", "to": "now"},
        "refresh": "10s",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                _variable("source", "Service", "source_canonical_service"),
                _variable("destination", "Calls", "destination_service_name"),
            ]
        },
        "panels": panels(),
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
