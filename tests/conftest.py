"""Fixtures for all tests. Double precision is off unless a test asks for it."""

import contextlib
import gc
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy_programs
import pytest

MAPS = Path("/proc/self/maps")
MOST_MAPS = 20_000
"""Each compiled program takes about three memory maps, and Linux gives a process 65,530."""

PROGRAMS = Path(os.environ.get("EQUIKIT_TEST_PROGRAMS") or Path(__file__).parents[1] / ".pytest_cache" / "programs")
MOST_BYTES = 2**31

PROGRAM = "/jax/core/compile/backend_compile_duration"
FOUND = "/jax/compilation_cache/cache_hits"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--compiles", action="store_true", help="show the CPU time, the programs and the compilations of each test file"
    )
    parser.addoption("--compiled", action="store_true", help="let XLA compute all programs, and NumPy none")


def pytest_configure(config: pytest.Config) -> None:
    """Compile quickly rather than well; keep programs between runs, and share them with other workers and processes."""
    if not hasattr(config, "workerinput"):
        _forget_old_programs()
    # In jaxlib 0.12.0, other flags of XLA save nothing beyond this: xla_cpu_max_isa, xla_cpu_emitter_verification_level
    # and xla_cpu_parallel_codegen_split_count change nothing, xla_cpu_opt_preset=FAST_COMPILE takes 1.4 times as long.
    options = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": str(PROGRAMS),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in options.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    jax.config.update("jax_traceback_filtering", "off")  # cutting tracebacks takes longer than most tests of errors
    if not config.getoption("--compiled"):
        config.pluginmanager.register(Evaluated())
    config.pluginmanager.register(Costs(config.getoption("--compiles")))


def _forget_old_programs() -> None:
    """Empty the folder when it is full; other runs, which use it too, compile what they miss."""
    found = [*os.scandir(PROGRAMS)] if PROGRAMS.exists() else []
    with contextlib.suppress(FileNotFoundError):  # another run empties it
        if sum(file.stat().st_size for file in found) > MOST_BYTES:
            for file in found:
                os.unlink(file)


def pytest_collection_finish() -> None:
    """Let garbage collections pass over imported modules and collected tests, half a million objects that stay.

    And let them be rare: what JAX caches grows to millions of objects, and collections took 6 % of the time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20)


class Evaluated:
    """NumPy computes the programs of tests without the mark `compiled`, since most programs run once or twice."""

    def __init__(self) -> None:
        numpy_programs.install()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        compiled = item.get_closest_marker("compiled") or "full_compile" in getattr(item, "fixturenames", ())
        numpy_programs.Programs.operations.clear()
        with numpy_programs.everything_in_numpy(not compiled):
            return (yield)


class Costs:
    """The CPU time, the programs and the compilations of each test file, of which a quick suite has few."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.events = {PROGRAM: 0, FOUND: 0}
        self.files: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0])
        jax.monitoring.register_event_listener(self._listen)
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, *_: float, **__: object) -> None:
        if event in self.events:
            self.events[event] += 1

    def _so_far(self) -> list[float]:
        """The same numbers for all tests before; child processes that have ended take part in the time."""
        programs, found = self.events.values()
        return [1, sum(os.times()[:4]), programs, programs - found]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        item.user_properties.append(("costs", self._so_far()))
        yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        yield
        name, start = item.user_properties.pop()
        spent = [one - two for one, two in zip(self._so_far(), start, strict=True)]
        item.user_properties.append((name, [1, *spent[1:]]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            file = self.files[report.nodeid.partition("::")[0]]
            spent = dict(report.user_properties).get("costs", [1, 0, 0, 0])
            file[:] = [one + two for one, two in zip(file, spent, strict=True)]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.shown:
            return
        terminalreporter.write_line("tests  CPU s  programs  compiled  file")
        for name, numbers in sorted(self.files.items(), key=lambda pair: -pair[1][1]):
            terminalreporter.write_line("{:5.0f} {:6.1f} {:9.0f} {:9.0f}  {}".format(*numbers, name))


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps() -> Iterator[None]:
    """Forget compiled programs before the system has no memory map left for another one."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """Switch 64-bit numbers on for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def full_compile():
    """Let XLA compile as it does for users, for tests about rounding, cost or long training."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
