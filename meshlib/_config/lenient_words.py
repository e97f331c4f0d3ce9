"""What the schema refuses and Istio's code refuses too, in the words of Istio's code.

Each row: the kind (empty: any), the place of our finding, how what it says begins (a
pattern), and what Istio says there. The rules of :mod:`meshlib._config.rules` need not repeat what
the schema has; Istio's analysis, which knows no schema, says it all the same.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from meshlib.diagnostics import Finding

__all__ = ["istios_words"]

_INDEX: Final = re.compile(r"\[\d+\]")
_RANGE: Final = "port number must be in the range 1..65535"
_CLAIM: Final = "outputClaimToHeaders header and claim value must be non-empty string"
_SHORT: Final = "expected at least 1 "
_URL: Final = "expected a URL "


class _Row(NamedTuple):
    kind: str
    place: re.Pattern[str]
    said: re.Pattern[str]
    istios: str


def _rows(*rows: tuple[str, str, str, str]) -> tuple[_Row, ...]:
    return tuple(_Row(kind, re.compile(place), re.compile(said), istios) for kind, place, said, istios in rows)


# fmt: off
_ROWS: Final = _rows(
    ("", r"spec\.targetRefs?(\[\])?", "required field name", "targetRef name must be set"),
    ("", r"spec\.targetRefs?(\[\])?\.name", _SHORT, "targetRef name must be set"),
    ("", r"spec\.targetRefs?(\[\])?\.namespace", "",
     "targetRef namespace must not be set; cross namespace referencing is not supported"),
    ("", r"spec\.selector", "only one of targetRefs", "only one of targetRefs or workloadSelector can be set"),
    ("", r"spec\.(selector|workloadSelector)\.(matchLabels|labels)\.", "the key",
     "empty key is not supported in selector"),
    ("", r"spec\.(selector|workloadSelector)\.(matchLabels|labels)\..*\*.*", "the key",
     "wildcard is not supported in selector"),
    ("", r"spec\.(selector|workloadSelector)\.(matchLabels|labels)\..*", r"expected a label value.*\*",
     "wildcard is not supported in selector"),
    ("Telemetry", r"spec\.tracing\[\]\.randomSamplingPercentage", "",
     "randomSamplingPercentage must be in range [0.0, 100.0]"),
    ("WorkloadGroup", r"spec\.probe\.\w+", "expected a number", "probe settings must be non-negative"),
    ("ServiceEntry", r"spec(\.hosts)?", "required field hosts", "service entry must have at least one host"),
    ("ServiceEntry", r"spec\.hosts", _SHORT, "service entry must have at least one host"),
    ("ServiceEntry", r"spec\.hosts", "hostname cannot", "invalid host *"),
    ("ServiceEntry", r"spec\.ports\[\]", "required field number", _RANGE),
    ("ServiceEntry", r"spec\.ports\[\]\.(number|targetPort)", "expected a number", _RANGE),
    ("ServiceEntry", r"spec\.ports", "port names must", "service entry port name already defined"),
    ("ServiceEntry", r"spec\.ports", "port number cannot", "service entry port already defined"),
    ("ServiceEntry", r"spec\.endpoints", "DNS_ROUND_ROBIN",
     "there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN"),
    ("ServiceEntry", r"spec\.endpoints", "NONE mode", "no endpoints should be provided for resolution type none"),
    ("ServiceEntry", r"spec\.addresses", "CIDR",
     "CIDR addresses are allowed only for NONE/STATIC resolution types"),
    ("ServiceEntry", r"spec\.endpoints\[\]\.ports", "UDS may", "unix endpoint must not include ports"),
    ("ServiceEntry", r"spec\.endpoints\[\]\.address", "UDS must", "address is not an absolute path to a file"),
    ("ServiceEntry", r"spec\.endpoints\[\]\.ports\..*", "expected a number", _RANGE),
    ("WorkloadEntry", r"spec\.ports", "UDS may", "unix endpoint must not include ports"),
    ("WorkloadEntry", r"spec\.address", "UDS must", "address is not an absolute path to a file"),
    ("WorkloadEntry", r"spec\.ports\..*", "the key", "invalid port name"),
    ("WorkloadEntry", r"spec\.ports\..*", "expected a number", _RANGE),
    ("WorkloadGroup", r"spec\.probe\.\w+", "required field port", _RANGE),
    ("WorkloadGroup", r"spec\.probe\.\w+\.port", "expected a number", _RANGE),
    ("WorkloadGroup", r"spec\.probe\.httpGet\.scheme", "", 'httpGet.scheme must be one of "HTTPS", "HTTP"'),
    ("PeerAuthentication", r"spec\.portLevelMtls", "portLevelMtls requires",
     "mesh/namespace peer authentication cannot have port level mTLS"),
    ("PeerAuthentication", r"spec\.portLevelMtls", _SHORT,
     "port level mTLS, if defined, must have at least one element"),
    ("PeerAuthentication", r"spec\.portLevelMtls\..*", "the key", "port must be in range 1..65535"),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.fromCookies\[\]", _SHORT, "cookie name must be non-empty string"),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.audiences\[\]", _SHORT, "audience must be non-empty string"),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.fromParams\[\]", _SHORT, "location query must be non-empty string"),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.fromHeaders\[\]", "required field name",
     "location header name must be non-empty string"),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.fromHeaders\[\]\.name", _SHORT,
     "location header name must be non-empty string"),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.outputClaimToHeaders\[\]", "required field", _CLAIM),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.outputClaimToHeaders\[\]\.\w+", _SHORT, _CLAIM),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.outputClaimToHeaders\[\]\.header", "expected a header",
     "header name is not a valid header name"),
    ("RequestAuthentication", r"spec\.jwtRules\[\]\.(jwksUri|jwks_uri)", r'expected an http or https URL, got "[^"]',
     "URI scheme is not supported"),
    ("Telemetry", r"spec\.\w+\[\]\.providers\[\](\.name)?", "", "providers.name may not be empty"),
    ("Telemetry", r"spec\.metrics\[\]\.overrides\[\]\.tagOverrides\..*\.value", "value must not be",
     "tagOverrides.value may only be set when operation is UPSERT"),
    ("Telemetry", r"spec\.metrics\[\]\.overrides\[\]\.tagOverrides\..*", "value must be set",
     "tagOverrides.value must be set when operation is UPSERT"),
    ("Telemetry", r"spec\.tracing\[\]\.customTags\..*\.environment(\.name)?", "",
     "environment tag name may not be empty"),
    ("Telemetry", r"spec\.tracing\[\]\.customTags\..*\.header(\.name)?", "", "header tag name may not be empty"),
    ("Telemetry", r"spec\.tracing\[\]\.customTags\..*\.literal(\.value)?", "", "literal tag value may not be empty"),
    ("Telemetry", r"spec\.metrics\[\]\.overrides\[\]\.match\.customMetric", _SHORT, "customMetric may not be empty"),
    ("ProxyConfig", r"spec\.concurrency", "expected a number", "concurrency must be greater than or equal to 0"),
    ("WasmPlugin", r"spec", "required field url", "url field needs to be set"),
    ("WasmPlugin", r"spec\.url", _URL, "url is not valid"),
    ("WasmPlugin", r"spec\.sha256", "", "sha256 field must be 64 characters long"),
    ("TrafficExtension", r"spec(\.wasm)?", "exactly one of", "exactly one of wasm or lua must be set"),
    ("TrafficExtension", r"spec\.wasm", "required field url", "url field needs to be set"),
    ("TrafficExtension", r"spec\.wasm\.url", _URL, "url is not valid"),
    ("TrafficExtension", r"spec\.wasm\.sha256", "", "sha256 field must be 64 characters long"),
    ("TrafficExtension", r"spec\.lua", "required field inlineCode", "lua.inlineCode cannot be empty"),
    ("", r"spec(\.wasm)?\.vmConfig\.env\[\](\.name)?", "", "spec.vmConfig.env invalid"),
    ("", r"spec(\.wasm)?\.vmConfig\.env", "names of", "duplicate env"),
    ("", r"spec(\.wasm)?\.vmConfig\.env\[\]\.value", "value may", "value may only be set when valueFrom is INLINE"),
    ("", r"spec\.match\[\]\.ports\[\](\.number)?", "", "spec.Match.Ports is out of range"),
    ("Gateway", r"spec\.servers\[\]\.port", "required field name", "port name must be set"),
    ("VirtualService", r"spec\.http\[\]\.directResponse", "required field status",
     "HTTP status 0 is not in range 200-599"),
    ("VirtualService", r"spec\..*\.port", "required field number", _RANGE),
    ("VirtualService", r"spec\..*\.port", "port number 0", "port number 0 must be in the range 1..65535"),
    ("VirtualService", r"spec\..*", "must be a valid duration of at least", "duration must be greater than 1ms"),
    ("DestinationRule", r"spec\..*", "must be a valid duration of at least", "duration must be greater than 1ms"),
    ("DestinationRule", r"spec\.subsets\[\]\.labels\..*", "expected a label value", "invalid tag value"),
    ("DestinationRule", r"spec\.subsets\[\]\.labels\..*", "the key", "invalid tag key"),
    ("DestinationRule", r".*\.warmup", "required field duration", "duration is required"),
    ("DestinationRule", r".*\.warmup\.minimumPercent", "", "minimumPercent value should be less than or equal to 100"),
    ("DestinationRule", r".*\.warmup\.aggression", "", "aggression should be greater than 0"),
)
# fmt: on


def istios_words(kind: str, finding: Finding) -> str:
    """What Istio's code says of what the schema has refused; empty if it says nothing."""
    place = _INDEX.sub("[]", finding.field)
    for row in _ROWS:
        if (
            (row.kind == kind or (not row.kind and kind != "EnvoyFilter"))
            and row.said.match(finding.message)
            and row.place.fullmatch(place)
        ):
            return row.istios
    return ""
