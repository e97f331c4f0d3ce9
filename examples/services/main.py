"""FastAPI and Flask call each other through the mesh, behind a gateway. Run: python main.py"""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ratings
import requests
import uvicorn
import web
from werkzeug.serving import make_server

from meshlib import Mesh, Workload
from meshlib.adapters.gateway import MeshGateway
from meshlib.events import RetryScheduled

HERE = Path(__file__).parent


@contextmanager
def serve_asgi(app: Any, listening: socket.socket) -> Iterator[None]:
    """A real uvicorn in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, date_header=False))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def serve_wsgi(app: Any, listening: socket.socket) -> Iterator[None]:
    """A real werkzeug server in a thread."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, app, threaded=True, fd=listening.fileno())
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def service_entry(name: str, versions: dict[socket.socket, str]) -> dict[str, object]:
    """Where a service is: normally one more YAML file, here with the ports of the moment."""
    endpoints = [
        {"address": "127.0.0.1", "ports": {"http": listening.getsockname()[1]}, "labels": {"version": version}}
        for listening, version in versions.items()
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "hosts": [f"{name}.shop.svc.cluster.local"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "location": "MESH_INTERNAL",
            "endpoints": endpoints,
        },
    }


def ask(front: str) -> None:
    """What a customer sees."""
    first = requests.get(f"{front}/", timeout=60)
    print(
        f"GET / was sent on to {first.url.removeprefix(front)}: {first.json()['name']}, {first.json()['stars']} stars"
    )
    answers = [requests.get(f"{front}/products/{1 + number % 2}", timeout=60).json() for number in range(20)]
    print(f"20 pages: {dict(sorted(Counter(answer['name'] for answer in answers).items()))}")
    agree = all({answer["request"]} == set(answer["seen by"]) for answer in answers)
    print(f"web, ratings and web again saw one request id for each page: {agree}")
    beta = [requests.get(f"{front}/products/1", headers={"x-beta": "yes"}, timeout=60).json() for _ in range(5)]
    print(f"beta users: {dict(Counter(answer['version'] for answer in beta))}")


def main() -> None:
    """Start a gateway, the shop and three servers of ratings, one of which is broken; then ask."""
    with ExitStack() as running:
        sockets = [running.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]
        front, page, healthy, broken, beta = sockets
        config = [
            HERE / "mesh.yaml",
            service_entry("web", {page: "v1"}),
            service_entry("ratings", {healthy: "v1", broken: "v1", beta: "v2"}),
        ]

        def mesh(app: str, **own: Any) -> Mesh:
            return Mesh.load(config, workload=Workload(namespace="shop", labels={"app": app}, **own))

        ingress = Workload(namespace="shop", labels={"istio": "ingressgateway"}, gateway=True)
        shop, stars, retries = mesh("web"), mesh("ratings"), Counter[str]()
        shop.observe(lambda _: retries.update(["ratings"]), RetryScheduled)
        running.enter_context(serve_wsgi(ratings.make_app(stars, "v1"), healthy))
        running.enter_context(serve_wsgi(ratings.make_app(stars, "v1", flaky=True), broken))
        running.enter_context(serve_wsgi(ratings.make_app(stars, "v2"), beta))
        running.enter_context(serve_asgi(web.make_app(shop), page))
        running.enter_context(serve_asgi(MeshGateway(Mesh.load(config, workload=ingress)), front))

        ask(f"http://127.0.0.1:{front.getsockname()[1]}")
        print(f"one server of ratings answers nothing but 503: {retries['ratings']} retries, and no page failed")
        denied = requests.delete(f"http://127.0.0.1:{healthy.getsockname()[1]}/ratings/1", timeout=60)
        print(f"DELETE at ratings itself: {denied.status_code} {denied.text}")


if __name__ == "__main__":
    main()
