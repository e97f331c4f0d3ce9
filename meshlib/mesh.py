"""The façade: one object that reads Istio YAML and governs the calls of this process."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from meshlib._clients import Clients
from meshlib._clock import SystemClock
from meshlib._compile import compile_snapshot
from meshlib._compile.known import KnownCompilation
from meshlib._config.known import KnownTexts, Packed, pack
from meshlib._config.load import ConfigSet, Skipped, load, no_collection, unobtrusive
from meshlib._config.report import Report, report
from meshlib._context import deadline as caller_deadline
from meshlib._explain import Explanation, explain, with_candidates
from meshlib._http import Headers, RequestHead, target_of
from meshlib._inbound.methods import SecurityMethods
from meshlib._names import Resolver
from meshlib._runtime import Runtime, forked
from meshlib._snapshot.snapshot import Snapshot
from meshlib.diagnostics import Finding
from meshlib.errors import ConfigError
from meshlib.events import ConfigPublished, ConfigRejected, EventT
from meshlib.sources import SourceText
from meshlib.sources.environment import workload_from_environment
from meshlib.sources.files import ConfigInput, Fingerprint, expand, fingerprint, import_notifier, watch_paths, written
from meshlib.telemetry.methods import TelemetryMethods
from meshlib.telemetry.recorder import Telemetry
from meshlib.workload import Workload

if TYPE_CHECKING:
    from meshlib._clock import Clock
    from meshlib._random import Chance
    from meshlib.admin import AdminApp
    from meshlib.model.resource import Resource

__all__ = ["Mesh"]

_log = logging.getLogger("meshlib")

Progress: TypeAlias = Callable[[int, int, int], None]


class Mesh(Clients, SecurityMethods, TelemetryMethods):
    """Istio configuration in force in this process. Make one with :meth:`load`; share it between threads and loops."""

    def __init__(
        self, loaded: _Loaded, config: ConfigInput, workload: Workload, runtime: Runtime, *, strict: bool
    ) -> None:
        self._loaded = loaded
        self._config = config
        self._strict = strict
        self._lock = threading.Lock()
        # Filled by the first reload: who never reloads pays no memory for it.
        self._known = (KnownTexts(), KnownCompilation())
        self._watch: _Watch | None = None
        self.workload = workload
        self.runtime = runtime
        self._resolver = Resolver(runtime)
        self._resolve_names()
        if hasattr(os, "register_at_fork"):
            forked.watch(self)
        self._telemetry = runtime.recorder = Telemetry(workload, runtime)

    @classmethod
    def load(
        cls,
        config: ConfigInput,
        *,
        workload: Workload | None = None,
        strict: bool = False,
        clock: Clock | None = None,
        chance: Chance | None = None,
        progress: Progress | None = None,
        certificates: str | os.PathLike[str] | None = None,
    ) -> Mesh:
        """Read configuration and put it in force.

        ``config`` is a directory, a file, a glob pattern, YAML text, resources as
        mappings, or a list of those. ``workload`` says who this process is (default:
        from the environment, else namespace ``default``). ``strict`` makes a field that
        meshlib does not apply an error instead of a warning. ``clock`` and ``chance``
        replace the system's, for tests; ``progress(bytes, total bytes, resources)`` is
        called now and then. ``certificates`` is the directory with this workload's own,
        for mutual TLS (default: where Istio mounts them).

        Raises :class:`meshlib.errors.ConfigError` with every finding if a resource is
        not valid, :class:`meshlib.errors.SourceError` if something cannot be read.
        """
        me = workload or workload_from_environment(os.environ)
        loaded = _load(config, me, progress, strict=strict)
        runtime = Runtime(loaded.snapshot, clock=clock, chance=chance)
        runtime.certificates = None if certificates is None else os.fspath(certificates)
        return cls(loaded, config, me, runtime, strict=strict)

    # -- configuration ---------------------------------------------------------------------------

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was worth saying about the configuration in force: warnings and notes."""
        return self._loaded.findings

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The documents of kinds that meshlib does not apply."""
        return self._loaded.skipped

    @property
    def snapshot(self) -> Snapshot:
        """The compiled configuration in force."""
        return self.runtime.published.snapshot

    def reload(self) -> None:
        """Read the same sources again and swap atomically.

        A file that is empty now, but was not, is given a moment: it may be just being written.
        Raises as :meth:`load` does; the configuration before then stays in force, and
        observers get :class:`meshlib.events.ConfigRejected`.
        """
        self.publish(self._config)

    def publish(self, config: ConfigInput) -> None:
        """Replace the configuration by another; :meth:`reload` and :meth:`watch` then read that one.

        Exchanges that have begun finish on what they began with. Counters, ejections and
        connections of hosts that are still there are kept.
        """
        with self._lock:
            try:
                with unobtrusive():
                    known, before = self._known, self._loaded.fingerprint
                    loaded = _load(config, self.workload, None, strict=self._strict, known=known, before=before)
            except ConfigError as error:
                self.runtime.notify(ConfigRejected(findings=error.findings, reason=str(error)))
                raise
            except Exception as error:
                self.runtime.notify(ConfigRejected(findings=(), reason=str(error)))
                raise
            self.runtime.publish(loaded.snapshot)
            self._resolve_names()
            self._loaded, self._config = loaded, config
        warnings = sum(finding.level == "warning" for finding in loaded.findings)
        version, count = loaded.snapshot.version, loaded.resources
        self.runtime.notify(ConfigPublished(version=version, resources=count, warnings=warnings))

    def watch(self, *, interval: float = 2.0) -> None:
        """Reload whenever the files change, in a background thread, until :meth:`close`.

        ``interval`` is the polling period in seconds where the system gives no
        notifications. A bad update is logged and reported to observers, and changes nothing.
        Raises :class:`~meshlib.errors.MeshClosedError` for a mesh that is closed.
        """
        self._open()
        if self._watch is None:
            self._watch = _Watch(self, interval)
        self._watch.start()

    def close(self) -> None:
        """Stop watching. Clients made from this mesh go on working; no more are made."""
        self._is_closed = True
        self._resolver.close()
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def report(self) -> Report:
        """Per resource and field: honoured, approximated or refused; and what was skipped."""
        return report(self._loaded.read_again())

    def _resources(self) -> tuple[Resource, ...]:
        """The resources in force, decoded anew; for simulations, which compile them for many workloads."""
        return tuple(self._loaded.read_again().resources)

    def source(self, name: str) -> str | None:
        """The text in force that was read under ``name``, as findings have it in ``file``; None if there is none."""
        return self._loaded.text(name)

    def explain(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, workload: Workload | None = None
    ) -> Explanation:
        """What the mesh would do with a request, every rule it tried, and why (not). Sends nothing.

        ``workload`` asks on behalf of another client than this process.
        """
        snapshot, head, loaded = self._snapshot_for(workload), request_head(method, url, headers or {}), self._loaded
        asking = workload if workload is not None else self.workload
        return with_candidates(explain(snapshot, head), snapshot, head, asking, lambda: loaded.read_again().resources)

    def _snapshot_for(self, workload: Workload | None) -> Snapshot:
        if workload is None or workload == self.workload:
            return self.snapshot
        return compile_snapshot(self._loaded.read_again().resources, workload)

    # -- run time ----------------------------------------------------------------------------------

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Bound all calls made in this context together, to hosts whose ClientPolicy keeps a ``deadline``.

        A deadline inside another can only be shorter. Threads and tasks started here inherit it.
        """
        end, outer = self.runtime.clock.monotonic() + seconds, caller_deadline.get()
        token = caller_deadline.set(end if outer is None else min(end, outer))
        try:
            yield
        finally:
            caller_deadline.reset(token)

    def observe(self, observer: Callable[[EventT], None], *kinds: type[EventT]) -> Callable[[], None]:
        """Call ``observer`` with every event of these kinds (default: all); returns what ends that."""
        return self.runtime.observe(observer, *kinds)

    def admin_app(
        self,
        *others: Mesh,
        allow_control: bool = False,
        allow_remote: bool = False,
        allowed_hosts: Iterable[str] = (),
    ) -> AdminApp:
        """The admin interface and live page of this mesh, and of ``others`` in this process, as an ASGI application.

        It answers this machine only and changes nothing, unless told otherwise: see
        :class:`meshlib.admin.AdminApp`. Calls are counted only while somebody looks.
        """
        from meshlib.admin import AdminApp

        return AdminApp(
            (self, *others), allow_control=allow_control, allow_remote=allow_remote, allowed_hosts=allowed_hosts
        )

    def reset_after_fork(self) -> None:
        """For the process's fork hook: the child gets a lock and a watching thread of its own."""
        self._lock = threading.Lock()
        if self._watch is not None:
            self._watch.restart_after_fork()
        self._resolver.reset_after_fork()
        self._resolve_names()

    def _resolve_names(self) -> None:
        """Look names up in the background as soon as a request begins; not on a clock that does not run by itself."""
        if isinstance(self.runtime.clock, SystemClock):
            self.runtime.on_use = self._resolver.start

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Mesh {self.workload.namespace} resources={self._loaded.resources} {self.snapshot!r}>"


class _Loaded:
    """One configuration, read and compiled.

    The models are dropped once they are compiled: of 10,000 VirtualServices they would
    keep 18 MB. The texts stay, packed to a fraction of that, for those who ask later.
    """

    __slots__ = ("_namespace", "_texts", "findings", "fingerprint", "resources", "skipped", "snapshot")

    def __init__(
        self,
        config: ConfigSet,
        texts: Sequence[Packed],
        namespace: str,
        snapshot: Snapshot,
        fingerprint: Fingerprint,
    ) -> None:
        self.resources = len(config.resources)
        self.skipped = config.skipped
        self.findings = config.findings
        self.snapshot = snapshot
        self.fingerprint = fingerprint
        self._namespace = namespace
        self._texts = texts

    def text(self, name: str) -> str | None:
        """One of the texts in force."""
        for text in self._texts:
            if text.name == name:
                return zlib.decompress(text.data).decode("utf-8", "replace")
        return None

    def read_again(self) -> ConfigSet:
        """The resources, decoded anew from the very texts that are in force."""
        texts = [SourceText(text.name, zlib.decompress(text.data)) for text in self._texts]
        return load(texts, default_namespace=self._namespace)


def _load(
    config: ConfigInput,
    workload: Workload,
    progress: Progress | None,
    *,
    strict: bool,
    known: tuple[KnownTexts, KnownCompilation] | None = None,
    before: Fingerprint = (),
) -> _Loaded:
    # Before reading: a change meanwhile is then a change, not missed.
    looks = written(config, fingerprint(config), before, threading.Event())
    texts = expand(config)
    read, compiled = known or (None, None)
    with no_collection():
        loaded = load(texts, default_namespace=workload.namespace, progress=progress, known=read)
        findings = list(loaded.findings)
        if strict:
            findings = _strictly(loaded)  # and go on: one error shall tell everything
        else:
            _raise_errors(findings)
        snapshot = compile_snapshot(loaded.resources, workload, findings, compiled)
        _raise_errors(findings)
    packing = pack if read is None else read.packed
    packed = [packing(text.name, text.text) for text in texts]
    snapshot = replace(snapshot, version=_version(packed))
    loaded = ConfigSet(loaded.resources, tuple(findings), loaded.skipped)
    return _Loaded(loaded, packed, workload.namespace, snapshot, looks)


def _strictly(loaded: ConfigSet) -> list[Finding]:
    """The findings with every field that has no effect as an error."""
    refused = report(loaded).refusals("error")
    same = {(finding.resource, finding.field) for finding in refused}
    return [finding for finding in loaded.findings if (finding.resource, finding.field) not in same] + refused


def _version(texts: Iterable[Packed]) -> str:
    return hashlib.blake2b(b"".join([text.digest for text in texts]), digest_size=6).hexdigest()


def _raise_errors(findings: Iterable[Finding]) -> None:
    collected = tuple(findings)
    if any(finding.level == "error" for finding in collected):
        raise ConfigError(collected)


def request_head(method: str, url: str, headers: Mapping[str, str]) -> RequestHead:
    """The head of a request that a client would make for a URL. Raises ValueError for a relative one."""
    scheme, sent, host, port, path = target_of(url)
    fields = Headers(headers)
    authority = fields.setdefault("host", sent) or sent
    return RequestHead(method.upper(), scheme, authority, path, fields, port=port, host=host)


class _Watch:
    """The background thread that reloads; started again in a forked child."""

    def __init__(self, mesh: Mesh, interval: float) -> None:
        if interval <= 0:
            raise ValueError(f"interval is {interval!r}, it is to be more than 0 seconds")
        self._mesh, self._interval = mesh, interval
        self._stop, self._is_notified = threading.Event(), True
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            import_notifier()
            self._thread = threading.Thread(target=self._run, name="meshlib-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5.0)

    def _run(self) -> None:
        mesh = self._mesh
        known, is_notified = mesh._loaded.fingerprint, self._is_notified
        watch_paths(
            mesh._config, self._reload, interval=self._interval, stop=self._stop, known=known, is_notified=is_notified
        )

    def _reload(self) -> None:
        try:
            self._mesh.reload()
        except Exception as error:  # noqa: BLE001 - whatever an update holds, the last good one stays
            _log.error("the new configuration is not usable, the one before stays in force:\n%s", error)

    def restart_after_fork(self) -> None:
        """In a forked child: a thread of its own, if the parent had one.

        It looks for itself: the native code of watchfiles, whose threads the fork cut off,
        sometimes never returned in a child.
        """
        if self._thread is not None and not self._stop.is_set():
            self._stop, self._thread, self._is_notified = threading.Event(), None, False
            self.start()
