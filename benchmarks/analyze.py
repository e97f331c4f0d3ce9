"""Analyzing 10,000 resources against 1,000 of them: one pass over everything must grow with it, not with its square.

Ten kinds in equal parts, all joined: each service has pods, routes, subsets, a gateway, policies and a sidecar, in
fifty namespaces. Each turn is a process of its own; the time starts with the text in memory and everything imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import SelfTimed, Unit, arguments, compare_processes, emit, emit_figure

__all__ = ["generate", "main"]

ROOT = Path(__file__).resolve().parent.parent
KINDS = 10
DOCUMENTS = """\
apiVersion: v1
kind: Service
metadata: {{name: service-{number:05d}, namespace: team-{team:02d}}}
spec: {{selector: {{app: service-{number:05d}}}, ports: [{{name: http, port: 80, targetPort: 8080, protocol: TCP}}]}}
---
apiVersion: v1
kind: Pod
metadata:
  name: service-{number:05d}-a
  namespace: team-{team:02d}
  labels: {{app: service-{number:05d}, version: v1}}
spec: {{containers: [{{name: istio-proxy, image: proxy}}]}}
status: {{podIP: 10.0.{high}.{low}, phase: Running}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: service-{number:05d}, namespace: team-{team:02d}}}
spec:
  hosts: [service-{number:05d}]
  http:
  - match: [{{uri: {{prefix: /api}}}}]
    route: [{{destination: {{host: service-{number:05d}, subset: v1}}}}]
    retries: {{attempts: 3, perTryTimeout: 2s}}
  - route: [{{destination: {{host: service-{number:05d}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: service-{number:05d}, namespace: team-{team:02d}}}
spec:
  host: service-{number:05d}
  trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 5}}}}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: external-{number:05d}, namespace: team-{team:02d}}}
spec:
  hosts: [external-{number:05d}.example.com]
  ports: [{{number: 443, name: tls, protocol: TLS}}]
  resolution: DNS
  exportTo: ["{export}"]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gateway-{number:05d}, namespace: team-{team:02d}}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [service-{number:05d}.example.com]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: service-{number:05d}, namespace: team-{team:02d}}}
spec:
  selector: {{matchLabels: {{app: service-{number:05d}}}}}
  rules: [{{from: [{{source: {{namespaces: [team-{team:02d}]}}}}]}}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: service-{number:05d}, namespace: team-{team:02d}}}
spec: {{selector: {{matchLabels: {{app: service-{number:05d}}}}}, metrics: []}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: service-{number:05d}, namespace: team-{team:02d}}}
spec: {{workloadSelector: {{labels: {{app: service-{number:05d}}}}}, egress: [{{hosts: ["./*"]}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: service-{number:05d}, namespace: team-{team:02d}}}
spec:
  template:
    metadata: {{labels: {{app: service-{number:05d}, sidecar.istio.io/inject: "true"}}}}
    spec: {{containers: []}}
"""


def generate(count: int) -> str:
    """``count`` resources as one multi-document text."""
    return "---\n".join(
        DOCUMENTS.format(
            number=number, team=number % 50, high=number >> 8, low=number & 255, export="*" if number % 2 else "."
        )
        for number in range(max(count // KINDS, 1))
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; ``--child`` is how it calls itself."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given[:1] == ["--child"]:
        print(json.dumps(_child(given[1])))
        return
    options = arguments(__doc__ or "", rounds=3, calls=10_000, argv=argv)
    sizes = (options.calls // 10, options.calls)
    with tempfile.TemporaryDirectory() as directory:
        variants: dict[str, SelfTimed] = {}
        for name, size in (("a tenth", sizes[0]), ("a tenth again", sizes[0]), ("all", sizes[1])):
            file = Path(directory, f"{size}.yaml")
            file.write_text(generate(size), encoding="utf-8")
            variants[name] = _timed(file)
        comparison = compare_processes(
            "analyze", variants, rounds=options.rounds, unit=Unit.SECONDS, again="a tenth again"
        )
    emit(comparison)
    noise = abs(comparison.ratio("a tenth again").value - 1)
    emit_figure("analyze by resources", comparison.ratio("all"), "×", noise=noise)


def _timed(file: Path) -> SelfTimed:
    def run() -> tuple[float, float]:
        command = [sys.executable, "-m", "benchmarks.analyze", "--child", str(file)]
        answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
        wall, cpu = json.loads(answer.stdout)
        return wall, cpu

    return run


def _child(file: str) -> tuple[float, float]:
    from meshlib import check

    text = Path(file).read_text(encoding="utf-8")
    check(generate(KINDS))  # imports, lazy tables
    wall, cpu = time.perf_counter(), time.process_time()
    check(text)
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
