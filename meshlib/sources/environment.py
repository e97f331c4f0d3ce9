"""Who this process is, from what Kubernetes and Istio put into its environment.

In order of precedence:

=============== =====================================================================
namespace       ``POD_NAMESPACE``, ``ISTIO_META_NAMESPACE``, the service-account mount
name            ``POD_NAME``, ``ISTIO_META_WORKLOAD_NAME``
service account ``SERVICE_ACCOUNT``, ``ISTIO_META_SERVICE_ACCOUNT``, the mounted token
labels          the downward-API file over ``ISTIO_METAJSON_LABELS``
cluster         ``ISTIO_META_CLUSTER_ID``
network         ``ISTIO_META_NETWORK``, label ``topology.istio.io/network``
locality        label ``istio-locality``, else the topology labels
trust domain    ``TRUST_DOMAIN``
address         ``INSTANCE_IP``, ``POD_IP``
=============== =====================================================================

What is not there has the default of :class:`Workload`. What is there and cannot be
read is an error: with wrong labels, security rules would silently not apply.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshlib.errors import SourceError
from meshlib.workload import Workload

__all__ = ["workload_from_environment"]

_LABEL_FILES = ("etc/podinfo/labels", "etc/istio/pod/labels")
_ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"
_LABEL = re.compile(r'([^=\s"]+)="((?:[^"\\]|\\.)*)"')
_MAX = 1 << 20


def workload_from_environment(environ: Mapping[str, str], *, root: Path = Path("/")) -> Workload:
    """The workload that ``environ`` and the files below ``root`` describe.

    Raises :class:`meshlib.errors.SourceError` for labels that are there but cannot be read.
    """
    labels = {**_labels_of_environment(environ), **_labels_of_files(root)}
    account = root / _ACCOUNT
    known: dict[str, Any] = {
        "namespace": _first(environ, "POD_NAMESPACE", "ISTIO_META_NAMESPACE") or _text(account / "namespace"),
        "name": _first(environ, "POD_NAME", "ISTIO_META_WORKLOAD_NAME"),
        "service_account": _first(environ, "SERVICE_ACCOUNT", "ISTIO_META_SERVICE_ACCOUNT")
        or _account_of_token(_text(account / "token")),
        "cluster": _first(environ, "ISTIO_META_CLUSTER_ID"),
        "network": _first(environ, "ISTIO_META_NETWORK") or labels.get("topology.istio.io/network", ""),
        "locality": _locality(labels),
        "trust_domain": _first(environ, "TRUST_DOMAIN"),
        "address": _first(environ, "INSTANCE_IP", "POD_IP"),
    }
    return Workload(labels=labels, **{field: value for field, value in known.items() if value})


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((value for name in names if (value := environ.get(name, "").strip())), "")


def _text(path: Path) -> str:
    """The text of a small file; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _labels_of_environment(environ: Mapping[str, str]) -> dict[str, str]:
    name = "ISTIO_METAJSON_LABELS"
    text = _first(environ, name)
    if not text:
        return {}
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise SourceError(name, "is no JSON object of strings", 'write it like {"app": "web"}, or unset it')
    return labels


def _labels_of_files(root: Path) -> dict[str, str]:
    """The labels as the downward API writes them: a line ``key="value"`` for each."""
    for name in _LABEL_FILES:
        path = root / name
        try:
            with path.open("rb") as file:
                text = file.read(_MAX).decode()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(str(path), f"the labels cannot be read: {error}", "correct the volume mount") from error
        return dict(_label(line, path) for line in text.splitlines() if line.strip())
    return {}


def _label(line: str, path: Path) -> tuple[str, str]:
    match = _LABEL.fullmatch(line.strip())
    if match is None:
        raise SourceError(str(path), f"the line {line!r} is no label", 'write each line like app="web"')
    key, value = match.groups()
    if "\\" in value:
        try:
            return key, str(json.loads(f'"{value}"'))
        except ValueError as error:
            raise SourceError(str(path), f"the line {line!r} is no label", 'write each line like app="web"') from error
    return key, value


def _locality(labels: Mapping[str, str]) -> str:
    """``region/zone/subzone``; the label ``istio-locality`` has dots, because labels cannot have slashes."""
    if locality := labels.get("istio-locality", ""):
        return locality if "/" in locality else locality.replace(".", "/")
    names = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
    return "/".join(labels.get(name, "") for name in names).rstrip("/")


def _account_of_token(token: str) -> str:
    """The service account that the mounted token was issued for.

    The token is our own, handed to us by the kubelet, so its signature need not be
    checked to learn who we are; it never leaves this function.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return ""
    subject = claims.get("sub") if isinstance(claims, dict) else None
    match = re.fullmatch(r"system:serviceaccount:[^:]+:([^:]+)", subject) if isinstance(subject, str) else None
    return match[1] if match else ""
