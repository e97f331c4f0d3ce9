"""Gateway: its workload, ports, certificates and credentials.

Istio 1.31: analyzers/gateway (gateway, certificate, secret).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Final

from meshlib._analyze.gateway_routes import gateway_name
from meshlib._analyze.label_selectors import Services
from meshlib._analyze.report import Reporter, selector_text
from meshlib._analyze.view import Item, Node, Path, View

__all__ = ["analyze_certificates", "analyze_credentials", "analyze_ports"]

_RIVALS: Final = 100
"""Of one certificate at very many Gateways, each is told so many others: all would be the square."""

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s+(.+?)-----END \1-----", re.DOTALL)


def analyze_ports(view: View, report: Reporter) -> None:
    """Gateways without pods, and ports that no Service in front of the pods has."""
    services = Services(view.all("Service"))
    by_selector: dict[str, set[int] | None] = {}
    for item in view.all("Gateway"):
        selector = item.spec.labels("selector")
        text, at = selector_text(selector), selector_place(selector)
        if text not in by_selector:
            by_selector[text] = _service_ports(list(view.pods.matching(selector)), services)
        ports = by_selector[text]
        if ports is None:
            report.add("IST0101", item, "selector", text, at=at)
            continue
        for server in item.spec.items("servers"):
            number = server.node("port").number("number")
            if server.node("port") and number not in ports:
                report.add("IST0162", item, number, text, at=at, show=(*server.path, "port", "number"))


def selector_place(selector: Mapping[str, str]) -> Path:
    """The first label of a Gateway's selector, the line that Istio gives."""
    return ("spec", "selector", min(selector)) if selector else ("spec", "selector")


def _service_ports(pods: list[Item], services: Services) -> set[int] | None:
    """The ports of Services in front of the pods, and those that they lead to; None without pods."""
    if not pods:
        return None
    ports: set[int] = set()
    for namespace, is_placed, labels in {(pod.namespace, pod.is_placed, tuple(pod.labels.items())) for pod in pods}:
        for service in (*services.selecting(namespace, dict(labels)), *services.unselective(namespace)):
            # Who names no namespace goes wherever it is applied: perhaps to another one than who names default.
            for port in service.spec.items("ports") if service.is_placed == is_placed else ():
                ports.update(_ports_of(port))
    return ports


def _ports_of(port: Node) -> Iterator[int]:
    """A named target port counts as none, as in Istio; nor does a port count that says no protocol."""
    if port.text("protocol") != "TCP":
        return
    target = port.get("targetPort")
    number = int(target) if isinstance(target, int) or (isinstance(target, str) and target.isdigit()) else 0
    yield port.number("port")
    if number:
        yield number


def analyze_certificates(view: View, report: Reporter) -> None:
    """The same certificate at two Gateways of one workload: HTTP/2 clients reuse the connection, and get 404."""
    gateways = [(item, item.spec.labels("selector"), _certificates(item)) for item in view.all("Gateway")]
    holders: dict[tuple[str, ...], list[int]] = {}
    for index, (_, _, certificates) in enumerate(gateways):
        for certificate in dict.fromkeys(certificates):
            holders.setdefault(certificate, []).append(index)
    for index, (item, selector, certificates) in enumerate(gateways):
        rivals = sorted({other for certificate in certificates for other in holders[certificate][:_RIVALS]} - {index})
        for other in rivals:
            rival, others, _ = gateways[other]
            if selector.items() <= others.items():
                names = [item.full_name, rival.full_name]
                report.add("IST0138", item, names, at=("metadata", "name"))


def _certificates(item: Item) -> list[tuple[str, ...]]:
    """What identifies the certificate of each server: its credential, or its two files."""
    found: list[tuple[str, ...]] = []
    for server in item.spec.items("servers"):
        tls = server.node("tls")
        name, certificate, key = (tls.text(field) for field in ("credentialName", "serverCertificate", "privateKey"))
        if name:
            found.append((name,))
        elif certificate and key:
            found.append((certificate, key))
    return found


def analyze_credentials(view: View, report: Reporter) -> None:
    """Credentials that are missing, or that hold no valid certificate."""
    for item in view.all("Gateway"):
        selector = item.spec.labels("selector")
        # The first pod decides, the one that is taken to be there is the last. As in istioctl analyze of all
        # namespaces: a pod whose namespace nobody said is taken for missing here, and only here.
        pod = min(view.pods.matching(selector), key=lambda pod: not pod.document.file, default=None)
        if pod is None or not pod.is_placed:
            report.add("IST0101", item, "selector", selector_text(selector), at=selector_place(selector))
            continue
        for server in item.spec.items("servers"):
            name = server.node("tls").text("credentialName")
            if not name:
                continue
            at = (*server.path, "tls", "credentialName")
            secret = view.find("Secret", gateway_name(name, pod.namespace))
            if secret is None or not _is_readable(secret):
                report.add("IST0101", item, "credentialName", name, at=at)
            elif not _is_valid(secret):
                report.add("IST0161", item, item.name, pod.namespace, at=at)


def _is_readable(secret: Item) -> bool:
    """Whether all of it is base64: Istio does not read a Secret of which one value is not."""
    return all(_decoded(text) or not text for text in secret.top.labels("data").values())


def _is_valid(secret: Item) -> bool:
    """Whether the certificate that Istio would take can be read. Whether it has expired depends on the day."""
    data = secret.top.node("data")
    for certificate, key in (("cert", "key"), ("tls.crt", "tls.key")):
        texts = [_decoded(data.text(certificate)), _decoded(data.text(key))]
        if all(texts):
            return _is_certificate(texts[0])
    return False


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        return b""


def _is_certificate(text: bytes) -> bool:
    """The first block of PEM, whatever it calls itself, must hold certificates that are valid now."""
    block = _PEM.search(text)
    if block is None:
        return False
    from datetime import UTC, datetime

    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(block[2]))
    except ValueError:
        return False
    return certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc
