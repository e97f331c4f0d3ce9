"""WorkloadGroup: what Istio's webhook refuses about its probe (validateReadinessProbe)."""

from __future__ import annotations

import re
from typing import Final

from meshlib._config.check import Path
from meshlib._config.rules.report import Report
from meshlib.model.resource import Metadata
from meshlib.model.workload_group import WorkloadGroupSpec

__all__ = ["check_workload_group"]

_HEADER: Final = re.compile(r"[-A-Za-z0-9]+\Z")


def check_workload_group(spec: WorkloadGroupSpec, metadata: Metadata, report: Report) -> None:
    """All rules of a WorkloadGroup that its schema does not have."""
    del metadata
    probe, path = spec.probe, ("spec", "probe")
    if probe is None:
        return
    if probe.http_get is not None:
        for index, header in enumerate(probe.http_get.http_headers):
            place: Path = (*path, "httpGet", "httpHeaders", index, "name")
            name = header.name or ""
            if _HEADER.match(name) is None:
                problem = f"header name {name} is not a valid header name" if name else "header name cannot be empty"
                report.add("MESH075", place, problem)
    elif probe.exec is not None:
        if not probe.exec.command:
            report.add("MESH083", (*path, "exec", "command"), "exec.command is required")
    elif probe.tcp_socket is None:
        report.add("MESH083", path, "unknown health check method", "add httpGet, tcpSocket or exec")
