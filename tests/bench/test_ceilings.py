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


def test_the_page_draws_the_line_of_the_caches_where_there_is_one():
    assert 'class="curve cache"' in _report.page(record() | {"ceilings": TOP})
    assert 'class="curve cache"' not in _report.page(record())
