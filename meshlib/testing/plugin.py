"""The pytest plugin: fixtures, the mark ``mesh``, seeds and timelines of what failed, policy coverage.

Nothing but pytest and the standard library is imported until a test asks for a fixture.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest

from meshlib.testing.watching import watchers

if TYPE_CHECKING:
    from meshlib.sources.files import ConfigInput
    from meshlib.testing.clock import VirtualClock
    from meshlib.testing.coverage import Coverage, Report
    from meshlib.testing.simulation import Simulation
    from meshlib.workload import Workload

__all__ = ["SimulationFactory", "mesh_clock", "mesh_seed", "mesh_sim"]

_MARK: Final = (
    "mesh(config, *, namespace, seed): the YAML of mesh_sim() in this test, relative to its file; "
    "a coroutine with this mark, or that asks for mesh_sim, runs on virtual time"
)
_MARK_ARGUMENTS: Final = ("namespace", "seed")
_TERMINAL: Final = "-"
_RANDOM: Final = "random"


class SimulationFactory(Protocol):
    """What the fixture ``mesh_sim`` is: makes simulations, which are closed after the test."""

    def __call__(
        self,
        config: ConfigInput | None = None,
        *,
        seed: int | None = None,
        namespace: str | None = None,
        workload: Workload | None = None,
        **arguments: Any,
    ) -> Simulation:
        """``config`` as for :class:`Simulation`, default: that of the mark; paths are relative to the test's file."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's options."""
    group = parser.getgroup("mesh", "tests of Istio YAML (meshlib)")
    group.addoption(
        "--mesh-seed", metavar="N", help="seed of all simulations: a number, or 'random' (default: one for each test)"
    )
    group.addoption(
        "--mesh-report",
        nargs="?",
        const=_TERMINAL,
        metavar="FILE",
        help="report which routes, retries, ejections and rules the tests exercised, as text, or as JSON to FILE",
    )
    group.addoption(
        "--mesh-fail-under", type=float, metavar="PERCENT", help="fail the run if policy coverage is below that"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take note of the simulations of each test."""
    config.addinivalue_line("markers", _MARK)
    _check(config)
    config.pluginmanager.register(_Session(config), "meshlib-session")


def _check(config: pytest.Config) -> None:
    """Say before the first test what no test, or only the end, would find out."""
    seed, target = config.getoption("mesh_seed", default=None), config.getoption("mesh_report", default=None)
    if seed not in (None, _RANDOM) and not seed.isdecimal():
        raise pytest.UsageError(f"--mesh-seed: {seed!r} is neither a number nor '{_RANDOM}'")
    if target not in (None, _TERMINAL) and not Path(target).absolute().parent.is_dir():
        raise pytest.UsageError(f"--mesh-report: there is no directory {Path(target).parent}; make it, or name another")


class _Session:
    """What the plugin knows during a run."""

    def __init__(self, config: pytest.Config) -> None:
        self._target: str | None = config.getoption("mesh_report", default=None)
        self._minimum: float | None = config.getoption("mesh_fail_under", default=None)
        self._has_asyncio = config.pluginmanager.hasplugin("asyncio")
        self._reports = self._target is not None or self._minimum is not None
        self._made: list[Simulation] = []
        self._coverages: list[Coverage] = []
        self._of_workers: list[Mapping[str, Any]] = []
        self._report: Report | None = None
        watchers.append(self._watch)

    def pytest_unconfigure(self) -> None:
        watchers.remove(self._watch)

    def _watch(self, simulation: Simulation) -> None:
        self._made.append(simulation)
        if self._reports:
            self._coverages.append(simulation._world.coverage)

    # -- each test ---------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._made.clear()
        result = yield
        self._made.clear()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "call" and report.failed:
            for simulation in self._made:
                report.sections.append(
                    (f"mesh, seed {simulation.seed}", str(simulation.timeline) or "nothing happened")
                )
            if self._made and "mesh_seed" in getattr(item, "fixturenames", ()):
                seed = _seed(item)
                report.sections.append(("mesh", f"to repeat it: --mesh-seed={seed}"))
        return report

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            function = getattr(item, "obj", None)
            is_ours = item.get_closest_marker("mesh") is not None or "mesh_sim" in getattr(item, "fixturenames", ())
            if is_ours and inspect.iscoroutinefunction(function):
                # pytest-asyncio awaits what a test returns, whatever became of its function.
                is_awaited = self._has_asyncio and item.get_closest_marker("asyncio") is not None
                item.obj = self._on_virtual_time(function, is_awaited=is_awaited)  # type: ignore[attr-defined]

    def _on_virtual_time(self, function: Callable[..., Any], *, is_awaited: bool) -> Callable[..., Any]:
        """The coroutine function as one that runs it on a loop of virtual time: that of its fixtures' simulation."""

        @functools.wraps(function)
        def run(*arguments: Any, **fixtures: Any) -> Any:
            from meshlib.testing.blocking import run_in_memory
            from meshlib.testing.simulation import Simulation

            wanted = [one for one in fixtures.values() if isinstance(one, Simulation)]
            simulation = next((one for one in (*wanted, *self._made) if not one._closed), None)
            if simulation is not None:
                simulation.run(function(*arguments, **fixtures))
            else:
                run_in_memory(function(*arguments, **fixtures), fixtures.get("mesh_clock"))
            return _nothing_more() if is_awaited else None

        return run

    # -- the whole run -----------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of pytest-xdist is done: take its coverage in."""
        found = getattr(node, "workeroutput", {}).get("mesh_report")
        if found is not None:
            self._of_workers.append(found)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self._reports:
            return
        from meshlib.testing.coverage import Report

        report = Report()
        for coverage in self._coverages:
            report.add(coverage.report())
        for found in self._of_workers:
            report.add(Report.from_json(found))
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["mesh_report"] = report.to_json()
            return
        self._report = report
        if self._target not in (None, _TERMINAL):
            text = json.dumps(report.to_json(), indent=1, ensure_ascii=False)
            Path(str(self._target)).write_text(f"{text}\n", encoding="utf-8")
        if self._is_below(report) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _is_below(self, report: Report) -> bool:
        return self._minimum is not None and report.percent < self._minimum

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        report = self._report
        if report is None:
            return
        if self._target == _TERMINAL:
            terminalreporter.section("policy coverage")
            terminalreporter.write_line(str(report))
        elif self._target is not None:
            terminalreporter.write_line(f"policy coverage: {report.percent:.0f} %, written to {self._target}")
        if self._is_below(report):
            terminalreporter.write_line(
                f"policy coverage of {report.percent:.1f} % is below --mesh-fail-under={self._minimum:g}", red=True
            )


async def _nothing_more() -> None:
    """For who awaits a test that has run."""


# -- fixtures ------------------------------------------------------------------------------------------


def _seed(item: pytest.Item) -> int:
    known: int | None = item.stash.get(_SEED, None)
    if known is None:
        given = item.config.getoption("mesh_seed", default=None)
        mark = item.get_closest_marker("mesh")
        if given == _RANDOM:
            known = int.from_bytes(os.urandom(4), "big")
        elif given is not None:
            known = int(given)
        elif mark is not None and mark.kwargs.get("seed") is not None:
            known = int(mark.kwargs["seed"])
        else:
            # The same in every run, alone or among others, whoever runs it.
            known = int.from_bytes(hashlib.blake2b(item.nodeid.encode(), digest_size=4).digest(), "big")
        item.stash[_SEED] = known
    return known


_SEED: Final = pytest.StashKey[int]()


@pytest.fixture
def mesh_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's simulations: of ``--mesh-seed``, of its mark, else made from its name."""
    return _seed(request.node)


@pytest.fixture
def mesh_clock() -> VirtualClock:
    """The clock of this test's simulations."""
    from meshlib.testing.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def mesh_sim(request: pytest.FixtureRequest, mesh_seed: int) -> Iterator[SimulationFactory]:
    """What makes the simulations of a test, closed after it; without a configuration that of the mark ``mesh``."""
    from meshlib.testing.simulation import Simulation
    from meshlib.workload import Workload

    made: list[Simulation] = []
    mark = request.node.get_closest_marker("mesh")
    if mark is not None and (unknown := mark.kwargs.keys() - _MARK_ARGUMENTS):
        raise pytest.UsageError(f"the mark mesh has no argument {min(unknown)!r}; it has {', '.join(_MARK_ARGUMENTS)}")
    clock = request.getfixturevalue("mesh_clock") if "mesh_clock" in request.fixturenames else None

    def simulate(
        config: ConfigInput | None = None,
        *,
        seed: int | None = None,
        namespace: str | None = None,
        workload: Workload | None = None,
        **arguments: Any,
    ) -> Simulation:
        chosen: ConfigInput = config if config is not None else list(mark.args) if mark is not None else ()
        space = namespace or (mark.kwargs.get("namespace") if mark is not None else None)
        if workload is None and space is not None:
            workload = Workload(namespace=space)
        simulation = Simulation(
            _found(chosen, request),
            workload=workload,
            seed=mesh_seed if seed is None else seed,
            clock=clock,
            **arguments,
        )
        simulation._folder = request.path.parent
        made.append(simulation)
        return simulation

    yield simulate
    for simulation in made:
        simulation.close()


def _found(config: ConfigInput, request: pytest.FixtureRequest) -> ConfigInput:
    """Paths relative to the test's file, else to the root of the tests."""
    if isinstance(config, list | tuple):
        return [_found(one, request) for one in config]
    if isinstance(config, Path) or (isinstance(config, str) and "\n" not in config and ": " not in config):
        for base in (request.path.parent, request.config.rootpath):
            if (base / config).exists():
                return base / config
    return config
