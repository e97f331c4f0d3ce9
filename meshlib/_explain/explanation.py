"""What would become of a request, and why: the answer of ``explain``, as data, JSON and text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from meshlib._snapshot.routes import Fault, HashKey, Mirror, Origin, RetryPolicy

__all__ = ["Explanation", "Json", "Operations", "Outcome", "Step", "TargetPlan", "Upstream"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Outcome: TypeAlias = Literal[
    "route",
    "redirect",
    "direct_response",
    "abort",
    "cors_preflight",
    "not_found",
    "no_listener",
    "passthrough",
    "unauthorized",
]

HeaderMap: TypeAlias = Mapping[str, tuple[str, ...]]
"""Header values by lower-case name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule that was tried: whether it matched, else the first reason why not."""

    origin: Origin
    matched: bool
    reason: str = ""

    def to_json(self) -> dict[str, Json]:
        """``resource``, ``field``, ``file``, ``line``, ``matched`` and, if it did not, ``reason``."""
        entry: dict[str, Json] = {
            "resource": self.origin.resource,
            "field": self.origin.field,
            "file": self.origin.file,
            "line": self.origin.line,
            "matched": self.matched,
        }
        return entry if self.matched else {**entry, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The request as its destination sees it."""

    path: str
    host: str
    headers: HeaderMap
    absent_headers: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """``path``, ``host``, ``headers`` and, where headers were removed, ``absent_headers``."""
        entry: dict[str, Json] = {"path": self.path, "host": self.host, "headers": headers_json(self.headers)}
        return {**entry, "absent_headers": list(self.absent_headers)} if self.absent_headers else entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """Header operations of all levels together."""

    set: HeaderMap
    add: HeaderMap
    remove: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)

    def to_json(self) -> dict[str, Json]:
        """``set``, ``add`` and ``remove``, where there are any."""
        entry: dict[str, Json] = {
            "set": headers_json(self.set),
            "add": headers_json(self.add),
            "remove": [*self.remove],
        }
        return {key: value for key, value in entry.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPlan:
    """One destination of a route: what it gets, and the policy on the way to it.

    ``endpoints`` is their number, None if the cluster does not exist (503 NC).
    ``policy`` is by dotted path, defaults filled in.
    """

    host: str
    port: int
    subset: str
    weight: int
    cluster: str
    upstream: Upstream
    response_operations: Operations
    endpoints: int | None
    policy: Mapping[str, Json]

    def to_json(self, *, weighted: bool) -> dict[str, Json]:
        """``host``, ``port``, ``subset`` if there is one, ``weight`` where there are several destinations."""
        entry: dict[str, Json] = {"host": self.host, "port": self.port}
        if self.subset:
            entry["subset"] = self.subset
        if weighted:
            entry["weight"] = self.weight
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would become of a request, and why. Weights and lower chances are listed, nothing is drawn.

    ``route`` is the name of the rule as Envoy logs it, ``virtual_host`` the hosts its
    rules are for. ``timeout`` None means none; ``retries`` None means off. ``unsent`` are
    the clusters of mirrors that never get a copy. ``trace`` are the rules tried, in order;
    :meth:`passed_over` tells why other VirtualServices were not.
    ``str()`` is for people, :meth:`to_json` for programs.
    """

    outcome: Outcome
    request: str
    route: str = ""
    virtual_host: tuple[str, ...] = ()
    targets: tuple[TargetPlan, ...] = ()
    timeout: float | None = None
    retries: RetryPolicy | None = None
    mirrors: tuple[Mirror, ...] = ()
    unsent: frozenset[str] = frozenset()
    hash_keys: tuple[HashKey, ...] = ()
    fault: Fault | None = None
    status: int | None = None
    grpc_status: str = ""
    location: str = ""
    body: bytes | None = None
    response_headers: HeaderMap | None = None
    trace: tuple[Step, ...] = ()
    find_passed: Callable[[], tuple[Step, ...]] | None = field(default=None, compare=False, repr=False)

    def passed_over(self) -> tuple[Step, ...]:
        """The VirtualServices that were not asked at all, each with the first reason: those for this host first."""
        return self.find_passed() if self.find_passed is not None else ()

    def to_json(self) -> dict[str, Json]:
        """The answer in the shape of the routing corpus: every key that applies, durations in seconds."""
        entry: dict[str, Json] = {"outcome": self.outcome}
        if self.route:
            entry["route"] = self.route
        if self.status is not None:
            entry["status"] = self.status
        if self.grpc_status:
            entry["grpc_status"] = self.grpc_status
        if self.location:
            entry["location"] = self.location
            entry["location_path"] = "/" + self.location.partition("://")[2].partition("/")[2]
        if self.targets:
            entry.update(self._targets_json())
        if self.outcome in ("route", "passthrough"):
            entry.update(self._forward_json())
        if self.body is not None or self.response_headers is not None:
            entry["response"] = self._response_json()
        if self.fault is not None:
            entry["fault"] = fault_json(self.fault)
        entry["virtual_host"] = list(self.virtual_host)
        entry["trace"] = [step.to_json() for step in self.trace]
        return entry

    def _targets_json(self) -> dict[str, Json]:
        """One target as ``destination``, several as ``destinations``; their plans likewise."""
        several = len(self.targets) > 1
        plans = [target.to_json(weighted=several) for target in self.targets]
        entry: dict[str, Json] = {"destinations": [*plans]} if several else {"destination": plans[0]}
        entry["cluster"] = [target.cluster for target in self.targets] if several else self.targets[0].cluster
        entry["endpoints"] = [target.endpoints for target in self.targets] if several else self.targets[0].endpoints
        entry["upstream"] = self.targets[0].upstream.to_json()
        if several:
            entry["upstreams"] = [target.upstream.to_json() for target in self.targets]
            entry["policies"] = [dict(target.policy) for target in self.targets]
        else:
            entry["policy"] = dict(self.targets[0].policy)
        operations = self.targets[0].response_operations
        if operations:
            entry["response_operations"] = operations.to_json()
        return entry

    def _forward_json(self) -> dict[str, Json]:
        return {
            "timeout": self.timeout,
            "retries": None if self.retries is None else retries_json(self.retries),
            "mirrors": [mirror_json(mirror) for mirror in self.mirrors],
            "hash": [hash_json(key) for key in self.hash_keys],
            "sticky": bool(self.hash_keys),
        }

    def _response_json(self) -> dict[str, Json]:
        entry: dict[str, Json] = {"headers": headers_json(self.response_headers or {})}
        if self.body is not None:
            entry["body"] = body_text(self.body)
        return entry

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.request}  →  {self._summary()}"
        for target in self.targets:
            share = f"{target.weight} of {sum(item.weight for item in self.targets)}  " if len(self.targets) > 1 else ""
            yield f"  to      {share}{target.cluster}{missing(target.endpoints)}"
        if self.targets:
            upstream = self.targets[0].upstream
            yield f"  sent    {upstream.path}  host {upstream.host}"
            yield f"  timeout {'none' if self.timeout is None else f'{self.timeout:g}s'}"
            yield f"  retries {retries_text(self.retries)}"
        for mirror in self.mirrors:
            never = "  (never sent: a copy was dialled nowhere)" if mirror.cluster in self.unsent else ""
            yield f"  mirror  {mirror.ratio * 100.0:g}%  {mirror.cluster}{never}"
        for key in self.hash_keys:
            yield f"  hash    {key.kind} {key.name}".rstrip()
        if self.fault is not None:
            yield f"  fault   {fault_text(self.fault)}"
        if self.virtual_host:
            yield f"  rules for {', '.join(self.virtual_host)}"
        for step in self.trace:
            yield f"  {'✓' if step.matched else '·'} {step.origin}{'' if step.matched else ': ' + step.reason}"
        passed = self.passed_over()
        if passed:
            yield "  not asked"
        for step in passed:
            yield f"  · {step.origin}: {step.reason}"

    def _summary(self) -> str:
        name = f"  (route {self.route})" if self.route else ""
        match self.outcome:
            case "redirect":
                return f"{self.status} {self.location}{name}"
            case "direct_response" | "not_found" | "cors_preflight":
                return f"{self.status} {self.outcome.replace('_', ' ')}{name}"
            case "abort":
                return f"abort {self.status if self.status is not None else self.grpc_status}{name}"
            case "no_listener":
                return "no listener on this port"
            case _:
                return f"{self.outcome}{name}"


def headers_json(headers: HeaderMap) -> dict[str, Json]:
    """One value as text, several as a list."""
    return {name: values[0] if len(values) == 1 else [*values] for name, values in headers.items()}


def retries_json(retries: RetryPolicy) -> dict[str, Json]:
    """A retry policy in the shape of the corpus."""
    return {
        "attempts": retries.attempts,
        "retry_on": [*sorted(retries.conditions)],
        "retriable_status_codes": [*sorted(retries.status_codes)],
        "per_try_timeout": retries.per_try_timeout,
        "backoff": retries.backoff,
    }


def mirror_json(mirror: Mirror) -> dict[str, Json]:
    """A mirror with its share in percent."""
    entry: dict[str, Json] = {"host": mirror.host, "port": mirror.port}
    if mirror.subset:
        entry["subset"] = mirror.subset
    return {**entry, "percent": round(mirror.ratio * 100.0, 6)}


def hash_json(key: HashKey) -> dict[str, Json]:
    """What is hashed: ``header``, ``cookie``, ``query`` by name, or ``source_ip``."""
    if key.kind == "source_ip":
        return {"source_ip": True}
    entry: dict[str, Json] = {key.kind: key.name}
    if key.ttl is not None:
        entry["ttl"] = key.ttl
    if key.path:
        entry["path"] = key.path
    if key.attributes:
        entry["attributes"] = [{"name": name, "value": value} for name, value in key.attributes]
    return entry


def fault_json(fault: Fault) -> dict[str, Json]:
    """The delay and the abort that may be injected, with their chances in percent."""
    entry: dict[str, Json] = {}
    if fault.delay is not None:
        entry["delay"] = {"seconds": fault.delay.seconds, "percent": round(fault.delay.ratio * 100.0, 6)}
    if fault.abort is not None:
        status: dict[str, Json] = (
            {"status": fault.abort.http_status}
            if fault.abort.http_status is not None
            else {"grpc_status": fault.abort.grpc_status}
        )
        entry["abort"] = {**status, "percent": round(fault.abort.ratio * 100.0, 6)}
    return entry


def body_text(body: bytes) -> str:
    """A body as text; one that is none in base64."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()


def missing(endpoints: int | None) -> str:
    """What is wrong with a cluster."""
    if endpoints is None:
        return "  (no such cluster: 503 NC)"
    return "  (no endpoints: 503 UH)" if endpoints == 0 else ""


def retries_text(retries: RetryPolicy | None) -> str:
    """A retry policy in a few words."""
    if retries is None:
        return "off"
    per_try = "" if retries.per_try_timeout is None else f", {retries.per_try_timeout:g}s each"
    return f"{retries.attempts} on {','.join(sorted(retries.conditions))}{per_try}"


def fault_text(fault: Fault) -> str:
    """A fault in a few words."""
    parts: list[str] = []
    if fault.delay is not None:
        parts.append(f"delay {fault.delay.seconds:g}s for {fault.delay.ratio:.2%}")
    if fault.abort is not None:
        status = fault.abort.http_status if fault.abort.http_status is not None else f"gRPC {fault.abort.grpc_status}"
        parts.append(f"abort {status} for {fault.abort.ratio:.2%}")
    return ", ".join(parts)
