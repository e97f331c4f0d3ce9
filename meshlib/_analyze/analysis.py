"""One analysis: read, judge each object, then what is between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from meshlib._analyze.hazards import find_hazards
from meshlib._analyze.hazards.scene import HazardSettings, Scene
from meshlib._analyze.messages import MESSAGES, render
from meshlib._analyze.registry import ANALYZERS
from meshlib._analyze.report import Reporter
from meshlib._analyze.suppression import Suppression, is_annotated
from meshlib._analyze.view import Node, View, view_of
from meshlib._config.decode import located
from meshlib._config.document import Document
from meshlib._config.header import Known, identify
from meshlib._config.lenient import UnreadableError, judge_leniently
from meshlib._config.lenient_words import istios_words
from meshlib._config.load import ConfigSet, Progress, Text, load, no_collection
from meshlib._config.metadata import read_metadata
from meshlib._config.written import dotted
from meshlib.diagnostics import Finding
from meshlib.model.kinds import Kind
from meshlib.model.mesh_config import MeshConfig

__all__ = ["Analysis", "analyze"]

_UNREADABLE: Final = frozenset({"MESH020", "MESH021", "MESH022"})
"""What Istio cannot even decode, it does not analyze."""

_SCHEMA: Final = frozenset(f"MESH{number:03}" for number in range(23, 29))
"""What the API server refuses, without Istio's own code having a say."""

_WEBHOOK: Final = frozenset(f"MESH{number:03}" for number in range(70, 85))
_WEBHOOK_WARNING: Final = "MESH085"


@dataclass(frozen=True, slots=True)
class Analysis:
    """What came of it: findings in the order of the files, how many were suppressed, and what was read."""

    findings: tuple[Finding, ...]
    suppressed: int
    config: ConfigSet

    def __repr__(self) -> str:
        return f"<Analysis findings={len(self.findings)} suppressed={self.suppressed} {self.config!r}>"


def analyze(
    texts: Iterable[Text],
    *,
    namespace: str = "",
    suppressions: Sequence[Suppression] = (),
    settings: HazardSettings | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Everything there is to say about a configuration; raises nothing for any content.

    Istio's messages have Istio's codes and words: what its admission webhook would refuse or
    warn of is ``IST0106`` or ``IST0133``. ``namespace`` is that of objects that name none
    (default: ``default``). As in ``istioctl analyze`` of files, an ingress
    gateway with the usual labels and ports is taken to be there. ``settings`` are those of
    the hazards that Istio does not look for.
    """
    with no_collection():  # and everything but the result is gone when it ends
        return _run(texts, namespace, suppressions, settings or HazardSettings(), progress)


def _run(
    texts: Iterable[Text],
    namespace: str,
    suppressions: Sequence[Suppression],
    settings: HazardSettings,
    progress: Progress | None,
) -> Analysis:
    reading = _Reading(namespace or "default")
    config = load(texts, default_namespace=namespace or "default", progress=progress, observe=reading.observe)
    mesh = _mesh_config(config)
    view = view_of([*_default_documents(mesh), *reading.documents], mesh, namespace)
    report = Reporter()
    for analyzer in ANALYZERS.values():
        analyzer(view, report)
    find_hazards(Scene(view, config.resources), settings, report)
    found = [*reading.told(config.findings), *(entry for _, entry in report.findings if entry.file)]
    kept = list(_wanted(found, view, suppressions))
    order = {name: number for number, name in enumerate(dict.fromkeys(entry.file for entry in found))}
    kept.sort(key=lambda entry: (order[entry.file], entry.line, entry.column, entry.code))
    return Analysis(tuple(kept), len(found) - len(kept), config)


class _Reading:
    """What Istio would read of each object, and say of it although the schema refuses it.

    It knows nothing of an object that a later definition replaces: what is wrong there is said in our words.
    """

    def __init__(self, namespace: str) -> None:
        self.documents: list[Document] = []
        self._more: list[Finding] = []
        self._replaced: dict[int, Finding] = {}
        self._in_our_words: set[int] = set()
        self._repeated: set[int] = set()
        self._latest: dict[str, list[Finding]] = {}
        self._namespace = namespace

    def told(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """The findings of reading, in Istio's words where its code says the same, and what its code says besides."""
        told: set[tuple[str, str, str]] = set()
        for entry in (*findings, *self._more):
            if _is_about_order(entry) or id(entry) in self._repeated:
                continue
            if id(entry) in self._in_our_words:
                yield entry
                continue
            translated = _in_istios_words(self._replaced.get(id(entry), entry))
            key = (translated.code, translated.resource, translated.message)
            # Of the same message about one object Istio tells the first.
            is_told = key in told and translated.code.startswith("IST")
            told.add(key)
            yield entry if is_told else translated

    def observe(self, document: Document, found: list[Finding]) -> None:
        refused = [entry for entry in found if entry.code in _SCHEMA]
        more: list[Finding] = []
        if any(entry.code in _UNREADABLE for entry in found):
            self._tell_as_ours(found)
            return
        if refused and isinstance(document.value, dict):
            header = identify(document.value)
            if isinstance(header, Known) and header.kind.treatment in ("applied", "modelled"):
                try:
                    more = self._judge(document, header.kind, refused)
                except UnreadableError:
                    self._tell_as_ours(found)
                    return
                self._repeated.update(id(entry) for entry in found if entry.code in _WEBHOOK)
        self.documents.append(document)
        self._more += more
        self._supersede(self._label(document), found + more)

    def _tell_as_ours(self, found: list[Finding]) -> None:
        """Istio, which cannot read the object, says nothing of it: what our rules say must not look like it."""
        self._in_our_words.update(map(id, found))

    def _supersede(self, label: str, told: list[Finding]) -> None:
        if label and (label in self._latest or told):
            self._in_our_words.update(map(id, self._latest.pop(label, ())))
            self._latest[label] = told

    def _label(self, document: Document) -> str:
        """Kind, namespace and name; empty for what has no name, which nothing replaces."""
        top = Node(document.value, ())
        metadata = top.node("metadata")
        name = metadata.text("name")
        return f"{top.text('kind')} {metadata.text('namespace') or self._namespace}/{name}" if name else ""

    def _judge(self, document: Document, kind: Kind, refused: list[Finding]) -> list[Finding]:
        metadata, problems = read_metadata(document.value.get("metadata"), kind.name)
        if problems:
            raise UnreadableError(dotted(problems[0].path))
        for entry in refused:
            if entry.field.startswith("status.") and entry.field.endswith("Time"):
                raise UnreadableError(entry.field)
        if not metadata.namespace and kind.namespaced:
            metadata = msgspec.structs.replace(metadata, namespace=self._namespace)
        found = judge_leniently(kind, document.value.get("spec", {}), metadata)
        said = {_beginning(problem.message) for problem in found}
        for entry in refused:
            words = istios_words(kind.name, entry)
            if words and _beginning(words) not in said:
                self._replaced[id(entry)] = replace(entry, code="MESH079", message=words)
        label = refused[0].resource
        return [located(problem, document, label) for problem in found]


def _beginning(text: str) -> tuple[str, ...]:
    return tuple(text.split()[:3])


def _mesh_config(config: ConfigSet) -> MeshConfig:
    """The last one counts, as when it is loaded."""
    found = MeshConfig()
    for resource in config.resources:
        if isinstance(resource.spec, MeshConfig):
            found = resource.spec
    return found


def _is_about_order(entry: Finding) -> bool:
    """Whether a warning is about a rule that is not reached: that is analyzed here, with codes of its own."""
    return entry.code == _WEBHOOK_WARNING and entry.message.startswith("virtualService rule ")


def _in_istios_words(entry: Finding) -> Finding:
    """What Istio's admission webhook says has a code of its own in Istio's analysis."""
    code = "IST0106" if entry.code in _WEBHOOK else "IST0133" if entry.code == _WEBHOOK_WARNING else ""
    return replace(entry, code=code, message=render(MESSAGES[code], entry.message)) if code else entry


def _wanted(findings: Iterable[Finding], view: View, suppressions: Sequence[Suppression]) -> Iterator[Finding]:
    annotated = {str(item): item.annotations for item in view.items() if item.annotations}
    for entry in findings:
        if is_annotated(entry.code, annotated.get(entry.resource, {})):
            continue
        if not any(suppression.covers(entry) for suppression in suppressions):
            yield entry


def _default_documents(mesh: MeshConfig) -> Iterator[Document]:
    """The ingress gateway that Istio's analysis of files takes for granted, unless there shall be none."""
    if mesh.ingress_controller_mode == "OFF":
        return
    name = mesh.ingress_service or "istio-ingressgateway"
    ports = [
        {"name": name_, "port": port, "protocol": "TCP", "targetPort": port}
        for name_, port in (("http2", 80), ("https", 443), ("tcp", 31400), ("tls", 15443))
    ]
    pod: dict[str, Any] = {"labels": {"istio": "ingressgateway"}, "name": f"{name}-dummypod"}
    spec: dict[str, Any] = {"containers": [{"name": "istio-proxy"}]}
    yield _made("Pod", pod, spec)
    yield _made("Service", {"name": name}, {"ports": ports, "selector": {"istio": "ingressgateway"}})


def _made(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> Document:
    metadata = {"namespace": "istio-system", **metadata}
    return Document({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}, None, "")
