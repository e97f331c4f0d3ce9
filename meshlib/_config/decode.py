"""From a document to a typed resource, with every error found.

The usual document is right: msgspec converts it in C, and that is all. Where it
refuses, :mod:`meshlib._config.check` walks the value once more and finds every reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from meshlib._config.check import Path, Problem, check
from meshlib._config.codes import finding
from meshlib._config.document import Document
from meshlib._config.header import Foreign, Known, Mistake, identify
from meshlib._config.lenient import UnreadableError, judge_leniently
from meshlib._config.mesh_text import (
    Located,
    embedded_mesh_config,
    is_mesh_config,
    mesh_key,
    usual_form,
    without_header,
)
from meshlib._config.metadata import read_metadata
from meshlib._config.refusals import refusal, void
from meshlib._config.rules import judge
from meshlib._config.suggest import field_hint
from meshlib._config.written import dotted, refused_in
from meshlib.diagnostics import Finding
from meshlib.model.base import Spec
from meshlib.model.hooks import decode_hook
from meshlib.model.kinds import KINDS, Kind, spec_class
from meshlib.model.object_status import ObjectStatus
from meshlib.model.resource import NO_LINES, Metadata, Resource, RuleLines, Skipped
from meshlib.model.shapes import shape_of

if TYPE_CHECKING:
    # At run time the models of a kind are imported when its first object is met.
    from meshlib.model.destination_rule import DestinationRuleSpec, TrafficPolicy

__all__ = ["decode", "located"]

_ISTIO_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_USUAL: Final = frozenset(_ISTIO_FIELDS)
_MAX_PROBLEMS: Final = 200
_UNREADABLE_PARTS: Final = frozenset({"MESH024", "MESH026", "MESH027"})
_MESH: Final = KINDS["", "MeshConfig"]


def decode(
    document: Document, findings: list[Finding], default_namespace: str = "default"
) -> Resource | Skipped | None:
    """The resource in ``document``; Skipped for a kind that is not used; None if it has an error.

    Findings are appended with file, line and field. An object without namespace gets
    ``default_namespace``, unless its kind has none.
    """
    decoding = _Decoding(document, findings, default_namespace)
    try:
        return decoding.run()
    except UnicodeEncodeError:  # only values that were never text can hold half a character
        decoding.note_half_character()
        return None


class _Decoding:
    """One document being decoded."""

    __slots__ = ("document", "findings", "label", "namespace")

    def __init__(self, document: Document, findings: list[Finding], namespace: str) -> None:
        self.document: Located = document
        self.findings = findings
        self.namespace = namespace
        self.label = ""

    def run(self) -> Resource | Skipped | None:
        value = self.document.value
        if not isinstance(value, dict):
            self._note(Problem("MESH020", (), "expected a resource: a mapping with apiVersion and kind"))
            return None
        if is_mesh_config(value):
            return self._mesh_document(value)
        header = identify(value)
        metadata, problems = self._metadata(value, header.kind if isinstance(header, Known) else None)
        match header:
            case Known(kind, version):
                return self._known(kind, version, metadata, problems)
            case Mistake(code, field, message, hint):
                self._note(Problem(code, (field,), message, hint))
                return None
            case Foreign(reason):
                return self._skip(value["kind"], metadata, reason)

    def _metadata(self, value: Mapping[str, Any], kind: Kind | None) -> tuple[Metadata, list[Problem]]:
        name = value.get("kind")
        shown = name if isinstance(name, str) else ""
        metadata, problems = read_metadata(value.get("metadata"), shown)
        if not metadata.namespace and (kind is None or kind.namespaced):
            metadata = msgspec.structs.replace(metadata, namespace=self.namespace)
        self.label = f"{shown} {metadata.namespace}/{metadata.name}" if shown else ""
        return metadata, problems

    def _known(
        self, kind: Kind, version: str, metadata: Metadata, problems: list[Problem]
    ) -> Resource | Skipped | None:
        if kind.treatment == "discovery":
            return self._discovered(kind, version, metadata, problems)
        value = self.document.value
        if not value.keys() <= _USUAL or "status" in value:
            problems += _envelope_problems(value, kind)
        # The API server takes an object without spec; whether its kind can do without is for the struct to say.
        raw = value.get("spec", {})
        spec = self._convert(raw, spec_class(kind), ("spec",), kind.name, problems)
        return self._resource(kind, version, metadata, spec, raw, problems)

    def _resource(
        self, kind: Kind, version: str, metadata: Metadata, spec: Spec | None, raw: Any, problems: list[Problem]
    ) -> Resource | None:
        if spec is None or problems:
            for problem in problems:
                self._note(problem)
            if len(problems) >= _MAX_PROBLEMS:
                self._note(Problem("MESH036", (), f"more than {_MAX_PROBLEMS} errors; the rest is not listed"))
            elif kind.treatment != "discovery":
                for problem in _further(kind, raw, metadata, problems):
                    self._note(problem)
            return None
        if not metadata.name and kind.treatment != "mesh" and not self._is_named_later():
            self._note(Problem("MESH033", ("metadata",), "metadata.name is missing"))
        if not self._passes(kind, spec, metadata):
            return None
        resource = Resource(
            kind=kind.name,
            group=kind.group,
            version=version,
            metadata=metadata,
            spec=spec,
            file=self.document.file,
            line=self.document.line,
            rule_lines=self._rule_lines(spec),
        )
        self._remark(resource, raw)
        return resource

    def _passes(self, kind: Kind, spec: Spec, metadata: Metadata) -> bool:
        """Whether Istio's own rules accept the spec; what they only warn about does not matter."""
        count = len(self.findings)
        for problem in judge(kind.name, spec, metadata)[:_MAX_PROBLEMS]:
            self._note(problem)
        return all(found.level != "error" for found in self.findings[count:])

    def _convert(self, raw: Any, cls: type[Spec], path: Path, kind: str, problems: list[Problem]) -> Spec | None:
        """The typed spec, or None with every reason appended to ``problems``."""
        try:
            return msgspec.convert(raw, cls, dec_hook=decode_hook)
        except msgspec.ValidationError as error:
            found = check(raw, shape_of(cls), path, kind, limit=_MAX_PROBLEMS)
            problems += found or [Problem("MESH024", path, str(error))]
            return None

    def _discovered(
        self, kind: Kind, version: str, metadata: Metadata, problems: list[Problem]
    ) -> Resource | Skipped | None:
        """A Kubernetes object. It is not ours to judge: what cannot be understood is left out with a warning."""
        value = self.document.value
        if kind.name == "ConfigMap" and metadata.name == "istio" and mesh_key(value) is not None:
            return self._mesh_in_config_map(metadata, problems)
        cls = spec_class(kind)
        body = cls.FROM_BODY
        raw = value if body else value.get("spec") or {}
        spec = self._convert(raw, cls, () if body else ("spec",), kind.name, problems)
        if not problems:
            return self._resource(kind, version, metadata, spec, raw, problems)
        for problem in problems:
            self._note(problem._replace(code="MESH035"))
        return self._skip(kind.name, metadata, "not understood", noted=True)

    # -- mesh configuration ------------------------------------------------------------------------

    def _mesh_document(self, value: Mapping[str, Any]) -> Resource | None:
        metadata, problems = self._metadata(value, _MESH)
        self.label = "MeshConfig"
        return self._mesh(without_header(value), metadata, problems)

    def _mesh_in_config_map(self, metadata: Metadata, problems: list[Problem]) -> Resource | None:
        outer, self.label = self.document, f"MeshConfig {metadata.namespace}/{metadata.name}"
        embedded = embedded_mesh_config(outer, self.label, self.findings)
        if embedded is None:
            return None
        self.document = embedded
        return self._mesh(embedded.value, metadata, problems)

    def _mesh(self, raw: Any, metadata: Metadata, problems: list[Problem]) -> Resource | None:
        raw = usual_form(raw)
        spec = self._convert(raw, spec_class(_MESH), (), "MeshConfig", problems)
        return self._resource(_MESH, "", metadata, spec, raw, problems)

    # -- findings ----------------------------------------------------------------------------------

    def note_half_character(self) -> None:
        """Say that a text of the resource has no UTF-8 form."""
        self._note(Problem("MESH003", (), "a text of the resource holds half a character (a lone surrogate)"))

    def _rule_lines(self, spec: Spec) -> Mapping[str, tuple[int, ...]]:
        """The line of each rule; rules of a ConfigMap's text or of values without text have none."""
        if not spec.RULES:
            return NO_LINES
        locate, raw = self.document.locate, self.document.value.get("spec")
        lines: dict[str, list[int]] = {}
        for section in spec.RULES:
            if isinstance(raw, dict) and (rules := raw.get(section)):
                lines[section] = [locate(("spec", section, index))[0] for index in range(len(rules))]
        return RuleLines(lines) if lines else NO_LINES

    def _is_named_later(self) -> bool:
        metadata = self.document.value.get("metadata")
        return isinstance(metadata, dict) and bool(metadata.get("generateName"))

    def _skip(self, kind: str, metadata: Metadata, reason: str, *, noted: bool = False) -> Skipped:
        if not noted:
            self._note(Problem("MESH029", ("kind",), f"{kind} is skipped: {reason}"))
        return Skipped(
            kind=kind,
            name=metadata.name,
            namespace=metadata.namespace,
            file=self.document.file,
            line=self.document.line,
            reason=reason,
        )

    def _remark(self, resource: Resource, raw: Any) -> None:
        """Say what of a good resource has no effect, and what only meshlib takes."""
        for written in refused_in(raw, resource.kind):
            note, path = written.status.note, written.path
            place = self.document.locate_key(path)
            if written.status.is_void:
                self.findings.append(void(resource, dotted(path), note, place))
            else:
                self.findings.append(refusal(resource, dotted(path), note, "warning", place))
        if resource.kind == "DestinationRule":
            for path, remedy in extensions(cast("DestinationRuleSpec", resource.spec)):
                message = "Istio rejects this field; meshlib honours it as a default of routes to this host"
                self._note(Problem("MESH030", path, message, remedy, at_key=True))

    def _note(self, problem: Problem) -> None:
        self.findings.append(located(problem, self.document, self.label))


def located(problem: Problem, document: Located, label: str) -> Finding:
    """The problem as a finding about the resource ``label``, at its place in the document."""
    locate = document.locate_key if problem.at_key else document.locate
    line, column = locate(problem.path)
    return finding(
        problem.code,
        problem.message,
        file=document.file,
        line=line,
        column=column,
        resource=label,
        field=dotted(problem.path),
        hint=problem.hint,
    )


def _further(kind: Kind, raw: Any, metadata: Metadata, problems: list[Problem]) -> Iterator[Problem]:
    """What Istio's own rules refuse in the parts of an object that its schema does not."""
    root: Path = () if kind.treatment == "mesh" else ("spec",)
    wrong = [problem.path[len(root) :] for problem in problems if problem.code in _UNREADABLE_PARTS]
    try:
        found = judge_leniently(kind, _without(raw, wrong), metadata, root)
    except UnreadableError:
        return
    for problem in found:
        # A rule about the whole of what lacks a part, or has a part by a wrong name, would often say the same again.
        is_told = any(_holds(one.path, problem.path) or _holds(problem.path, one.path) for one in problems)
        if problem.code != "MESH085" and not is_told:
            yield problem


def _without(value: Any, paths: list[Path]) -> Any:
    """A value without the parts at some paths; items of lists become null, so that the others keep their places."""
    here = {path[0] for path in paths if len(path) == 1}
    if not paths:
        return value
    match value:
        case dict():
            return {
                name: _without(part, [path[1:] for path in paths if len(path) > 1 and path[0] == name])
                for name, part in value.items()
                if name not in here
            }
        case list():
            return [
                None
                if index in here
                else _without(part, [path[1:] for path in paths if len(path) > 1 and path[0] == index])
                for index, part in enumerate(value)
            ]
        case _:
            return value


def _holds(path: Path, other: Path) -> bool:
    return other[: len(path)] == path


def extensions(spec: DestinationRuleSpec) -> Iterator[tuple[Path, str]]:
    """Our own fields that a DestinationRule has written, and where Istio has them."""
    policies: list[tuple[Path, TrafficPolicy | None]] = [(("spec", "trafficPolicy"), spec.traffic_policy)]
    policies += [
        (("spec", "subsets", index, "trafficPolicy"), subset.traffic_policy)
        for index, subset in enumerate(spec.subsets)
        if subset.traffic_policy is not None
    ]
    for path, policy in policies:
        if policy is not None and policy.timeout is not None:
            yield (*path, "timeout"), "in a cluster, set http.timeout of a VirtualService"
        if policy is not None and policy.retry_policy is not None:
            yield (*path, "retryPolicy"), "in a cluster, set http.retries of a VirtualService"


def _envelope_problems(value: Mapping[str, Any], kind: Kind) -> Iterator[Problem]:
    """Fields beside ``spec`` that the API server does not know, and what it refuses in a status."""
    for name in value.keys() - _USUAL:
        hint = field_hint(str(name), _ISTIO_FIELDS, kind.name)
        yield Problem("MESH023", (name,), f'unknown field "{name}"', hint, at_key=True)
    if "status" in value:
        yield from check(value["status"], shape_of(ObjectStatus), ("status",), kind.name, limit=_MAX_PROBLEMS)
