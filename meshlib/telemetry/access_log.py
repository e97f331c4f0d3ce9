"""Access logs: a line for each call made and each request served, through :mod:`logging`.

Lines go to the logger ``meshlib.access`` at level INFO; ``provider``, ``direction``
(``outbound``, ``inbound``) and ``path`` are attributes of the record. Who configures
logging decides where they end. Where nobody has, the ``path`` of the provider does, as in
Envoy: ``/dev/stdout``, ``/dev/stderr`` or a file, which is opened again when it was moved.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meshlib._snapshot.telemetry import AccessLog
from meshlib.telemetry.expressions import Evaluate, UnsupportedError, compile_expression, matches
from meshlib.telemetry.log_format import Line, compile_fields, compile_text

if TYPE_CHECKING:
    from meshlib.telemetry.facts import Facts

__all__ = ["LOGGER", "AccessLogs"]

_NAME: Final = "meshlib.access"
_log = logging.getLogger("meshlib")

LOGGER: Final = logging.getLogger(_NAME)
"""Where the lines go."""


class _Prepared(NamedTuple):
    line: Line
    accepts: Evaluate | None
    extra: dict[str, str]


class AccessLogs:
    """Writes the access logs of a mesh. What a configuration says is prepared when it is first met."""

    def __init__(self) -> None:
        self._known: list[tuple[Sequence[AccessLog], tuple[_Prepared, ...]]] = []

    def write(self, logs: Sequence[AccessLog], facts: Facts) -> None:
        """The lines of one request that is over. ``logs`` are those of its side."""
        found = self._find(logs, is_outbound=facts.is_outbound)
        if not LOGGER.isEnabledFor(logging.INFO):
            return
        for prepared in found:
            if prepared.accepts is None or matches(prepared.accepts, facts):
                # What Logger.info does, without looking for who called it: that is always this line.
                # The text may hold per cent signs: it is no format for arguments.
                text, extra = (prepared.line(facts),), prepared.extra
                LOGGER.handle(LOGGER.makeRecord(_NAME, logging.INFO, __file__, 0, "%s", text, None, "write", extra))

    def _find(self, logs: Sequence[AccessLog], *, is_outbound: bool) -> tuple[_Prepared, ...]:
        for known, prepared in self._known:
            if known is logs:
                return prepared
        made = tuple(_prepare(log, "outbound" if is_outbound else "inbound") for log in logs)
        for log in logs:
            _destinations.open(log.path)
        self._known = [*self._known[-3:], (logs, made)]  # both sides of two snapshots
        return made

    def __repr__(self) -> str:
        return f"<AccessLogs prepared={len(self._known)}>"


def _prepare(log: AccessLog, direction: str) -> _Prepared:
    accepts: Evaluate | None = None
    if log.filter:
        try:
            accepts = compile_expression(log.filter)
        except UnsupportedError:  # the load says so
            accepts = None
    if log.fields is not None:
        line = compile_fields(log.fields, omit_empty=log.omit_empty)
    else:
        line = compile_text(log.text.removesuffix("\n"), omit_empty=log.omit_empty)
    return _Prepared(line, accepts, {"provider": log.provider, "direction": direction, "path": log.path})


class _Destinations:
    """Handlers for the paths of providers, made only where nobody has configured logging."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def open(self, path: str) -> None:
        with self._lock:
            if LOGGER.level == logging.NOTSET:
                LOGGER.setLevel(logging.INFO)  # the root's default would drop every line
            if path in self._known or (LOGGER.hasHandlers() and not self._known):
                return
            self._known.add(path)
            handler = _handler(path)
            handler.setFormatter(logging.Formatter("%(message)s"))
            handler.addFilter(lambda record: getattr(record, "path", path) == path)
            LOGGER.addHandler(handler)


class _Output(logging.StreamHandler[Any]):
    """The process's output as it is now: a test or a server may have replaced it."""

    def __init__(self, name: str) -> None:
        self._name_of_stream = name
        super().__init__(getattr(sys, name))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = getattr(sys, self._name_of_stream)
        super().emit(record)


def _handler(path: str) -> logging.Handler:
    if path in ("/dev/stdout", "/dev/stderr"):
        return _Output(path.removeprefix("/dev/"))
    return _File(path, encoding="utf-8", delay=True)


class _File(logging.handlers.WatchedFileHandler):
    """A file, opened again when it was moved. That it cannot be written is said once, and fails no request."""

    _is_told = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # of opening it, which logging does not expect here
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name that logging calls
        if not self._is_told:
            self._is_told = True
            reason = sys.exc_info()[1]
            _log.warning("the access log %s cannot be written: %s; its lines are lost", self.baseFilename, reason)


_destinations = _Destinations()
