"""What the mesh tells of itself: metrics, spans and access logs, under the names that users of Istio know.

Nothing here imports prometheus_client or opentelemetry before it is used.
"""

from __future__ import annotations

__all__: list[str] = []
