"""Our finding codes: what each one means and what to do about it.

Codes are never reused. Istio's own codes (``IST0101`` …) are not listed here.
Ranges: 001–019 reading a text, 020–049 decoding a resource, 050–059 sources,
060–069 compiling, 070–089 Istio's own rules, 090–099 security, 120–124 calling,
125–129 telemetry, 135–189 hazards, 190–199 entering by a gateway.
"""

from __future__ import annotations

from meshlib._config.code_info import CodeInfo, row
from meshlib._config.hazard_codes import HAZARD_CODES
from meshlib._config.istio_codes import ISTIO_CODES
from meshlib.diagnostics import Finding, Level

__all__ = ["CODES", "CodeInfo", "finding"]


_READING: dict[str, CodeInfo] = {
    "MESH001": row(
        "error",
        "not YAML",
        "The text breaks the syntax of YAML at this place.",
        "correct the syntax; the rest of this document was not read",
    ),
    "MESH002": row(
        "error",
        "not UTF-8",
        "The text is not valid UTF-8 (or UTF-16 with a byte order mark).",
        "save the file as UTF-8",
    ),
    "MESH003": row(
        "error",
        "forbidden character",
        "The text holds a character that YAML does not allow, such as NUL or another control character.",
        "remove the character, or write it as an escape in double quotes",
    ),
    "MESH004": row(
        "error",
        "duplicate key",
        "A mapping has the same key twice; other readers would silently keep one of them.",
        "remove or rename one of the two keys",
    ),
    "MESH005": row(
        "error",
        "unknown alias",
        "An alias (*name) has no anchor (&name) before it in the same document.",
        "define the anchor before its use, or quote the text if no alias is meant",
    ),
    "MESH006": row(
        "error",
        "merge of something else than a mapping",
        "A merge key (<<) takes a mapping, an alias of one, or a list of them.",
        "give the merge key a mapping, or quote the key",
    ),
    "MESH007": row(
        "error",
        "nested too deeply",
        "Mappings and lists are nested deeper than any resource needs.",
        "flatten the document",
    ),
    "MESH008": row(
        "error",
        "alias expansion too large",
        "Following the aliases of this document would make it grow out of proportion.",
        "write the repeated parts out, or use fewer aliases of aliases",
    ),
    "MESH009": row(
        "error",
        "text too large",
        "The text is larger than the reader accepts.",
        "split the text into several files",
        without_example="it would be larger than 64 MiB",
    ),
    "MESH010": row(
        "error",
        "tag not supported",
        "Only the tags of YAML's core schema (!!str, !!int, !!float, !!bool, !!null, !!map, !!seq) are read.",
        "remove the tag",
    ),
    "MESH011": row(
        "error",
        "value does not fit its tag",
        "The value cannot be read as the type its tag asks for.",
        "correct the value or remove the tag",
    ),
    "MESH012": row(
        "error",
        "number without a JSON form",
        "Infinity and NaN have no JSON form; Kubernetes refuses them.",
        "write a finite number, or quote the value if text is meant",
    ),
    "MESH013": row(
        "error",
        "unsupported key",
        "A key must be a string, a number or a boolean, as Kubernetes reads it.",
        "write a plain key",
    ),
    "MESH014": row(
        "error",
        "not a resource",
        "A document or list item is not a mapping, so it is no resource.",
        "give the document the fields apiVersion, kind, metadata and spec",
    ),
    "MESH015": row(
        "error",
        "reading stopped",
        "The text has more documents or more findings than the reader goes through.",
        "correct the findings shown, or split the text into several files",
        without_example="it would have 200,000 documents or 1,000 mistakes",
    ),
    "MESH016": row(
        "warning",
        "text after the end of a document",
        "Text that stands behind a complete document is ignored, as Kubernetes does.",
        "remove the text, or begin a new document with a line '---'",
    ),
}

_DECODING: dict[str, CodeInfo] = {
    "MESH020": row(
        "error",
        "not recognised",
        "A document has no apiVersion or no kind, so nobody can tell what it is.",
        "add apiVersion and kind",
    ),
    "MESH021": row(
        "error",
        "unknown version",
        "The group of this kind is not served in this version.",
        "write one of the served versions",
    ),
    "MESH022": row(
        "error",
        "kind and group do not fit",
        "The kind does not exist in this API group.",
        "correct apiVersion or kind",
    ),
    "MESH023": row(
        "error",
        "unknown field",
        "The field does not exist at this place; Istio would refuse it too.",
        "correct the name, or remove the field",
    ),
    "MESH024": row(
        "error",
        "wrong type",
        "The value is of another type than the field takes; texts and numbers are not interchangeable.",
        "write a value of the expected type",
    ),
    "MESH025": row(
        "error",
        "required field missing",
        "The object cannot do without this field.",
        "add the field",
    ),
    "MESH026": row(
        "error",
        "value not allowed",
        "The value is out of range, too long, or not of the form that the field takes.",
        "write a value that is allowed",
    ),
    "MESH027": row(
        "error",
        "not one of the choices",
        "The field takes one of a few constants; upper and lower case matter.",
        "write one of the choices",
    ),
    "MESH028": row(
        "error",
        "fields exclude each other",
        "Each field is right by itself, but together they make no sense.",
        "keep one of them",
    ),
    "MESH029": row(
        "info",
        "kind not used",
        "The document is of a kind that is not applied here; everything else is.",
        "nothing to do",
    ),
    "MESH030": row(
        "warning",
        "a field that Istio rejects",
        "The field is an extension of meshlib. It is honoured here, but Istio refuses the resource.",
        "write it where Istio has it, if the same files go to a cluster",
    ),
    "MESH031": row(
        "warning",
        "field not applied",
        "The field is understood, but has no effect here yet.",
        "remove it, or accept that it does nothing here",
    ),
    "MESH032": row(
        "warning",
        "mesh configuration under another key",
        "Istio reads the mesh configuration from the key mesh of the ConfigMap istio.",
        "rename the key to mesh",
    ),
    "MESH033": row(
        "warning",
        "no name",
        "The object has no metadata.name; the API server refuses it.",
        "add metadata.name",
    ),
    "MESH034": row(
        "warning",
        "defined twice",
        "The same object is defined at two places; as in a cluster, the later one wins.",
        "remove or rename one of the two",
    ),
    "MESH035": row(
        "warning",
        "Kubernetes object not understood",
        "The object does not have the shape that Kubernetes gives it, so it is left out.",
        "compare it with the Kubernetes API",
    ),
    "MESH036": row(
        "error",
        "too many errors",
        "The document has more errors than are worth listing.",
        "correct the first ones and try again",
        without_example="it would have more than 200 mistakes in one document",
    ),
    "MESH037": row(
        "warning",
        "field without effect, in Istio too",
        "Istio takes the field and passes it over, and so does meshlib.",
        "remove it, or use what its message names",
    ),
}

_COMPILING: dict[str, CodeInfo] = {
    "MESH060": row(
        "info",
        "endpoints not known",
        "No EndpointSlice, Endpoints or Pod of the configuration tells the endpoints of this Service.",
        "none needed inside the cluster; elsewhere add the EndpointSlice, or a ServiceEntry for the host",
    ),
    "MESH061": row(
        "warning",
        "regular expression not usable",
        "RE2 refuses the expression, or it needs RE2 and google-re2 is not installed; the rule is left out.",
        "correct the expression, or install proxyless-mesh[re2]",
    ),
    "MESH062": row(
        "warning",
        "header value not usable",
        "The value holds a format operator that is not supported here; the rule is left out.",
        "use %REQ(name)%, %START_TIME%, %PROTOCOL% or plain text; a percent sign is written %%",
    ),
    "MESH063": row(
        "warning",
        "rule without usable action",
        "Envoy could not be given this rule; it is left out.",
        "correct the rule as the message says",
    ),
    "MESH064": row(
        "warning",
        "fault not supported",
        "Istio knows this kind of fault but no data plane injects it; it is left out.",
        "use fixedDelay for a delay, httpStatus or grpcStatus for an abort",
    ),
    "MESH065": row(
        "info",
        "endpoints of a subset not known",
        "Nothing in the configuration tells which endpoints carry the labels of the subset, so it is empty (503 UH).",
        "add the Pods or EndpointSlices of the Service, or a ServiceEntry with labelled endpoints",
    ),
    "MESH066": row(
        "warning",
        "credential that a sidecar would ignore",
        "Sidecars take credentialName only from a DestinationRule with a workloadSelector, and send plaintext else.",
        "add a workloadSelector, or use caCertificates and files, so that both do the same",
    ),
    "MESH068": row(
        "warning",
        "no PROXY header from HTTP clients",
        "The destination expects a PROXY header, which HTTP client libraries cannot send; it will not understand them.",
        "remove proxyProtocol, or connect with mesh.open_connection",
    ),
    "MESH067": row(
        "warning",
        "destination not known",
        "A route leads to a host, port or subset that nothing in the configuration defines: Envoy answers 503 NC.",
        "add the Service or ServiceEntry of the host, the DestinationRule of the subset, or correct the name",
    ),
}

_CALLING: dict[str, CodeInfo] = {
    "MESH120": row(
        "warning",
        "credential of a client not known",
        "Nothing in the configuration holds the certificates that credentialName names; calls to the host are "
        "refused (503), never sent in plaintext.",
        "add the Secret (tls.crt, tls.key, ca.crt) to the namespace of this workload, or name files",
    ),
}

_ENTERING: dict[str, CodeInfo] = {
    "MESH190": row(
        "warning",
        "certificate of a gateway not known",
        "Nothing in the configuration holds the certificate that a server of a Gateway names; handshakes for its "
        "hosts fail.",
        "add the Secret (tls.crt, tls.key, ca.crt) to the namespace of the gateway workload, or name files",
    ),
    "MESH191": row(
        "warning",
        "server of a gateway not served",
        "`meshlib gateway` speaks HTTP, in plaintext or over TLS that ends here; this server is neither.",
        "leave this port to a proxy that forwards connections, or end TLS here (mode SIMPLE or MUTUAL)",
    ),
}

_PROTECTING: dict[str, CodeInfo] = {
    "MESH090": row(
        "warning",
        "condition not understood",
        "A value of an authorization rule has no meaning; it never lets a request through.",
        "correct the value as the message says",
    ),
    "MESH091": row(
        "warning",
        "authorizer cannot be asked",
        "The provider of a CUSTOM policy is not usable: every request that the policy matches is denied, as in Istio.",
        "define the provider in MeshConfig extensionProviders (envoyExtAuthzHttp) and its Service",
    ),
}

_TELLING: dict[str, CodeInfo] = {
    "MESH125": row(
        "warning",
        "expression or operator not supported",
        "A filter, tag or log format of a Telemetry resource uses what cannot be evaluated in a process.",
        "use attributes and operators that the message does not name",
    ),
    "MESH126": row(
        "warning",
        "telemetry provider without effect",
        "A Telemetry resource names a provider that is not defined, or that only a proxy can serve.",
        "define the provider in MeshConfig extensionProviders, or name prometheus, envoy or an OpenTelemetry one",
    ),
}

CODES: dict[str, CodeInfo] = {
    **_READING,
    **_DECODING,
    **_COMPILING,
    **_CALLING,
    **_ENTERING,
    **ISTIO_CODES,
    **_PROTECTING,
    **_TELLING,
    **HAZARD_CODES,
}
"""All our codes, by code."""


def finding(
    code: str,
    message: str,
    *,
    file: str = "",
    line: int = 0,
    column: int = 0,
    resource: str = "",
    field: str = "",
    hint: str = "",
    level: Level | None = None,
) -> Finding:
    """A finding of ``code`` with the table's level and remedy unless others are given."""
    info = CODES[code]
    return Finding(
        code=code,
        level=level or info.level,
        message=message,
        resource=resource,
        file=file,
        line=line,
        column=column,
        field=field,
        hint=hint or info.remedy,
    )
