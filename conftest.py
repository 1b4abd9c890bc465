"""Tests are stricter than users: x64, strict promotion, warnings are errors, four CPU devices."""

import functools
import gc
import importlib.metadata
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=4"
    # the code of a program is not split over threads: one piece takes a quarter less, and both cores have tests
    + " --xla_cpu_parallel_codegen_split_count=1"
    # loops by XLA's older emitter: a third less time to compile, the same operations. Later versions have but the new
    # one, so the lane with the newest JAX runs what users run
    + " --xla_cpu_use_fusion_emitters=false" * importlib.metadata.version("jaxlib").startswith("0.10."),
)

import jax
import pytest
from _pytest.doctest import DoctestModule
from jax._src import traceback_util

from tests import lanes
from tests.optimised import optimised
from tests.verify.third import missed

# Python's collector walks through every jaxpr and torch module that lives, at every 2000 new objects: 7% of the time
gc.set_threshold(100_000, 20, 100)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# a second run of the tests compiles nothing anew, and no worker what another has compiled. Two may write one file at
# once: they write the same, and who reads it meanwhile finds the checksum of its compression wrong, and compiles
_cache = Path(__file__).parent / ".pytest_cache" / "xla"
jax.config.update("jax_compilation_cache_dir", str(_cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

if importlib.metadata.version("jax").startswith("0.10."):
    # this version loads every dialect of MLIR anew for each program that it lowers: 6 ms, a third of the lowering of
    # what is tested here. Programs that share a context share the tables of its types and constants, and nothing else
    from jax._src.interpreters import mlir

    _make_ir_context, _lowered, _contexts = mlir.make_ir_context, itertools.count(), {}

    def _shared_ir_context() -> object:
        """Return the context of the last programs; after a hundred a new one, since no constant leaves a context."""
        hundred = next(_lowered) // 100
        if hundred not in _contexts:
            _contexts.clear()
            _contexts[hundred] = _make_ir_context()
        return _contexts[hundred]

    mlir.make_ir_context = _shared_ir_context

# an error that leaves a function of JAX is stripped of JAX's frames: for each, and each folder that is left out, the
# system is asked for the place of both, 3 ms an error, and thousands are refused here. A file stays where it is
_include_filename = functools.cache(lambda name, _: _including(name))
_including = traceback_util.include_filename
traceback_util.include_filename = lambda name: _include_filename(name, len(traceback_util._exclude_paths))

collect_ignore = [] if lanes.HAS_TORCH else ["torch_ref"]


def pytest_report_header() -> str:
    """Say what the tests run with."""
    torch = "installed" if lanes.HAS_TORCH else "not installed: the tests marked torch are left out"
    return f"jax {jax.__version__}, torch {torch}"


def pytest_configure(config: pytest.Config) -> None:
    """Hand modules to the workers in their order: by the number of tests, as xdist would, the last have few, long ones.

    A worker that has nothing left waits for the other's last module, here the docstrings of the package.
    """
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Import the modules of tests without torch, where it is missing; what they compute meanwhile runs once."""
    with lanes.stand_ins(), optimised(fully=False):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Iterator[None]:
    """Look for no doctests in the tests, where there are none: it would import their helpers too, in both workers."""
    found = yield
    if Path(__file__).parent / "tests" not in file_path.parents:
        return found
    return [one for one in found if not isinstance(one, DoctestModule)]


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of all slow parameters of a function, where none of them runs: every worker collects them all.

    One is left, so that the function is counted among what is deselected. A test that is named with its parameters is
    looked for among all.
    """
    config = metafunc.config
    if "not slow" not in config.option.markexpr or " or " in config.option.markexpr or "::" in "".join(config.args):
        return
    if metafunc.definition.get_closest_marker("slow"):
        metafunc._calls = metafunc._calls[:1]
    elif metafunc._calls:
        quick = [call for call in metafunc._calls if not any(mark.name == "slow" for mark in call.marks)]
        metafunc._calls = quick or metafunc._calls[:1]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test that needs torch, and keep the tests of a module in one worker, for they share their programs."""
    if not item.get_closest_marker("xdist_group"):
        item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))
    # to read the code of thousands of tests takes seconds, and with torch the marker is asked for by `-m` alone
    asked = not lanes.HAS_TORCH or "torch" in item.config.option.markexpr
    if asked and lanes.needs_torch(*_parts(item)):
        item.add_marker(pytest.mark.torch)


def _parts(item: pytest.Item) -> list[object]:
    """Return a test's function, its parameters and its fixtures, or the text of a doctest."""
    if isinstance(item, pytest.DoctestItem):
        return [lanes.Doctest(item.dtest)] if item.dtest else []
    fixtures = getattr(item, "_fixtureinfo", None)
    given = (
        [
            one.func
            for name, found in fixtures.name2fixturedefs.items()
            if name != "_one_torch_thread"
            for one in found[-1:]
        ]
        if fixtures
        else []
    )
    callspec = getattr(item, "callspec", None)
    return [getattr(item, "function", None), *given, list(callspec.params.values()) if callspec else []]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and report, what cannot run without torch, and examples that a stricter test runs anyway."""
    tried = {item.callspec.params["name"] for item in items if item.name.startswith("test_example_")}
    left = [
        item
        for item in items
        if (not lanes.HAS_TORCH and item.get_closest_marker("torch"))
        or (isinstance(item, pytest.DoctestItem) and _public_name(item) in tried)
    ]
    if left:
        config.hook.pytest_deselected(items=left)
        gone = set(left)
        items[:] = [item for item in items if item not in gone]


def pytest_collection_finish() -> None:
    """Leave what stands after the collection of the tests to no collection of garbage."""
    gc.freeze()


def _public_name(item: pytest.DoctestItem) -> str:
    """Return ``"family.function"`` of a docstring's place, ``jaxgrad.family._module.function``."""
    return ".".join(part for part in item.name.split(".")[1:] if not part.startswith("_"))


GOALS: dict[str, list[tuple[bool, float]]] = {}
"""By goal, for every row of the field pairs: whether it is met, and the part of the rows that must meet it."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take what a row recorded; the workers send it with their reports."""
    for name, marks in report.user_properties if report.when == "call" else ():
        if name == "field":
            for goal, mark in marks.items():
                GOALS.setdefault(goal, []).append((mark[0], mark[1]))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where too few rows meet a goal; a worker sees but some of the rows and judges none."""
    if not hasattr(session.config, "workerinput") and missed(GOALS):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which goals were not met, and how many rows there were."""
    for line in missed(GOALS):
        terminalreporter.write_line(f"FAILED the field pairs: {line}", red=True)


@pytest.fixture
def key() -> jax.Array:
    """The one key of the tests."""
    return jax.random.key(0)


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Torch's threads and XLA's fight for two cores."""
    if lanes.HAS_TORCH:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _functions_of_other_tests_do_not_count() -> None:
    """A function that is defined in a test is a new one for every parameter of the test; that is no loop."""
    from jaxgrad import _jit

    _jit._crowds.clear()


_new_programs: list[str] = []
jax.monitoring.register_event_listener(
    lambda event, **_: _new_programs.append(event) if event.endswith("compile_requests_use_cache") else None
)

MAPPINGS = 40_000
"""Linux gives a process 65530 mappings of memory, a compiled program takes some, and XLA crashes where they end."""


@pytest.fixture(autouse=True, scope="module")
def _programs_of_earlier_modules_are_dropped() -> Iterator[None]:
    """Drop every compiled program where many have come together; what is run again comes from the cache on disk."""
    yield
    # a program takes three to six mappings; to count them all takes a twentieth of a second, and modules are many
    if len(_new_programs) < 500:
        return
    _new_programs.clear()
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MAPPINGS:
        from tests.contract.house import public_functions

        for function in public_functions().values():
            if hasattr(function, "programs"):
                function.programs.kept.clear()
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def compiled_quickly() -> Iterator[None]:
    """Compile without LLVM's optimisations, for programs that run once: their FLOPs and bytes are the same."""
    with optimised(fully=False):
        yield


@pytest.fixture
def compiled_fully() -> Iterator[None]:
    """Compile with all optimisations in a module that is compiled quickly: where rounding has to be that of users."""
    with optimised(fully=True):
        yield
