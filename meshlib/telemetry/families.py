"""What a reading of the metrics gives: families of samples, whoever shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from meshlib.telemetry.counters import Labels, SeriesKey, Total

__all__ = ["DESCRIPTIONS", "Family", "Kind", "group"]

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


class Family(NamedTuple):
    """One metric: its samples by labels. Counters are named with their ``_total``."""

    name: str
    kind: Kind
    help: str
    samples: tuple[tuple[Labels, Total], ...]


_TABLE: Final[tuple[tuple[str, Kind, str], ...]] = (
    ("istio_requests_total", "counter", "Requests, as Istio counts them"),
    ("istio_request_duration_milliseconds", "histogram", "Milliseconds from a request's start to its response's end"),
    ("istio_request_bytes", "histogram", "Bytes of requests with their headers"),
    ("istio_response_bytes", "histogram", "Bytes of responses with their headers"),
    ("istio_build", "gauge", "1, with the version that is running"),
    ("istio_tcp_connections_opened_total", "counter", "Connections that carry no HTTP, opened"),
    ("istio_tcp_connections_closed_total", "counter", "Connections that carry no HTTP, closed"),
    ("istio_tcp_sent_bytes_total", "counter", "Bytes of connections from the server to the client"),
    ("istio_tcp_received_bytes_total", "counter", "Bytes of connections from the client to the server"),
    ("meshlib_attempts_total", "counter", "Attempts sent to a cluster, retries among them"),
    ("meshlib_retries_total", "counter", "Retries by the condition that asked for them"),
    ("meshlib_overflows_total", "counter", "Requests refused, or not retried, because a limit was reached"),
    ("meshlib_ejections_total", "counter", "Endpoints taken out by outlier detection"),
    ("meshlib_unejections_total", "counter", "Endpoints put back by outlier detection"),
    ("meshlib_faults_total", "counter", "Faults that the configuration injected"),
    ("meshlib_mirrored_requests_total", "counter", "Copies of requests sent to mirrors"),
    ("meshlib_config_updates_total", "counter", "Configurations that were published or rejected"),
    ("meshlib_metrics_overflows_total", "counter", "Label sets counted as unknown because there were too many"),
    ("meshlib_config_info", "gauge", "1, with the version of the configuration in force"),
    ("meshlib_config_published_timestamp_seconds", "gauge", "Unix time at which the configuration took effect"),
    ("meshlib_endpoints", "gauge", "Endpoints of a cluster"),
    ("meshlib_ejected_endpoints", "gauge", "Endpoints of a cluster that are ejected now"),
    ("meshlib_active_requests", "gauge", "Requests on their way"),
    ("meshlib_pending_requests", "gauge", "Requests that wait for a connection, where the policy caps them"),
    ("meshlib_active_retries", "gauge", "Retries on their way"),
    ("meshlib_retry_limit", "gauge", "Retries allowed at once: the budget, or maxRetries"),
    ("meshlib_breaker_state", "gauge", "1 for the state in which the breaker of a ClientPolicy is"),
    ("meshlib_hedges_total", "counter", "Second attempts that a ClientPolicy had sent beside slow ones"),
    ("meshlib_hedges_won_total", "counter", "Those of them that gave the answer"),
    (
        "meshlib_last_good_responses_total",
        "counter",
        "Failures in whose place the last good response was given",
    ),
    ("meshlib_authorization_dry_runs_total", "counter", "What authorization policies in dry run would have said"),
    ("meshlib_jwks_up", "gauge", "Whether the keys of an issuer could be read last"),
)
DESCRIPTIONS: Final[Mapping[str, tuple[Kind, str]]] = {name: (kind, text) for name, kind, text in _TABLE}
"""Every metric by name: what it is, and what it says."""


def group(totals: Iterable[tuple[SeriesKey, Total]]) -> list[Family]:
    """Series put together by metric, in the order of the table."""
    found: dict[str, list[tuple[Labels, Total]]] = {}
    for key, total in totals:
        found.setdefault(key.metric, []).append((key.labels, total))
    return [Family(name, *DESCRIPTIONS[name], tuple(found[name])) for name in DESCRIPTIONS if name in found]
