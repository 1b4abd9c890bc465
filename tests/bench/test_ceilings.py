"""Ceilings: what is measured, what two measurements make together, and where a program lies beneath."""

import json

import jax
import jax.numpy as jnp
import pytest
from typer.testing import CliRunner

from bench import _ceilings, _phases, _report, _session
from bench.__main__ import app
from tests.bench.own_rows import QUICK, as_torch, give, small_row
from tests.bench.recorded import record

COPIES = [{"bytes": size, "bytes_per_s": speed} for size, speed in ((100, 40.0), (1000, 80.0), (10000, 10.0))]
TOP = {"flops_per_s": 100.0, "bytes_per_s": 10.0, "product_side": 512, "copies": COPIES}


class Machine:
    """Products and copies that take what they are told, and a clock that is nobody else's."""

    def __init__(self, monkeypatch):
        self.now, self.sizes, self.slow = 0.0, [], 1.0
        self.new, self.place = 1.0, 0.125
        monkeypatch.setattr(_ceilings.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(_ceilings, "clocked", self.clocked)
        monkeypatch.setattr(_ceilings, "product", self.product)
        monkeypatch.setattr(_ceilings, "copy", self.copy(lambda: self.new))
        monkeypatch.setattr(_ceilings, "copy_in_place", self.copy(lambda: self.place))

    def clocked(self, run):
        before = self.now
        run()
        return self.now - before, None

    def product(self, array):
        self.now += self.slow * 2 * array.shape[0] ** 3 / 1e11

    def copy(self, seconds):
        def run(array):
            self.sizes.append(array.nbytes)
            self.now += self.slow * seconds() * 2 * array.nbytes / 1e9
            return array

        return run


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


@pytest.mark.parametrize("quick", [True, False])
def test_the_faster_way_to_copy_counts_at_every_size(machine, quick):
    sizes = (_ceilings.QUICK if quick else _ceilings.FULL)[-1]
    for machine.new, machine.place in ((1.0, 0.125), (0.125, 1.0)):
        top = _ceilings.ceilings("float32", quick)
        assert top["flops_per_s"] == pytest.approx(1e11)
        assert [copy["bytes"] for copy in top["copies"]] == list(sizes)
        assert [copy["bytes_per_s"] for copy in top["copies"]] == pytest.approx([8e9] * len(sizes))
        assert top["bytes_per_s"] == top["copies"][-1]["bytes_per_s"]
    assert set(machine.sizes) == set(sizes)


def test_a_disturbance_of_all_rounds_but_one_lowers_nothing(machine, monkeypatch):
    rounds, one_round = iter([5.0, 1.0, 3.0]), _ceilings._round

    def disturbed(*given):
        machine.slow = next(rounds)
        return one_round(*given)

    monkeypatch.setattr(_ceilings, "_round", disturbed)
    top = _ceilings.ceilings("float32", quick=False)
    assert top["flops_per_s"] == pytest.approx(1e11)
    assert top["bytes_per_s"] == pytest.approx(8e9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_they_are_measured_on_this_machine(monkeypatch, dtype):
    monkeypatch.setattr(_ceilings, "FULL", (1, 0.01, (2**16, 2**20)))
    top = _ceilings.ceilings(dtype, quick=False)
    assert top["flops_per_s"] > 1e7
    assert [copy["bytes"] for copy in top["copies"]] == [2**16, 2**20]
    assert min(copy["bytes_per_s"] for copy in top["copies"]) > 1e6
    assert top["product_side"] == 512


def test_of_two_measurements_the_larger_of_each_counts():
    other = {"flops_per_s": 90.0, "bytes_per_s": 20.0, "product_side": 1024}
    other["copies"] = [{"bytes": size, "bytes_per_s": 20.0} for size in (100, 1000, 10000)]
    want = {"flops_per_s": 100.0, "bytes_per_s": 20.0, "product_side": 512}
    want["copies"] = [{"bytes": size, "bytes_per_s": best} for size, best in ((100, 40.0), (1000, 80.0), (10000, 20.0))]
    assert _ceilings.larger(TOP, other) == _ceilings.larger(other, TOP) == want


def test_a_result_whose_first_part_has_fewer_goes_on():
    old = {"flops_per_s": 200.0, "bytes_per_s": 5.0, "copy_numbers": 7}
    assert _ceilings.larger(old, TOP) == {**TOP, "flops_per_s": 200.0, "copy_numbers": 7}
    assert _ceilings.fastest_copy(old, 1) == 5.0


@pytest.mark.parametrize(
    ("bytes_", "speed"), [(1, 80.0), (100, 80.0), (1000, 80.0), (1001, 10.0), (10**9, 10.0), (None, 10.0)]
)
def test_arrays_are_held_against_copies_of_as_many_bytes_or_more(bytes_, speed):
    assert _ceilings.fastest_copy(TOP, bytes_) == speed


def test_ceilings_hold_what_a_program_reaches():
    assert _ceilings.position(1000.0, 10.0, 20.0, TOP) == {
        "flops_per_byte": 100.0,
        "flops_per_s": 50.0,
        "part_of_ceiling": 0.5,
        "bound": "product",
    }
    found = _ceilings.position(10.0, 10.0, 2.0, TOP)
    assert (found["bound"], found["part_of_ceiling"]) == ("memory", 0.5)
    found = _ceilings.position(10.0, 10.0, 0.5, TOP, 1000)
    assert (found["bound"], found["part_of_ceiling"]) == ("cache", 0.25)
    assert _ceilings.position(20.0, 10.0, 0.5, TOP, 1000)["bound"] == "product"
    assert _ceilings.position(None, 10.0, 2.0, TOP) is None


def test_the_arrays_of_a_program_are_its_arguments_results_and_temporaries():
    compiled = jax.jit(lambda a, b: (a @ b).sum(0)).lower(*[jax.ShapeDtypeStruct((64, 64), jnp.float32)] * 2).compile()
    cost = _phases.cost_of(compiled)
    assert cost.array_bytes == 2 * 4 * 64 * 64 + 4 * 64 + cost.temporary_bytes


def test_a_run_measures_at_its_end_again_and_its_rows_lie_beneath_the_larger(monkeypatch, tmp_path):
    give(monkeypatch, small_row("good", as_torch))
    measured = iter([{"flops_per_s": 1.0, "bytes_per_s": 4.0}, {"flops_per_s": 2.0, "bytes_per_s": 3.0}])
    monkeypatch.setattr(_session._ceilings, "ceilings", lambda *_: next(measured))
    done = CliRunner().invoke(app, [*QUICK, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["ceilings"] == {"flops_per_s": 2.0, "bytes_per_s": 4.0}
    ours = found["rows"][0]["contenders"][0]
    want = _ceilings.position(ours["flops"], ours["bytes"], ours["median_s"], found["ceilings"])
    assert ours["roofline"] == want
    assert next(measured, None) is None


class Full:
    """What a copy of more bytes than there are raises, till they are there."""

    def __init__(self, monkeypatch, most, error):
        self.most, self.error, self.filled = most, error, _ceilings._filled
        monkeypatch.setattr(_ceilings, "_filled", self)

    def __call__(self, shape, dtype):
        array = self.filled(shape, dtype)
        if array.nbytes > self.most:
            raise self.error
        return array


OUT = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 268435456 bytes.")


@pytest.mark.parametrize("error", [OUT, MemoryError("no room")])
def test_what_does_not_fit_is_halved_and_told_once(machine, monkeypatch, error):
    monkeypatch.setattr(_ceilings, "FULL", (3, 0.01, (2**20, 2**22, 2**26, 2**27)))
    Full(monkeypatch, 2**24, error)
    said = []
    top = _ceilings.ceilings("float32", False, said.append)
    assert [copy["bytes"] for copy in top["copies"]] == [2**20, 2**22, 2**24]
    assert top["bytes_per_s"] == top["copies"][-1]["bytes_per_s"]
    (line,) = said
    assert line.startswith(f"a copy of {2**26} bytes: ran out of memory (")
    assert line.endswith(f"; the ceiling of memory is that of {2**24} bytes")


def test_a_product_that_does_not_fit_leaves_the_smaller_ones(machine, monkeypatch):
    """A product has three arrays of its side, a copy two."""
    product = _ceilings.product

    def three(array):
        if array.shape[0] > 512:
            raise OUT
        return product(array)

    monkeypatch.setattr(_ceilings, "product", three)
    monkeypatch.setattr(_ceilings, "FULL", (1, 0.01, (2**20, 2**24)))
    said = []
    assert _ceilings.ceilings("float32", False, said.append)["product_side"] == 512
    assert [line.partition(":")[0] for line in said] == ["a product of 1024 x 1024"]


def test_where_nothing_fits_that_is_raised(machine, monkeypatch):
    Full(monkeypatch, 0, OUT)
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        _ceilings.ceilings("float32", quick=True)


def test_memory_is_as_fast_as_the_largest_copy_of_both():
    smaller = {**TOP, "flops_per_s": 200.0, "bytes_per_s": 90.0, "copies": [{"bytes": 1000, "bytes_per_s": 90.0}]}
    for found in (_ceilings.larger(TOP, smaller), _ceilings.larger(smaller, TOP)):
        assert found["bytes_per_s"] == 10.0
        assert [copy["bytes_per_s"] for copy in found["copies"]] == [40.0, 90.0, 10.0]
    assert _ceilings.larger(TOP, {}) == _ceilings.larger({}, TOP) == TOP
    assert _ceilings.position(1000.0, 10.0, 20.0, {}) is None


@pytest.mark.parametrize("breaks", [{0}, {1}, {0, 1}])
def test_ceilings_that_cannot_be_measured_cost_no_run(monkeypatch, tmp_path, breaks):
    give(monkeypatch, small_row("good", as_torch))
    top, calls = {"flops_per_s": 1.0, "bytes_per_s": 4.0}, iter(range(2))

    def ceilings(*_):
        if next(calls) in breaks:
            raise OUT
        return top

    monkeypatch.setattr(_session._ceilings, "ceilings", ceilings)
    done = CliRunner().invoke(app, [*QUICK, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("ceilings: not measured: ran out of memory (") == len(breaks)
    assert ("the first ones count" in done.stderr) == (breaks == {1})
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["ceilings"] == (None if len(breaks) == 2 else top)
    assert (found["rows"][0]["contenders"][0]["roofline"] is None) == (len(breaks) == 2)
    assert "good" in (tmp_path / "report.html").read_text()


def test_the_page_draws_the_line_of_the_caches_where_there_is_one():
    assert 'class="curve cache"' in _report.page(record() | {"ceilings": TOP})
    assert 'class="curve cache"' not in _report.page(record())
