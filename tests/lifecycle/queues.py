"""A queue of Celery that needs no server: messages and results are files in a folder."""

from __future__ import annotations

from pathlib import Path

from celery import Celery

__all__ = ["queue"]


def queue(folder: Path) -> Celery:
    """The application of those who send tasks, and of the worker that runs them."""
    for part in ("messages", "control", "results"):
        (folder / part).mkdir(exist_ok=True)
    app = Celery("tasks", broker="filesystem://localhost//", backend=(folder / "results").as_uri())
    app.conf.broker_transport_options = {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.02,
    }
    app.conf.broker_connection_retry_on_startup = True
    return app
