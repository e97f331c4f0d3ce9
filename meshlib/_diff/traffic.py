"""Requests to ask two configurations about, and what of the answers counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from meshlib._compile import Config
from meshlib._compile.hosts import resolve
from meshlib._diff.change import Change
from meshlib._diff.samples import sample_match
from meshlib._explain import Explanation, explain
from meshlib._explain.explanation import Json, TargetPlan
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.snapshot import Snapshot
from meshlib.model.gateway import GatewaySpec
from meshlib.model.resource import Resource
from meshlib.model.virtual_service import HTTPMatchRequest, VirtualServiceSpec
from meshlib.workload import Workload

__all__ = ["Probe", "probes", "traffic_changes"]

_PORTS: Final = (80,)
_LEFT_OUT: Final = frozenset(
    "trace virtual_host route location_path endpoints sticky upstreams policy policies cluster destination".split()
)
"""What is about the configuration itself, or said twice."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A request of a client. ``subject`` is the host that it is for."""

    subject: str
    client: Workload
    method: str
    path: str
    port: int
    headers: tuple[tuple[str, str], ...] = field(default=())

    @property
    def words(self) -> str:
        """``GET /api with end-user: jason``."""
        text = f"{self.method} {self.path}"
        if self.port != 80:
            text += f" at port {self.port}"
        if self.headers:
            text += " with " + ", ".join(f"{name}: {value}" for name, value in self.headers)
        return f"{text} through the gateway" if self.client.gateway else text

    def head(self) -> RequestHead:
        """As it is asked."""
        headers = Headers(self.headers)
        headers.setdefault("host", self.subject)
        scheme = "https" if self.port == 443 else "http"
        return RequestHead(self.method, scheme, self.subject, self.path, headers, port=self.port, host=self.subject)


def traffic_changes(old: Config, new: Config, requests: Iterable[Probe]) -> Iterator[Change]:
    """Where the answers of two configurations differ."""
    before, after = _Answers(old), _Answers(new)
    for probe in requests:
        for case, name, one, other in differences(before.explain(probe), after.explain(probe)):
            words = f"{probe.words}{case}"
            yield Change(area="traffic", subject=probe.subject, cases=(words,), field=name, old=one, new=other)


class _Answers:
    """One configuration, compiled once for each client."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._snapshots: dict[str, Snapshot] = {}

    def explain(self, probe: Probe) -> Explanation:
        key = repr(probe.client)
        if key not in self._snapshots:
            self._snapshots[key] = self._config.compile(probe.client)
        return explain(self._snapshots[key], probe.head())


Difference: TypeAlias = "tuple[str, str, Json, Json]"
"""To which destination (empty: the request itself), which field, old and new value."""


def differences(old: Explanation, new: Explanation) -> Iterator[Difference]:
    """What is not the same in two answers; the policies of destinations that only one has are no difference."""
    before, after = _fields(old), _fields(new)
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield "", name, before.get(name), after.get(name)
    policies = {_label(target): target.policy for target in old.targets}
    for target in new.targets:
        label = _label(target)
        if label in policies:
            case = f" to {label}" if len(new.targets) > 1 else ""
            for name, one, other in _policy_differences(policies[label], target.policy):
                yield case, name, one, other


def _fields(answer: Explanation) -> dict[str, Json]:
    """What of an answer makes a difference, one value for each name."""
    found: dict[str, Json] = {"outcome": answer.outcome}
    if answer.targets:
        several = len(answer.targets) > 1
        found["destinations"] = [target.to_json(weighted=several) for target in answer.targets]
    found.update((name, value) for name, value in answer.to_json().items() if name not in _LEFT_OUT)
    for name in ("upstream", "response", "response_operations"):
        found.update(_flat(name, found.pop(name, None)))
    return found


def _label(target: TargetPlan) -> str:
    return f"subset {target.subset}" if target.subset else f"{target.host}:{target.port}"


def _policy_differences(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[tuple[str, Json, Json]]:
    """Field by field, but a part that only one of them has as a whole."""
    for part in dict.fromkeys(name.partition(".")[0] for name in (*old, *new)):
        before, after = _part(old, part), _part(new, part)
        if before == after:
            continue
        if before is None or after is None or not isinstance(before, dict) or not isinstance(after, dict):
            yield f"policy.{part}", before, after
            continue
        for name in dict.fromkeys((*before, *after)):
            if before.get(name) != after.get(name):
                yield f"policy.{part}.{name}", before.get(name), after.get(name)


def _part(policy: Mapping[str, Json], part: str) -> Json:
    """The value of a part; of one with fields a mapping without those that are not set."""
    prefix = f"{part}."
    fields = {name.removeprefix(prefix): value for name, value in policy.items() if name.startswith(prefix)}
    return {name: value for name, value in fields.items() if value is not None} if fields else policy.get(part)


def _flat(name: str, value: Json) -> dict[str, Json]:
    if isinstance(value, dict):
        return {key: part for inner, item in value.items() for key, part in _flat(f"{name}.{inner}", item).items()}
    return {} if value is None else {name: value}


# -- requests --------------------------------------------------------------------------------------


def probes(resources: Iterable[Resource], hosts: Iterable[tuple[str, int]], client: Workload) -> Iterator[Probe]:
    """One request for each host and port, and one for each match of each rule."""
    known: dict[str, list[int]] = {}
    for host, port in hosts:
        known.setdefault(host, []).append(port)
    for host, ports in known.items():
        for port in ports:
            yield Probe(_concrete(host), client, "GET", "/", port)
    everything = list(resources)
    gateways = {
        f"{item.namespace}/{item.name}": (item, item.spec) for item in everything if isinstance(item.spec, GatewaySpec)
    }
    for item in everything:
        if isinstance(item.spec, VirtualServiceSpec):
            for host in item.spec.hosts:
                name = resolve(host, item.namespace).lower()
                for caller, ports in _callers(item, item.spec, gateways, client):
                    yield from _of_rules(item.spec, name, caller, ports or known.get(name) or _PORTS)


def _callers(
    item: Resource,
    spec: VirtualServiceSpec,
    gateways: dict[str, tuple[Resource, GatewaySpec]],
    client: Workload,
) -> Iterator[tuple[Workload, list[int]]]:
    """Who can make a request that a VirtualService sees: a workload of the mesh, the workloads of its gateways."""
    for reference in spec.gateways or ("mesh",):
        if reference == "mesh":
            yield client, []
            continue
        found = gateways.get(reference if "/" in reference else f"{item.namespace}/{reference}")
        if found is not None:
            gateway, servers = found
            ports = [
                server.port.number for server in servers.servers if server.port.protocol.upper() in ("HTTP", "HTTP2")
            ]
            labels = dict(servers.selector)
            yield replace(client, namespace=gateway.namespace, labels=labels, gateway=True), ports[:1]


def _of_rules(spec: VirtualServiceSpec, host: str, client: Workload, ports: Iterable[int]) -> Iterator[Probe]:
    port = next(iter(ports), _PORTS[0])
    subject = _concrete(host)
    yield Probe(subject, client, "GET", "/", port)
    for rule in spec.http:
        for match in rule.match:
            probe = _of_match(match, subject, client, port)
            if probe is not None:
                yield probe


def _of_match(match: HTTPMatchRequest, host: str, client: Workload, port: int) -> Probe | None:
    path, method = sample_match(match.uri, "/"), sample_match(match.method, "GET")
    if path is None or method is None or not path.startswith("/"):
        return None
    headers = _samples(match.headers.items())
    query = _samples(match.query_params.items())
    if headers is None or query is None:
        return None
    if query:
        path += "?" + "&".join(f"{name}={value}" for name, value in query)
    caller = client
    if not client.gateway:
        caller = replace(
            client,
            namespace=match.source_namespace or client.namespace,
            labels={**client.labels, **match.source_labels},
        )
    return Probe(host, caller, method, path, match.port or port, tuple(headers))


def _samples(matches: Iterable[tuple[str, object]]) -> list[tuple[str, str]] | None:
    """A value for each name; None if one of them cannot be made up. Claims of tokens are no headers."""
    found = []
    for name, match in matches:
        value = sample_match(match, "x")  # type: ignore[arg-type]  # values of a map of matchers
        if value is None or name.startswith("@"):
            return None
        found.append((name, value))
    return found


def _concrete(host: str) -> str:
    return host.replace("*", "any", 1)
